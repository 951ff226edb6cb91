"""What happened: events of the agent, its cache and its plugins, for exporters and whoever asks."""
