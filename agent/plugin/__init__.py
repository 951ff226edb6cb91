"""The plugin host: hooks, loading, and the threads that run plugin code."""
