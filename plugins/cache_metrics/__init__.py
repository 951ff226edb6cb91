"""The hosted cache's metrics, from the counters in its shared-memory arena."""
