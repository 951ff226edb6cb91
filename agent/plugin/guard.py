"""Runs plugin code where it can hurt least: on a thread of its own, with a deadline, whatever it raises."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from agent.config.show import mask

Result = TypeVar("Result")
_LONGEST = 500  # characters of a message


class Overdue(Exception):
    """The code was still running when its time was up; it runs on, on its thread. May say whose code that is."""


class Raised(Exception):
    """The code raised ``error``, which may be SystemExit or KeyboardInterrupt: its own, not the agent's."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)  # its message is plugin code
        self.error = error


class Told(Exception):
    """What went wrong elsewhere, as it was described there; `place` is its file and line, if known."""

    def __init__(self, what: str, place: object = None) -> None:
        super().__init__(what)
        self.place: tuple[str | None, int | None] = (None, None)
        if isinstance(place, (list, tuple)) and list(map(type, place)) == [str, int]:
            self.place = place[0], place[1]


class Guarded(Generic[Result]):
    """A call on a daemon thread. A hanging import or constructor then costs one thread, not the agent."""

    def __init__(self, call: Callable[[], Result], name: str) -> None:
        self._call = call
        self._result: list[Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def result(self, deadline: float) -> Result:
        """What the call returned. Raises Raised, or Overdue when it takes more than ``deadline`` seconds."""
        self._thread.start()
        self._thread.join(deadline)
        if self._thread.is_alive():
            raise Overdue
        if self._error is not None:
            raise Raised(self._error)
        return self._result[0]

    @property
    def running(self) -> bool:
        """Whether it was begun and has not come to its end, awaited or not."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:  # noqa: BLE001  # a plugin may call sys.exit(): the agent goes on
            self._error = error


def describe(error: BaseException) -> str:
    """An exception in one line: type and message, cut to a readable length, passwords in URLs masked."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else repr(error.code)})"
    kind = "" if isinstance(error, Told) else type(error).__name__
    try:
        text = error.msg if isinstance(error, SyntaxError) and error.msg else str(error)
    except Exception:  # noqa: BLE001  # its __str__ is plugin code as well
        return f"{kind}, which cannot be shown"
    text = " ".join(str(mask("", text)).split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{kind}: {text}" if text and kind else text or kind


def origin(error: BaseException) -> tuple[str | None, int | None]:
    """File and line of the code that raised, innermost frame outside the import machinery and the agent's guard."""
    if isinstance(error, Told):
        return error.place
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and "importlib" not in frame.filename.split("/")
    ]
    if not frames or frames[-1].filename == __file__:
        return None, None
    return frames[-1].filename, frames[-1].lineno
