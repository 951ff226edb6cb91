"""Keys that say how far a number is to go: to a value, by so many or by a percentage, and never past its limits."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from agent.api import OrDefault, PredisError, Size, size_between
from plugins.remediation.action import Params

Percent = Annotated[float, Field(gt=-100, le=1000, allow_inf_nan=False)]
Bytes = Annotated[Size, size_between("1MiB", "64TiB")]
MIB = 1 << 20


class SizeParams(Params):
    """A size in bytes. `by_percent` needs the limit in its direction: rules fire again."""

    to: Annotated[Bytes | None, OrDefault] = Field(default=None, examples=["64MiB"])
    by_percent: Percent | None = None
    at_most: Annotated[Bytes | None, OrDefault] = None
    at_least: Annotated[Bytes | None, OrDefault] = None
    restart: bool = False

    @model_validator(mode="after")
    def _one_way_with_a_limit(self) -> Self:
        if (self.to is None) == (self.by_percent is None):
            raise ValueError("write either `to` or `by_percent`")
        if self.by_percent == 0:
            raise ValueError("by_percent = 0 changes nothing")
        if self.by_percent is not None and self.by_percent > 0 and self.at_most is None:
            raise ValueError("by_percent needs `at_most`, or it would grow each time the rule fires")
        if self.by_percent is not None and self.by_percent < 0 and self.at_least is None:
            raise ValueError("a negative by_percent needs `at_least`, or it would shrink each time the rule fires")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least is more than at_most")
        return self

    def from_(self, old: int) -> int:
        """Where `old` goes; percentages give whole MiB. PredisError when a limit leaves it no way in that direction."""
        if self.to is not None:
            wanted = self.to
        else:
            assert self.by_percent is not None
            wanted = int(old * (100 + self.by_percent) / 100) // MIB * MIB
        return _limited(old, wanted, self.at_least, self.at_most)


class CountParams(Params):
    """A number of replicas or machines, which always has both limits."""

    to: int | None = Field(default=None, ge=0, examples=[3])
    by: int | None = None
    by_percent: Percent | None = None
    at_least: int = Field(ge=0, examples=[1])
    at_most: int = Field(ge=1, examples=[6])

    @model_validator(mode="after")
    def _one_way_within_limits(self) -> Self:
        if sum(way is not None for way in (self.to, self.by, self.by_percent)) != 1:
            raise ValueError("write one of `to`, `by` and `by_percent`")
        if self.by == 0 or self.by_percent == 0:
            raise ValueError("a change by 0 changes nothing")
        if self.at_least > self.at_most:
            raise ValueError("at_least is more than at_most")
        return self

    def from_(self, old: int) -> int:
        """Where `old` goes; a percentage moves it by one at least. PredisError when a limit leaves it no way."""
        if self.to is not None:
            wanted = self.to
        elif self.by is not None:
            wanted = old + self.by
        else:
            assert self.by_percent is not None
            step = old * self.by_percent / 100
            wanted = old + (max(1, math.ceil(step)) if step >= 0 and self.by_percent > 0 else min(-1, math.floor(step)))
        return _limited(old, wanted, self.at_least, self.at_most)


def _limited(old: int, wanted: int, least: int | None, most: int | None) -> int:
    new = wanted
    if most is not None:
        new = min(new, most)
    if least is not None:
        new = max(new, least)
    # A limit holds back; it never moves the value the other way, as when somebody has put it beyond by hand.
    if (wanted > old) != (new > old) or (wanted < old) != (new < old):
        which, limit = ("at_most", most) if wanted > old else ("at_least", least)
        raise PredisError(f"it is {old}, and {which} is {limit}: it goes no further")
    return new
