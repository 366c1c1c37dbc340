"""A gateway apart from the platform: it serves one satellite, by a plan in a file."""
