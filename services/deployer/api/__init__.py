"""The deployer's HTTP routes."""
