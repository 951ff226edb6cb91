"""The cache: store, Redis protocol and server process. Runs on its own with `python -m core_cache`."""

__version__ = "0.1.0"
