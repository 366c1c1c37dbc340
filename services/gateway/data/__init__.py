"""Hosted data: the Data API of Algorithmia."""
