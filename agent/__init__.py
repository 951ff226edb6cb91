"""The Predis agent: hosts the cache, runs plugins and serves what they measure.

Plugin authors import from :mod:`agent.api`; everything else here is the agent's own.
"""

__version__ = "0.1.0"
