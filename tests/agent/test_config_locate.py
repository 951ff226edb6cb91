"""Lines of keys in TOML text: by examples, and against texts that a writer with any style made."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.locate import KeyPath, format_key, locate_keys, parse_key, parse_path

EXAMPLE = '''# comment with [brackets] and a = 1
top = 1
[agent]                     # a table
data_dir = """
[not.a.table]
not_a_key = 1
"""
"quoted key".sub = 'x # no comment'

[a.b]
c.d = { e = 1, f = [1, { g = 2 }] }
numbers = [
    1,   # one
    2,
]
[[servers]]
name = "first"
[servers.limits]
rate = 1
[[servers]]
name = "second"
[servers.limits]
rate = 2
date = 1979-05-27 07:32:00
text = \'\'\'it's [x]
y = 1\'\'\'
'''


def test_each_way_to_write_a_key_is_located() -> None:
    lines = locate_keys(EXAMPLE)
    expected: dict[KeyPath, int] = {
        ("top",): 2,
        ("agent",): 3,
        ("agent", "data_dir"): 4,
        ("agent", "quoted key"): 8,
        ("agent", "quoted key", "sub"): 8,
        ("a", "b"): 10,
        ("a", "b", "c", "d", "e"): 11,
        ("a", "b", "c", "d", "f", 1, "g"): 11,
        ("a", "b", "numbers"): 12,
        ("a", "b", "numbers", 0): 13,
        ("a", "b", "numbers", 1): 14,
        ("servers", 0, "name"): 17,
        ("servers", 0, "limits"): 18,
        ("servers", 0, "limits", "rate"): 19,
        ("servers", 1, "name"): 21,
        ("servers", 1, "limits", "rate"): 23,
        ("servers", 1, "limits", "date"): 24,
        ("servers", 1, "limits", "text"): 25,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert ("agent", "not_a_key") not in lines


def test_windows_line_ends_count_as_one() -> None:
    assert locate_keys("a = 1\r\n\r\n[b]\r\nc = 2\r\n")[("b", "c")] == 4


@pytest.mark.parametrize("text", ["", "a..b", "a b", ".a", "a.", '"open', "a=b", "\n"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        parse_key(text)


keys = st.one_of(st.text("abc-_9", min_size=1, max_size=4), st.text(max_size=5))


@given(st.lists(keys, min_size=1, max_size=4))
def test_a_formatted_key_parses_to_itself(parts: list[str]) -> None:
    path = tuple(part for part in parts if part.isprintable() and not set(part) & set("\t\x7f")) or ("a",)
    assert parse_key(format_key(path)) == path


@given(st.lists(st.one_of(keys, st.integers(0, 99)), max_size=5), keys)
def test_a_formatted_path_with_indexes_parses_to_itself(parts: list[str | int], first: str) -> None:
    path = tuple(part for part in (first, *parts) if isinstance(part, int) or part.isprintable()) or ("a",)
    assert parse_path(format_key(path)) == path


@pytest.mark.parametrize("text", ["a..b", "a[b]", "a[0", 'a"b', "a."])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        parse_path(text)


tricky = st.sampled_from(
    ["", "x", "[a]", "a = 1", "# no", "'", '"', "]", "}", ",", "\\", "\n[b]\nc = 1\n", "'''", '"""']
)
scalars = st.one_of(
    st.integers(-(2**60), 2**60), st.booleans(), tricky, st.text(max_size=8), st.floats(allow_nan=False, width=32)
)
tables = st.recursive(
    st.dictionaries(keys, scalars, max_size=4),
    lambda inner: st.dictionaries(
        keys,
        st.one_of(scalars, st.lists(scalars, max_size=3), inner, st.lists(inner, min_size=1, max_size=3)),
        max_size=4,
    ),
    max_leaves=12,
)


class Writer:
    """Writes tables as TOML in whatever style it draws, and notes the line of every key that it writes."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def table(self, data: dict[str, Any], path: KeyPath, written: tuple[str, ...]) -> None:
        later = []
        for key, value in data.items():
            below, name = (*path, key), self._key(key)
            if isinstance(value, dict) and self._draw(st.booleans()):
                later.append((key, value, False))
            elif isinstance(value, list) and value and isinstance(value[0], dict) and self._draw(st.booleans()):
                later.append((key, value, True))
            elif isinstance(value, dict) and value and self._draw(st.booleans()):
                for inner, item in value.items():  # dotted keys
                    self._note(below)
                    self._note((*below, inner))
                    self.text += f"{name} . {self._key(inner)} = "
                    self._value(item, (*below, inner))
                    self._end()
            else:
                self._note(below)
                self.text += f"{name} = "
                self._value(value, below)
                self._end()
        for key, value, is_array in later:
            header = (*written, self._key(key))
            for index, item in enumerate(value if is_array else [value]):
                self._note((*path, key))
                self.text += f"[[ {'.'.join(header)}]]" if is_array else f"[{' . '.join(header)} ]"
                self._end()
                self.table(item, (*path, key, index) if is_array else (*path, key), header)

    def _value(self, value: Any, path: KeyPath) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for number, (key, item) in enumerate(value.items()):
                self.text += ", " if number else " "
                self._note((*path, key))
                self.text += f"{self._key(key)} = "
                self._value(item, (*path, key))
            self.text += " }"
        elif isinstance(value, list):
            self.text += "["
            for index, item in enumerate(value):
                self._maybe_break()
                self._note((*path, index))
                self._value(item, (*path, index))
                self.text += ","
            self._maybe_break()
            self.text += "]"
        elif isinstance(value, str):
            self.text += self._string(value)
        else:
            self.text += str(value).lower() if isinstance(value, bool) else repr(value)

    def _string(self, value: str) -> str:
        styles = [_basic(value)]
        plain = all(char.isprintable() or char == "\n" for char in value)
        if plain and "\n" not in value and "'" not in value:
            styles.append(f"'{value}'")
        if plain and "'''" not in value:  # may end with one or two quotes of its own
            styles.append(f"'''\n{value}'''")
        if plain and '"""' not in value and "\\" not in value:
            styles.append(f'"""\n{value}"""')
        styles.append('"""\\\n   ' + _basic(value)[1:-1] + '"""' if not value[:1].isspace() else _basic(value))
        return self._draw(st.sampled_from(styles))

    def _key(self, key: str) -> str:
        bare = (key.isascii() and key.replace("-", "").replace("_", "").isalnum()) or (key and not key.strip("-_"))
        return key if bare and self._draw(st.booleans()) else _basic(key)

    def _maybe_break(self) -> None:
        self.text += self._draw(st.sampled_from(["", " ", "\n", " # ], }\n", "\n\n\t"]))

    def _end(self) -> None:
        self.text += self._draw(st.sampled_from(["\n", "  # a = [\n", "\n\n# [x]\n", "\r\n"]))

    def _note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)


def _basic(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[KeyPath, int]]:
    data = draw(tables)
    writer = Writer(draw)
    writer.table(data, (), ())
    return writer.text, data, writer.lines


@settings(max_examples=300)
@given(documents())
def test_every_key_of_any_document_is_found_in_its_line(
    document: tuple[str, dict[str, Any], dict[KeyPath, int]],
) -> None:
    text, data, lines = document
    assert tomllib.loads(text) == data, "the test's writer is wrong"
    located = locate_keys(text)
    assert {path: located.get(path) for path in lines} == lines
