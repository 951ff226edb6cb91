"""The shipped exporters against the strict fakes of their vendors, through the agent's own pipe."""
