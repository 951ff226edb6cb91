"""An agent's rules in a process of their own, to be killed: python -m tests.agent.rules_victim FOLDER [again]."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from agent.incidents.audit import AuditLog
from agent.rules.engine import RuleEngine
from agent.rules.extension import Outcome, Task
from agent.rules.runner import ThreadRunner
from agent.rules.store import RuleStore
from tests.agent.rule_world import Act, Tell, World

RULE = """
[[rule]]
name = "grow"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.act" }]
escalate = [{ action = "test.tell" }]
"""


def say(line: str) -> None:
    """To whom reads the standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Slow(Act):
    """Says that it began, and never ends."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, params: Any, task: Task) -> Outcome:
        with open(self.folder / "acts", "a") as file:
            file.write(f"{task.intent}\n")
        say(f"acting {task.intent}")
        time.sleep(60)
        return Outcome(True, "")

    def done_before(self, params: Any, task: Task) -> Outcome | None:
        say(f"asked {task.intent}")
        return None


class Loud(Tell):
    """Says that it was told."""

    def run(self, params: Any, task: Task) -> Outcome:
        say("not known" if "is not known" in task.event else task.event)
        say("told")
        return Outcome(True, "")


def main(folder: Path, again: bool) -> None:
    """Fire the rule and act, or go on after that."""
    world = World(folder, RULE, actions=(Slow(folder), Loud()))  # the later of two of a name is used
    world.store.close()
    audit = AuditLog(folder / "audit.jsonl")
    store = RuleStore(folder / "rules.sqlite")
    engine = RuleEngine(world.set_.rules, world.host, audit, store, world.settings, runner=ThreadRunner())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (again and engine.explain("grow")["subjects"][0]["state"] == "resting"):
        if not again:
            world.put("predis_cpu_busy_ratio", 0.95)
        engine.step(world.now())
        time.sleep(0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]), len(sys.argv) > 2)
