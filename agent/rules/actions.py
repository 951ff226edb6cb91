"""The action that comes with the agent: telling all exporters. Others come from plugins."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, Field

from agent.config.models import Section
from agent.export.model import Event
from agent.rules.extension import ActionType, Outcome, Task


class EventParams(Section):
    """Keys of `event`."""

    title: str = Field(default="", description="empty for the rule's name")
    text: str = Field(default="", description="empty for why the rule fired")


class EventAction:
    """An event for everything that is told of events: exporters, `/api/v1/events`, spans."""

    name = "event"
    help = "tell all exporters of it"
    Params: type[BaseModel] = EventParams
    changes_state = False
    deadline = 5.0

    def target(self, params: EventParams) -> str:
        return "event:all"

    def plan(self, params: EventParams, task: Task) -> str:
        return "tell all exporters"

    def run(self, params: EventParams, task: Task) -> Outcome:
        severity = task.attributes.get("severity", "warning")
        task.host.emit(
            Event(
                time.time(),
                "rule",
                params.title or f"Rule {task.rule}",
                params.text or task.event,
                cast(Literal["info", "warning", "error"], severity),
                {**task.attributes, "rule": task.rule},
            )
        )
        return Outcome(True, "told")

    def done_before(self, params: EventParams, task: Task) -> Outcome | None:
        return None

    def undo(self, params: EventParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        return Outcome(False, "what was told cannot be taken back")


BUILT_IN: tuple[ActionType, ...] = (EventAction(),)
