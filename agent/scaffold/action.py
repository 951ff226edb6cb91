"""The files of a new action: it writes a file that another program looks at, to be replaced by what rules need."""

from __future__ import annotations

from agent.scaffold.heads import README_HEAD, SAMPLE_HEAD

SUMMARY = "An action for rules of Predis Agent: raises a flag, which is a file."

PLUGIN = '''\
"""Raises a flag: a file with a text, for another program to see. Replace what is done, and keep the order of things."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.api import ActionType, Outcome, Plan, PlanOutdated, PluginConfig, PredisError, Section, Task, hookimpl
from pydantic import BaseModel, Field

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class @cls@Config(PluginConfig):
    """`[plugins.@plugin@]`"""

    folder: str = Field(default="flags", pattern=NAME, description="within the data folder, where flags are")


class FlagParams(Section):
    """What a rule gives. Of each key that it must give, `examples` has one: certify tries the action with them."""

    flag: str = Field(pattern=NAME, description="the name of the file", examples=["read-only"])
    text: str = Field(default="raised", max_length=1000, description="what is in it")


class RaiseFlag:
    """The action `@plugin@.flag`.

    It notes what it found and what it is about to do before it does it. So it knows after a crash, and is not done
    twice; and it is taken back only if nobody else has changed the file since.
    """

    name = "@plugin@.flag"
    help = "write a file, for another program to see"
    Params: type[BaseModel] = FlagParams
    changes_state = True
    deadline = 10.0  # seconds

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def target(self, params: FlagParams) -> str:
        return f"flag:{params.flag}"

    def plan(self, params: FlagParams, task: Task) -> str:
        path = self._path(params, task)
        old = _read(path)
        if old == params.text:
            raise PredisError(f"{path} says {params.text!r} already")
        text = f"would write {params.text!r} to {path}" + ("" if old is None else f", which says {old!r}")
        # run gets {"old": ...} back: it does what was shown, or nothing. The way back is known before it begins.
        return Plan(text, {"old": old}, {"old": old, "new": params.text})

    def run(self, params: FlagParams, task: Task) -> Outcome:
        path = self._path(params, task)
        noted, current = _noted(task), _read(path)
        if noted is None:
            self.plan(params, task)  # raises where there is nothing to do
            if task.plan is not None and task.plan["old"] != current:
                raise PlanOutdated(f"{path} says {current!r}, and said {task.plan['old']!r} when it was planned")
            noted = {"old": current, "new": params.text}
            _write(_note(task), json.dumps(noted))
        elif current == noted["new"]:
            return Outcome(True, f"{path} was written before", noted)
        elif current != noted["old"]:
            raise PredisError(f"somebody else has changed {path}: it says {current!r}")
        _write(path, noted["new"])
        return Outcome(True, f"wrote {noted['new']!r} to {path}", noted)

    def done_before(self, params: FlagParams, task: Task) -> Outcome | None:
        path, noted = self._path(params, task), _noted(task)
        if noted is None:
            return Outcome(False, "it had not begun: nothing was changed")
        if _read(path) != noted["new"]:
            return Outcome(False, f"{path} does not say {noted['new']!r}")
        return Outcome(True, f"{path} was written", noted)

    def undo(self, params: FlagParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        path = self._path(params, task)
        current = _read(path)
        if current == undo["old"]:
            return Outcome(True, f"{path} is as it was already")
        if current != undo["new"]:
            return Outcome(False, f"somebody else has changed {path} since, so it stays")
        if undo["old"] is None:
            path.unlink(missing_ok=True)
            return Outcome(True, f"removed {path}")
        _write(path, undo["old"])
        return Outcome(True, f"{path} says {undo['old']!r} again")

    def _path(self, params: FlagParams, task: Task) -> Path:
        return task.host.data_dir / self._folder / params.flag


class @cls@:
    """The host makes one from the table, and a new one whenever that changes."""

    api_version = 1
    Config = @cls@Config

    def __init__(self, config: @cls@Config) -> None:
        # Cheap, and without I/O: `predis-agent plugins list` constructs it, too.
        self._actions = (RaiseFlag(config.folder),)

    @hookimpl
    def predis_actions(self) -> Sequence[ActionType]:
        return self._actions


def _note(task: Task) -> Path:
    """Where it is noted. What a plugin remembers lies in a folder of the data folder with the plugin's name."""
    return task.host.data_dir / "@plugin@" / f"{hashlib.sha256(task.intent.encode()).hexdigest()[:32]}.json"


def _noted(task: Task) -> dict[str, Any] | None:
    text = _read(_note(task))
    return None if text is None else dict(json.loads(text))


def _read(path: Path) -> str | None:
    """What is in a file; None where there is none. Raises PredisError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PredisError(f"{path} cannot be read: {error}") from None


def _write(path: Path, text: str) -> None:
    """Write all of it or nothing, so that it is on the disk when this returns. Raises PredisError."""
    try:
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".new.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        raise PredisError(f"{path} cannot be written: {error}") from None
'''

