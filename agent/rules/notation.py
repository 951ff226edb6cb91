"""Series in a line, as promtool's unit tests write them: "50x10 95+1x20 _x3"."""

from __future__ import annotations

import re

from agent.config.refuse import refuse
from agent.config.show import show

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_TERM = re.compile(rf"({_NUMBER})(?:([-+](?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?))?(?:x([0-9]{{1,6}}))?")
_GAP = re.compile(r"_(?:x([0-9]{1,6}))?")
_LONGEST = 1_000_000


def parse_values(text: str) -> list[float | None]:
    """The values, one per interval; None where there is none. Raises a refusal that says what to write.

    "a" is a value; "axn" is a, n times more; "a+bxn" is a and then n steps of b; "_" and "_xn" are missing values. See
    https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/#series.
    """
    values: list[float | None] = []
    for term in text.split():
        gap, number = _GAP.fullmatch(term), _TERM.fullmatch(term)
        if gap is not None:
            values += [None] * int(gap[1] or 1)
        elif number is not None:
            start, step, times = float(number[1]), float(number[2] or 0), int(number[3] or 0)
            values += [start + step * index for index in range(times + 1)]
        else:
            raise refuse(f"{show(term)} is no value", 'write for example "50x10 95+1x20 _x3": see docs/rules.md')
        if len(values) > _LONGEST:
            raise refuse("the series is too long", f"at most {_LONGEST:,} values")
    return values
