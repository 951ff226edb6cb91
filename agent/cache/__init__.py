"""The agent's side of the cache process: its settings and files, the process itself, the connection, its health."""
