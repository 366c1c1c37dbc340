"""What exists: algorithms, their repositories, builds, versions and secrets, and the records of what was done."""
