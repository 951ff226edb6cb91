"""The machine's metrics and the cache process' own."""
