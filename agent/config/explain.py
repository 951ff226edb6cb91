"""From pydantic's errors to sentences for the person who wrote the file: what is wrong, and what would be right."""

from __future__ import annotations

import difflib
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from agent.config.locate import KeyPath
from agent.config.refuse import REFUSED
from agent.config.show import MASK, any_of, is_secret_name, show


def explain(
    error: ValidationError, model: type[BaseModel], raw: Mapping[str, Any], secrets: set[KeyPath]
) -> list[tuple[KeyPath, str, str]]:
    """(path below the model, what is wrong, what would be right) for each mistake; ``secrets`` are never shown."""
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        by_path.setdefault(_path_in(raw, details), []).append(details)
    found = []
    for path, complaints in by_path.items():
        what, mend = _sentences(complaints[0], model, raw, path, secrets)
        kinds = [details["type"] for details in complaints]
        if len(kinds) > 1 and all(kind in _WRONG_TYPE for kind in kinds):  # a union complains once per member
            things = list(dict.fromkeys(_WRONG_TYPE[kind][0] for kind in kinds))
            what = what.replace(things[0], any_of(things))
            mend = f"write {any_of(things)}"
        found.append((path, what, mend))
    return found


def _at(model: type[BaseModel], path: KeyPath) -> tuple[Any, FieldInfo | None]:
    """What a path leads to, through nested models, lists and tables: its annotation, and its field if it is one."""
    current: Any = model
    info: FieldInfo | None = None
    for part in path:
        owner = _model_in(current)
        if owner is not None and isinstance(part, str):
            info = _fields_by_key(owner).get(part)
            current = info.annotation if info is not None else None
        else:
            items = [argument for argument in typing.get_args(_without_none(current)) if argument is not Ellipsis]
            current, info = (items[-1] if items else None), None
    return current, info


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that was probably meant."""
    lowered = {name.lower().replace("-", "_"): name for name in known}
    close = difflib.get_close_matches(word.lower().replace("-", "_"), lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def _path_in(raw: Mapping[str, Any], details: ErrorDetails) -> KeyPath:
    """The part of pydantic's location that exists in the file: it also names union members and validators."""
    current: Any = raw
    path: KeyPath = ()
    for part in details["loc"]:
        if isinstance(current, (dict, list)):
            known = part in current if isinstance(current, dict) else part in range(len(current))
            if not known and not isinstance(current, dict) and details["type"] != "missing":
                break
            # Not in the file: it is missing, or its default does not fit what another key says.
            current = typing.cast(Any, current)[part] if known else None
        else:
            break
        path = (*path, part)
    blamed = (details.get("ctx") or {}).get("key") if details["type"] == REFUSED else None
    return tuple(blamed.split(".")) if blamed else path


def _sentences(
    details: ErrorDetails, model: type[BaseModel], raw: Mapping[str, Any], path: KeyPath, secrets: set[KeyPath]
) -> tuple[str, str]:
    kind, ctx = details["type"], details.get("ctx") or {}
    key = str(path[-1]) if path else ""
    annotation, info = _at(model, path)
    value = _value_at(raw, path)
    secret = any(other[: len(path)] == path for other in secrets)  # the value itself, or one in it
    hidden = secret or is_secret_name(key) or _is_secret_field(info) or _holds_secrets(annotation)
    shown = MASK if hidden else show(value)
    if kind == "json_invalid":
        what, mend = "is nested too deeply", "no configuration needs hundreds of levels"
    elif kind == REFUSED:
        what, mend = str(ctx["what"]), str(ctx["mend"])
    elif kind == "extra_forbidden":
        what, mend = _unknown_key(model, path, isinstance(value, dict))
    elif kind == "missing":
        description = info.description if info is not None else None
        add = "add it" if isinstance(path[-1], int) else f"add {key} = …"
        what, mend = "is missing", add + (f" ({description})" if description else "")
    elif kind in ("literal_error", "enum"):
        choices = [str(choice) for choice in _choices(annotation)]
        guess = nearest(str(value), choices) if isinstance(value, str) else None
        mend = f'did you mean "{guess}"? ' if guess else ""
        what, mend = f"{shown} is not a choice", mend + "write " + any_of([f'"{choice}"' for choice in choices])
    elif kind in _BOUNDS:
        what, mend = f"{shown} is out of range", _range(info, ctx, kind)
    elif kind in _WRONG_TYPE:
        thing, advice = _WRONG_TYPE[kind]
        what, mend = f"{shown} is not {thing}", _advice(advice, key, info)
    else:
        message = str(ctx["error"]) if kind in ("value_error", "assertion_error") else details["msg"]
        # Of a whole table, what it says is not repeated.
        what = message if isinstance(value, Mapping) else f"{shown} is wrong: {message}"
        mend = _example(key, info)
    if hidden and isinstance(value, str) and value:
        what, mend = what.replace(value, MASK), mend.replace(value, MASK)
    return what, mend


