"""Sends metrics, events and spans to New Relic."""
