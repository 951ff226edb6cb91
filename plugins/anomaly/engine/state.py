"""The engine's state in a file: it survives restarts, and a file that is not whole is not believed.

The file: a line with the format and its version, a line with the SHA-256 of all that follows, a line of JSON, and the
arrays' bytes one after another. It is written beside and renamed, readable by the owner only.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from plugins.anomaly.engine.table import Array

FORMAT: Final = b"predis-anomaly 1\n"


def save(path: Path, about: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Writes both, atomically. `about` is JSON. Raises OSError."""
    header = {
        "about": about,
        "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()},
    }
    parts = [json.dumps(header, separators=(",", ":")).encode() + b"\n"]
    parts += [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(FORMAT + digest.hexdigest().encode() + b"\n")
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """What `save` wrote; None where there is no file. Raises ValueError for a file that is damaged or of another
    version, OSError where it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if not data.startswith(FORMAT):
        raise ValueError(f"{path} is not of this version's format, {FORMAT.decode().strip()}")
    digest, _, rest = data[len(FORMAT) :].partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise ValueError(f"{path} is damaged: its checksum is wrong")
    line, _, rest = rest.partition(b"\n")
    header = json.loads(line)
    arrays, position = {}, 0
    for name, (dtype, shape) in header["arrays"].items():
        kind, count = np.dtype(dtype), int(np.prod(shape))
        arrays[name] = np.frombuffer(rest, kind, count, position).reshape(shape)
        position += count * kind.itemsize
    return header["about"], arrays
