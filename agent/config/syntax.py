"""TOML syntax errors for people: tomllib says where it stopped, this adds which key that is and how to write it."""

from __future__ import annotations

import re
import tomllib

from agent.config.locate import format_key, locate_keys, parse_key
from agent.config.show import MASK, is_secret_name

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_HEADER = re.compile(r"^[ \t]*\[\[?([^\[\]#]+)\]")
_PAIR = re.compile(r"^[ \t]*([^=#]+?)[ \t]*=[ \t]*(.*)$")
_BARE = re.compile(r"[A-Za-z0-9_./:+*@%~-]+(?: [A-Za-z0-9_./:+*@%~-]+)*")


def explain_syntax(error: Exception, text: str) -> tuple[int | None, str, str, str]:
    """(line, key, what is wrong, what would be right) for an error of ``tomllib.loads(text)``."""
    message = str(error)
    position = _POSITION.search(message)
    lines = text.replace("\r\n", "\n").split("\n")
    if position is None:  # a number with too many digits, nesting too deep
        return None, "", f"not valid TOML: {message or type(error).__name__}", "mend the value it complains about"
    line = int(position[1]) if position[1] else max(1, len(text.rstrip().split("\n")))
    said = message[: position.start()]
    source = lines[line - 1] if line <= len(lines) else ""
    path = _path_of_line(lines, line)
    what, mend = _advise(said, source, position[1] is None)
    first = _first_line("\n".join(lines[: line - 1]), path) if "overwrite" in said or "twice" in said else None
    if first is not None:
        what, mend = f"is already set in line {first}", "keep one of the two"
    pair = _PAIR.match(source)
    if pair is not None and pair[2] and path and is_secret_name(path[-1]):
        what, mend = what.replace(pair[2].strip(), MASK), mend.replace(pair[2].strip(), MASK)
    return line, format_key(path), what, mend


def _advise(said: str, source: str, at_end: bool) -> tuple[str, str]:
    pair = _PAIR.match(source)
    value = pair[2].split("#")[0].strip() if pair else ""
    if pair is not None and not value:
        return "the value is missing", f"write {pair[1]} = VALUE, or remove the line"
    if pair is not None and not at_end:
        key = pair[1]
        if value.lower() in ("true", "false", "yes", "no", "on", "off"):
            meant = str(value.lower() in ("true", "yes", "on")).lower()
            return f"{value} is not TOML", f"write {key} = {meant}"
        if value.lower() in ("none", "null", "nil"):
            return f"{value} is not TOML", "remove the line to get the default"
        if _BARE.fullmatch(value):
            return f"{value} is not a number, so it needs quotes", f'write {key} = "{value}"'
        if value.startswith('"') and "\\" in value:
            return f"{said[:1].lower()}{said[1:]}", f"write backslashes doubled, or use single quotes: {key} = '…'"
        if value[0] in "\"'" and value.count(value[0]) == 1:
            return "the closing quote is missing", f"write {key} = {value}{value[0]}"
    if source.lstrip().startswith("[") and source.split("#")[0].count("]") < source.count("["):
        return 'the closing "]" is missing', "write a table header as [name]"
    if "after a key" in said and ":" in source:
        name, _, rest = source.partition(":")
        return "a key and its value need = between them", f"write {name.strip()} = {rest.strip()}"
    return f"not valid TOML: {said[:1].lower()}{said[1:]}", "see https://toml.io for how TOML is written"


def _path_of_line(lines: list[str], line: int) -> tuple[str, ...]:
    """The key that the line sets, as far as one can tell from broken text."""
    pair = _PAIR.match(lines[line - 1]) if line <= len(lines) else None
    header = None
    for source in reversed(lines[:line] if pair is None else lines[: line - 1]):
        header = _HEADER.match(source)
        if header is not None:
            break
    names = [match[1] for match in (header, pair) if match is not None]
    try:
        return tuple(part for name in names for part in parse_key(name))
    except ValueError:
        return ()


def _first_line(text: str, path: tuple[str, ...]) -> int | None:
    try:
        tomllib.loads(text)
    except ValueError:
        return None
    return locate_keys(text).get(path)
