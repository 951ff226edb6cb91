"""The files of a new condition: whether a file is there and new enough, to be replaced by what rules ask."""

from __future__ import annotations

from agent.scaffold.heads import README_HEAD, SAMPLE_HEAD

SUMMARY = "A condition for rules of Predis Agent: whether a file is there."

PLUGIN = '''\
"""Says whether a file is there, and was written not too long ago. Replace what is asked, and keep the shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from agent.api import (
    ConditionType,
    ConditionVerdict,
    ConfigPath,
    Duration,
    Now,
    PluginConfig,
    Section,
    duration_between,
    hookimpl,
)
from pydantic import BaseModel, Field


class @cls@Config(PluginConfig):
    """`[plugins.@plugin@]`"""

    max_age: Annotated[Duration, duration_between("1s", "52w")] = Field(
        default=3600.0, description="how old a file may be, unless a rule says otherwise"
    )


class FileParams(Section):
    """What a rule gives. Of each key that it must give, `examples` has one: certify asks with them."""

    path: ConfigPath = Field(description="the file", examples=["/run/maintenance"])
    max_age: Annotated[Duration, duration_between("1s", "52w")] | None = Field(
        default=None, description="how old it may be; absent for the plugin's"
    )


class FileIsThere:
    """The condition `@plugin@`."""

    name = "@plugin@"
    help = "a file is there, and not too old"
    Params: type[BaseModel] = FileParams

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age

    def metrics(self, params: FileParams) -> Iterable[str]:
        return ()  # the names of those that `evaluate` looks for in `now.snapshot` or `now.history`

    def evaluate(self, params: FileParams, now: Now) -> ConditionVerdict:
        # True, False, or None where nobody can know; `why` is for people in each case.
        try:
            age = now.time - params.path.stat().st_mtime
        except FileNotFoundError:
            return ConditionVerdict(False, f"there is no {params.path}")
        except OSError as error:
            return ConditionVerdict(None, f"{params.path} cannot be looked at: {error.strerror}")
        most = self._max_age if params.max_age is None else params.max_age
        return ConditionVerdict(age <= most, f"{params.path} is {age:.0f} s old, and may be {most:.0f} s")


class @cls@:
    """The host makes one from the table, and a new one whenever that changes."""

    api_version = 1
    Config = @cls@Config

    def __init__(self, config: @cls@Config) -> None:
        # Cheap, and without I/O: `predis-agent plugins list` constructs it, too.
        self._conditions = (FileIsThere(config.max_age),)

    @hookimpl
    def predis_conditions(self) -> Sequence[ConditionType]:
        return self._conditions
'''

SAMPLE = (
    SAMPLE_HEAD
    + """\
# How old a file may be, unless a rule says otherwise.
max_age = "1h"
"""
)

README = (
    README_HEAD
    + """\

The condition `@plugin@` holds while a file is there and not too old. Its keys in a rule are `path`, the file, and
`max_age`, how old it may be:

```toml
when = { @plugin@ = { path = "/run/maintenance", max_age = "8h" } }
```

## Troubleshooting

A file that cannot be looked at makes the condition unknown; the rule says why.
"""
)

TESTS = '''\
"""@cls@ says whether a file is there, and why it says so."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agent.api import ConditionVerdict

from @module@.plugin import @cls@, @cls@Config, FileParams


def ask(path: Path, time: float, **keys: Any) -> ConditionVerdict:
    (condition,) = @cls@(@cls@Config(max_age=60.0)).predis_conditions()
    now: Any = SimpleNamespace(time=time)
    return condition.evaluate(FileParams(path=path, **keys), now)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "maintenance"
    path.touch()
    os.utime(path, (1000.0, 1000.0))
    return path


def test_it_holds_while_the_file_is_new(file: Path) -> None:
    assert ask(file, 1060.0).holds is True
    assert ask(file, 1061.0).holds is False
    assert ask(file, 1061.0, max_age=61.0).holds is True


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert ask(tmp_path / "none", 1000.0) == ConditionVerdict(False, f"there is no {tmp_path / 'none'}")


def test_what_cannot_be_looked_at_is_unknown(file: Path) -> None:
    verdict = ask(file / "below", 1000.0)
    assert verdict.holds is None
    assert "cannot be looked at" in verdict.why
'''
