"""The demonstration: an agent of its own, real load, something that breaks, and what becomes of it."""
