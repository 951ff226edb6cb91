"""Metrics: what a metric is, which exist, and how samples get from the plugins that collect to those that export."""
