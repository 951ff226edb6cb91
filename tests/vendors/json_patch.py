"""JSON Patch (RFC 6902) as Kubernetes takes it: `add`, `replace`, `remove` and `test`, all or nothing."""

import copy
from typing import Any, NoReturn

from tests.vendors.wire import Refusal


def patched(document: Any, operations: Any) -> Any:
    """The document after these operations. Refuses 400 what is no patch, and 422 what does not fit the document."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise Refusal(400, "patch", "error decoding patch: a JSON patch is a list of operations")
    changed = copy.deepcopy(document)
    for one in operations:
        name, path = one.get("op"), one.get("path")
        if name not in ("add", "replace", "remove", "test") or not isinstance(path, str) or not path.startswith("/"):
            _unprocessable(f"{one!r} is no operation that is taken here")
        if name != "remove" and "value" not in one:
            _unprocessable(f"{name} {path} has no value")
        steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
        place = changed
        for step in steps[:-1]:
            place = place[_key(place, step, path, there=True)]
        key = _key(place, steps[-1], path, there=name != "add")
        if name == "test":
            if not _same(place[key], one["value"]):
                _unprocessable(f"testing value {path} failed")
        elif name == "remove":
            del place[key]
        elif name == "add" and isinstance(place, list):
            place.insert(key, copy.deepcopy(one["value"]))
        else:
            place[key] = copy.deepcopy(one["value"])
    return changed


def _key(place: Any, step: str, path: str, *, there: bool) -> Any:
    if isinstance(place, dict):
        if there and step not in place:
            _unprocessable(f"{path}: {step} is missing")
        return step
    if isinstance(place, list):
        if step == "-" and not there:
            return len(place)
        if step.isdigit() and (step == "0" or step[0] != "0") and int(step) < len(place) + (not there):
            return int(step)
    _unprocessable(f"{path}: there is no {step}")


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON: true is not 1, and the order of members does not count."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _unprocessable(text: str) -> NoReturn:
    # The API server's message says no more than "the server rejected our request due to an error in our request".
    raise Refusal(422, "json_patch", f"the server rejected our request due to an error in our request: {text}")