_BOUNDS = {"greater_than_equal", "less_than_equal", "greater_than", "less_than"}

_WRONG_TYPE = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), ("a whole number", "write a number without quotes")),
    **dict.fromkeys(("float_type", "float_parsing"), ("a number", "write a number without quotes")),
    **dict.fromkeys(("bool_type", "bool_parsing"), ("true or false", "write true or false without quotes")),
    **dict.fromkeys(("string_type", "path_type", "url_type"), ("text", 'write it in quotes: KEY = "…"')),
    **dict.fromkeys(("list_type", "tuple_type", "set_type"), ("a list", "write KEY = [ …, … ]")),
    **dict.fromkeys(("model_type", "dict_type", "model_attributes_type"), ("a table", "write a table: [KEY]")),
}


def _advice(advice: str, key: str, info: FieldInfo | None) -> str:
    if info is None and "KEY" in advice:  # an item of a list
        return advice.partition(":")[0].replace("KEY = ", "")
    example = _example(key, info) if "KEY" not in advice and "true or false" not in advice else ""
    return advice.replace("KEY", key) + (f", {example}" if example else "")


def _example(key: str, info: FieldInfo | None) -> str:
    if info is None or info.is_required() or info.default is None or info.default == "":
        return f"it means: {info.description}" if info is not None and info.description else ""
    return f"for example {key} = {show(info.default)}"


def _range(info: FieldInfo | None, ctx: Mapping[str, Any], kind: str) -> str:
    low = high = None
    for limit in info.metadata if info is not None else ():
        low = getattr(limit, "ge", None) if low is None else low
        high = getattr(limit, "le", None) if high is None else high
    if low is not None and high is not None:
        return f"write a number from {low} to {high}"
    word = {"greater_than_equal": "at least", "less_than_equal": "at most", "greater_than": "more than"}
    return f"write {word.get(kind, 'less than')} {next(iter(ctx.values()), '')}"


def _unknown_key(model: type[BaseModel], path: KeyPath, is_table: bool) -> tuple[str, str]:
    key, above = str(path[-1]), path[:-1]
    owner = _model_in(_at(model, above)[0]) or model
    known = list(_fields_by_key(owner))
    what = "unknown table" if is_table else "unknown key"
    homes = [
        section
        for section, info in model.model_fields.items()
        if (table := _model_in(info.annotation)) is not None and key in table.model_fields and (section,) != above
    ]
    if homes:
        return what, f'"{key}" belongs to ' + any_of([f"[{home}]" for home in homes])
    guess = nearest(key, known)
    if guess:
        return what, f'did you mean "{guess}"?'
    return what, "known here: " + ", ".join(known)


def _fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    annotation = _without_none(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _without_none(annotation: Any) -> Any:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        return _without_none(members[0]) if len(members) == 1 else annotation
    return annotation


def _choices(annotation: Any) -> list[Any]:
    annotation = _without_none(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [member.value for member in annotation]
    return list(typing.get_args(annotation)) or ["…"]


def _is_secret_field(info: FieldInfo | None) -> bool:
    return info is not None and _holds_secrets(info.annotation)


def _holds_secrets(annotation: Any) -> bool:
    """Also a table or a list of secrets: what was written in its place by mistake may well be one."""
    if annotation in (SecretStr, SecretBytes):
        return True
    return any(_holds_secrets(argument) for argument in typing.get_args(annotation))


def _value_at(raw: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw
