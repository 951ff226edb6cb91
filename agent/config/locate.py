"""Where each key stands in a TOML text, because tomllib tells no positions and people need them.

The scanner reads text that tomllib has accepted, so it only has to follow the grammar, never to judge it.
"""

from __future__ import annotations

import re
import tomllib

KeyPath = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INDEX = re.compile(r"\[(\d+)\]")
_BLANK = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"(?:[ \t\n]|#[^\n]*)*")  # what may stand between statements and between elements
_BASIC = re.compile(r'"(?:\\.|[^"\\\n])*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_MULTI_BASIC = re.compile(r'"""(?:\\.|(?!""")[^\\])*"{3,5}', re.DOTALL)
_MULTI_LITERAL = re.compile(r"'''(?:(?!''').)*'{3,5}", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]*")  # numbers, booleans, dates


def locate_keys(text: str) -> dict[KeyPath, int]:
    """Line (from 1) of every key, table and array element in valid TOML text.

    Paths are tuples of keys and array indexes: ``[[a]]`` twice with ``b = 1`` gives ("a", 0, "b") and ("a", 1, "b").
    A table that several headers open has the line of the first.
    """
    return _Scanner(text).scan()


def parse_key(text: str) -> tuple[str, ...]:
    """The parts of a dotted TOML key, such as ``plugins."my plugin".port``. Raises ValueError when it is none."""
    parts, end = _read_key(text, _BLANK.match(text).end())  # type: ignore[union-attr]  # matches always
    if text[end:].strip():
        raise ValueError(f"{text!r} is not a dotted key")
    return tuple(parts)


def parse_path(text: str) -> KeyPath:
    """What `format_key` wrote: as `parse_key`, with indexes in brackets. Raises ValueError when it is none."""
    path: list[str | int] = []
    at = 0
    while at < len(text):
        index = _INDEX.match(text, at)
        if index is not None:
            path.append(int(index[1]))
            at = index.end()
            continue
        if path and text[at] == ".":
            at += 1
        parts, at = _read_key(text, at)
        path += parts
    return tuple(path)


def format_key(path: KeyPath) -> str:
    """A path as one would write it: dotted, indexes in brackets, parts quoted where TOML asks for it."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            quoted = part if _BARE_KEY.fullmatch(part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
            shown += f".{quoted}" if shown else quoted
    return shown


def _read_key(text: str, at: int) -> tuple[list[str], int]:
    """A dotted key from ``at`` on: its parts, and where it and the blanks after it end."""
    parts = []
    while True:
        for pattern in (_BARE_KEY, _BASIC, _LITERAL):
            match = pattern.match(text, at)
            if match is not None:
                break
        else:
            raise ValueError(f"no key at position {at} of {text!r}")
        parts.append(match[0] if pattern is _BARE_KEY else _unquote(match[0]))
        at = _BLANK.match(text, match.end()).end()  # type: ignore[union-attr]
        if not text.startswith(".", at):
            return parts, at
        at = _BLANK.match(text, at + 1).end()  # type: ignore[union-attr]


def _unquote(quoted: str) -> str:
    # tomllib knows the escapes; a single value cannot hold anything but the string itself.
    value = tomllib.loads(f"v = {quoted}")["v"]
    assert isinstance(value, str)
    return value


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._line, self._counted = 1, 0
        self._lines: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}  # array of tables → index of its newest table

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while True:
            self._skip(_BETWEEN)
            if self._at >= len(self._text):
                return self._lines
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        line, doubled = self._here(), self._text.startswith("[[", self._at)
        self._at += 2 if doubled else 1
        self._skip(_BLANK)
        parts, self._at = _read_key(self._text, self._at)
        self._at += 2 if doubled else 1
        path: KeyPath = ()
        for depth, part in enumerate(parts, start=1):
            path = (*path, part)
            last = depth == len(parts)
            self._lines.setdefault(path, line)
            if last and doubled:
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                path = (*path, self._arrays[path])
                self._lines.setdefault(path, line)
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._here()
        parts, self._at = _read_key(self._text, self._at)
        self._at += 1  # the "="
        self._skip(_BLANK)
        path = table
        for part in parts:
            path = (*path, part)
            self._lines.setdefault(path, line)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        text, at = self._text, self._at
        if text.startswith("[", at):
            self._array(path)
        elif text.startswith("{", at):
            self._inline_table(path)
        elif text.startswith('"""', at):
            self._skip(_MULTI_BASIC)
        elif text.startswith("'''", at):
            self._skip(_MULTI_LITERAL)
        elif text.startswith('"', at):
            self._skip(_BASIC)
        elif text.startswith("'", at):
            self._skip(_LITERAL)
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BETWEEN)
            if self._text[self._at] == "]":
                self._at += 1
                return
            self._lines[(*path, index)] = self._here()
            self._value((*path, index))
            index += 1
            self._skip(_BETWEEN)
            if self._text[self._at] == ",":
                self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while True:
            self._skip(_BETWEEN)
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)
            self._skip(_BETWEEN)
            if self._text[self._at] == ",":
                self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None, "tomllib accepted this text"
        self._at = match.end()

    def _here(self) -> int:
        """Line of the current position; counts on from the last call, so a scan stays linear."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
