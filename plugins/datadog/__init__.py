"""Sends metrics, service checks and events to Datadog."""
