"""The condition `clock`: whether it is a time at which something may be done, such as a maintenance window."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, tzinfo
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field, field_validator, model_validator

from agent.api import ConditionVerdict, Now, Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class ClockParams(Section):
    """Keys of `clock`. A window that ends before it begins goes on past midnight and belongs to the day it began on."""

    days: tuple[Day, ...] = Field(default=DAYS, min_length=1, description="on which the window begins")
    start: str = Field(default="00:00", description="HH:MM", alias="from")
    until: str = Field(default="24:00", description="HH:MM, not included")
    zone: str = Field(default="UTC", description="such as Europe/Berlin")

    @field_validator("start", "until")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        _minutes(text)
        return text

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        _zone(name)
        return name

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if _minutes(self.start) == _minutes(self.until):
            raise ValueError(f"from and until are both {self.start}: leave them out for the whole day")
        return self


class Clock:
    """Holds within a window of the week."""

    name = "clock"
    help = "it is within a window of time, such as a maintenance window"
    Params: type[BaseModel] = ClockParams

    def metrics(self, params: ClockParams) -> Iterable[str]:
        return ()

    def evaluate(self, params: ClockParams, now: Now) -> ConditionVerdict:
        here = datetime.fromtimestamp(now.time, _zone(params.zone))
        minute, today = here.hour * 60 + here.minute, here.weekday()
        start, until = _minutes(params.start), _minutes(params.until)
        if start < until:
            holds = start <= minute < until and DAYS[today] in params.days
        else:
            holds = (minute >= start and DAYS[today] in params.days) or (
                minute < until and DAYS[today - 1] in params.days
            )
        window = f"{params.start} to {params.until} on {', '.join(params.days)}"
        return ConditionVerdict(holds, f"{here:%a %H:%M} {params.zone} is {'' if holds else 'not '}within {window}")


def _minutes(text: str) -> int:
    """Minutes since midnight. Raises ValueError."""
    if text == "24:00":
        return 24 * 60
    try:
        clock = time.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time of day: write HH:MM, such as 22:30") from None
    if len(text) != 5:
        raise ValueError(f"{text!r} is no time of day: write HH:MM, such as 22:30")
    return clock.hour * 60 + clock.minute


def _zone(name: str) -> tzinfo:
    """A time zone by its name. Raises ValueError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}: write for example Europe/Berlin, or UTC") from None
