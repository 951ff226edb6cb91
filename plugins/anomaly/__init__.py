"""Finds series that are not as they should be."""
