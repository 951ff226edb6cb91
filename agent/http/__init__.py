"""The agent's own HTTP server: health for machines, status and metrics as JSON."""
