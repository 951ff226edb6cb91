"""Values as people read them in messages: TOML notation, cut to a readable length, secrets masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
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


def _mask_user(text: str) -> str:
    return _URL_USER.sub(lambda found: f"{found[1] or ''}{MASK}@", text)


def mask(key: str, value: object) -> object:
    """The value, unless its key or its form (a password in a URL) says that it is secret: then what may be shown."""
    if isinstance(value, str):
        return MASK if value and is_secret_name(key) else _mask_user(value)
    if isinstance(value, Mapping):
        return {name: mask(str(name), item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(key, item) for item in value]
    return value


def show(value: object, limit: int = 60) -> str:
    """The value in TOML notation; passwords in URLs are masked, long values end in "…"."""
    text = _notation(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _notation(value: object) -> str:
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
        pairs = (f"{key} = {MASK if is_secret_name(str(key)) else _notation(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(map(_notation, value)) + "]"
    return str(value)


def any_of(choices: list[str]) -> str:
    """ "a, b or c"."""
    return choices[0] if len(choices) == 1 else ", ".join(choices[:-1]) + " or " + choices[-1]