SAMPLE = (
    SAMPLE_HEAD
    + """\
# The folder within the data folder where flags are.
folder = "flags"
"""
)

README = (
    README_HEAD
    + """\

The action `@plugin@.flag` writes a file in `DATA_DIR/flags`:

- keys: `flag`, the name of the file; `text`, what is in it, by default "raised";
- target, by which rules count: `flag:NAME`;
- way back: yes, unless the file was changed since;
- after a crash of the agent it is known whether it was done: it is noted in `DATA_DIR/@plugin@` before.

In a rule:

```toml
then = [{ action = "@plugin@.flag", flag = "read-only" }]
```

## Troubleshooting

- *somebody else has changed …*: the file says neither what was found nor what was to be written. It was left as it is.
"""
)

TESTS = '''\
"""@cls@ raises flags: once, with a way back, and without taking what is somebody else's."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agent.api import CacheAddress, Host, Plan, PlanOutdated, PredisError, Task

from @module@.plugin import @cls@, @cls@Config, FlagParams, RaiseFlag

PARAMS = FlagParams(flag="read-only", text="hello")


@pytest.fixture
def action() -> RaiseFlag:
    (action,) = @cls@(@cls@Config()).predis_actions()
    assert isinstance(action, RaiseFlag)
    return action


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / "flags" / "read-only"


def task(folder: Path, intent: str = "one") -> Task:
    address = CacheAddress(folder / "cache.sock", "127.0.0.1", 0, None, folder / "cache.arena")
    now: Any = SimpleNamespace(time=0.0)  # nothing here looks at it
    return Task(intent, Host(folder, address, "0", logging.getLogger("test")), now)


def test_a_flag_is_raised_once_and_taken_back(action: RaiseFlag, tmp_path: Path, flag: Path) -> None:
    assert action.plan(PARAMS, task(tmp_path)) == f"would write 'hello' to {flag}"
    assert list(tmp_path.iterdir()) == []
    outcome = action.run(PARAMS, task(tmp_path))
    assert outcome.done and flag.read_text() == "hello"
    assert action.run(PARAMS, task(tmp_path)).detail == f"{flag} was written before"
    assert outcome.undo is not None
    assert action.undo(PARAMS, outcome.undo, task(tmp_path)).done
    assert not flag.exists()


def test_what_was_planned_is_done_or_nothing(action: RaiseFlag, tmp_path: Path, flag: Path) -> None:
    plan = action.plan(PARAMS, task(tmp_path))
    assert isinstance(plan, Plan)
    flag.parent.mkdir()
    flag.write_text("mine")
    with pytest.raises(PlanOutdated, match="says 'mine', and said None"):
        action.run(PARAMS, replace(task(tmp_path), plan=plan.facts))
    assert flag.read_text() == "mine"


def test_what_was_there_comes_back(action: RaiseFlag, tmp_path: Path, flag: Path) -> None:
    flag.parent.mkdir()
    flag.write_text("before")
    outcome = action.run(PARAMS, task(tmp_path))
    assert outcome.undo is not None
    assert action.undo(PARAMS, outcome.undo, task(tmp_path)).done
    assert flag.read_text() == "before"


def test_it_knows_after_a_crash_whether_it_was_done(action: RaiseFlag, tmp_path: Path, flag: Path) -> None:
    def done() -> bool:
        answer = action.done_before(PARAMS, task(tmp_path))
        assert answer is not None
        return answer.done

    assert not done()
    action.run(PARAMS, task(tmp_path))
    assert done()
    flag.unlink()  # as if it had died after it noted what it was about to do
    assert not done()
    assert action.run(PARAMS, task(tmp_path)).done
    assert flag.read_text() == "hello"


def test_what_somebody_else_wrote_stays(action: RaiseFlag, tmp_path: Path, flag: Path) -> None:
    outcome = action.run(PARAMS, task(tmp_path))
    flag.write_text("mine")
    with pytest.raises(PredisError, match="somebody else"):
        action.run(PARAMS, task(tmp_path))
    assert outcome.undo is not None
    assert not action.undo(PARAMS, outcome.undo, task(tmp_path)).done
    assert flag.read_text() == "mine"


def test_a_flag_that_is_up_is_not_raised(action: RaiseFlag, tmp_path: Path, flag: Path) -> None:
    action.run(PARAMS, task(tmp_path))
    with pytest.raises(PredisError, match="already"):
        action.plan(PARAMS, task(tmp_path, "another"))
'''
