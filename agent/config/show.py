"""Values as people read them in messages: TOML notation, cut to a readable length, secrets masked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import PurePath

MASK = "********"

_SECRET_NAME = re.compile(
    r"(password|passwd|passphrase|secret|token|secret[-_]?url|(api|license|private|access|app|account|user|ingest)[-_]?key|credential|authorization)s?$",
    re.I,
)
# What stands before the last "@", whatever it holds: a URL with a mistake in it is still no place to print a password.
_URL_USER = re.compile(r"""([a-zA-Z][\w+.-]*://)?[^\s"']*@""")


def is_secret_name(key: str) -> bool:
    """Whether a key of this name holds something that must not be printed."""
    return _SECRET_NAME.search(key) is not None


def is_secret(path: Sequence[str | int]) -> bool:
    """Whether what stands at this key must not be printed: a name of the path says so, or it is one of `headers`.

    The name of a plugin says nothing.
    """
    names = [str(part) for part in (path[2:] if path[:1] == ("plugins",) else path)]
    return any(map(is_secret_name, names)) or "headers" in names[:-1]


def _mask_user(text: str) -> str:
    return _URL_USER.sub(lambda found: f"{found[1] or ''}{MASK}@", text)


def mask(key: str, value: object) -> object:
    """The value, unless its key or its form (a password in a URL) says that it is secret: then what may be shown."""
    return _masked((key,), value)


def _masked(path: tuple[str, ...], value: object) -> object:
    if isinstance(value, str):
        return MASK if value and is_secret(path) else _mask_user(value)
    if isinstance(value, Mapping):
        return {name: _masked((*path, str(name)), item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(path, item) for item in value]
    return value


def show(value: object, limit: int = 60) -> str:
    """The value in TOML notation; passwords in URLs are masked, long values end in "…"."""
    text = _notation(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _notation(value: object, path: tuple[str, ...] = ()) -> str:
    if value is None:
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 256 else "a huge number"
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (str, PurePath)):
        masked = _mask_user(str(value))
        return '"' + masked.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, Mapping):
        items = ((key, (*path, str(key)), item) for key, item in value.items())
        pairs = (f"{key} = {MASK if is_secret(below) else _notation(item, below)}" for key, below, item in items)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(_notation(item, path) for item in value) + "]"
    return str(value)


def any_of(choices: list[str]) -> str:
    """ "a, b or c"."""
    return choices[0] if len(choices) == 1 else ", ".join(choices[:-1]) + " or " + choices[-1]
