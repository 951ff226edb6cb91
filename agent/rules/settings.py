"""What the engine itself is told: the limits over all rules, and where the kill switch is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agent.rules.topology import Topology


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Durations are seconds.

    kill_switch: while this file is there, no action is begun; None: there is none (tests).
    storm_firing: so many rules and subjects that fired within storm_window, or storm_incidents open incidents, are a
    storm, in which only messages are sent. It is over when there were fewer for a whole storm_window.
    topology: which targets overlap.
    max_subjects: so many of a rule's subjects can fire at once; each of them writes to the disk.
    """

    kill_switch: Path | None = None
    max_actions_per_hour: int = 10
    storm_firing: int = 20
    storm_incidents: int = 10
    storm_window: float = 300.0
    approval_timeout: float = 3600.0
    max_subjects: int = 100
    topology: Topology = field(default_factory=Topology)


STATE_FILE = "rules.sqlite"
KILL_SWITCH = "rules.stop"
