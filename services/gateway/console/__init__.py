"""The web console: files for browsers, which use the same API as everybody else."""
