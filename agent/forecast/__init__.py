"""Forecasts of series, made in analysis workers by plugins."""
