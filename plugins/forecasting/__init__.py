"""Forecasts of metrics, as a plugin."""
