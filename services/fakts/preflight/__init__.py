"""What an app is told before it connects: its manifest read, decided upon, and resolved to addresses."""
