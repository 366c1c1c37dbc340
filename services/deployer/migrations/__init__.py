"""The history of the deployer's schema."""
