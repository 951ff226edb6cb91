"""Every metric of the agent's own."""

from __future__ import annotations

from agent import own_metrics
from agent.export import report
from agent.history import store
from agent.incidents import manager
from agent.metrics import self_metrics
from agent.rules import service as rules

SPECS = (*self_metrics.SPECS, *own_metrics.SPECS, *report.SPECS, *store.SPECS, *manager.SPECS, *rules.SPECS)
