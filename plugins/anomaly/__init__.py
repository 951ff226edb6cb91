"""Detection of anomalies, and what is probably behind them."""
