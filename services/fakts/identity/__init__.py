"""Who there is: users, organizations, keys and passwords, and what the identity feed says of them."""
