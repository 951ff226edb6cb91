"""Serves all metrics to Prometheus."""
