"""Metrics of any Redis-compatible servers, from what they answer to INFO."""
