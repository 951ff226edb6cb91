"""The artefact of a policy model: one small file that says what an entry is worth keeping.

The engine's policy `learned` gives a model the facts about a few candidates for eviction; the one with the lowest score
goes. A model is either layers of units (one layer: a linear model; between layers, what is below 0 becomes 0) or trees
whose leaves are added up. The file is little-endian:

    8 bytes   "PREDISPM"
    uint32    format, 1
    uint32    kind: 1 layers, 2 trees
    uint32    features
    uint32    layers, or trees
    uint32    bytes of metadata
    16 bytes  per feature: its name, padded with zeros
    layers    each: uint32 units; float32 weights, a row of inputs per unit; float32 biases
    trees     uint32 nodes; float32 base, which is added to the sum; uint32 root per tree;
              nodes of uint32 feature (0xffffffff: a leaf), float32 threshold or result, uint32 left, uint32 right:
              left where the feature is below the threshold; children come after their parents
    metadata  JSON, an object
    uint32    CRC-32 of all before

Both readers, this one and the engine's, refuse what is damaged, cut short, not finite, or takes more than 128 steps per
entry, about a nanosecond each: a comparison in a tree, or four multiplications.
"""

import json
import math
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"PREDISPM"
FORMAT = 1
MOST_BYTES = 1 << 20
MOST_COST = 128
PRODUCTS_PER_STEP = 4
MOST_FEATURES = 16
MOST_UNITS = 256
LEAF = 0xFFFFFFFF
NO_EXPIRY = 48.0
FEATURES: Mapping[str, str] = {
    "idle": "log2 of the milliseconds since the last access (in steps of 16)",
    "hits": "uses since the policy last looked, 0 to 3",
    "size": "log2 of the bytes that the entry takes up",
    "ttl": f"log2 of the milliseconds until it expires, {NO_EXPIRY:g} where it does not",
    "main": "1 in the main queue, 0 in the queue of new keys",
    "writes": "log2 of the writes to the cache since this value was written",
    "key_length": "log2 of the key's bytes",
    "type": "0 string, 1 list, 2 set, 3 sorted set, 4 hash",
}
"""What a model can know. Each log2 is log2_linear, so that it is 0 of 0."""
NODE = np.dtype([("feature", "<u4"), ("value", "<f4"), ("left", "<u4"), ("right", "<u4")])

Floats = npt.NDArray[np.float32]


class ArtefactError(ValueError):
    """The artefact cannot be used; the text says why."""


def log2_linear(values: npt.ArrayLike) -> Floats:
    """The logarithm that features have: of n + 1, to base 2, straight between powers of two."""
    fraction, exponent = np.frexp(np.asarray(values, np.float64) + 1)
    return np.asarray((exponent - 1) + (2 * fraction - 1), np.float32)


@dataclass(frozen=True)
class Layer:
    """weights: (units, inputs); bias: (units,)."""

    weights: Floats
    bias: Floats


@dataclass(frozen=True)
class Dense:
    """Layers of units; what is below 0 becomes 0 between them. The last has one unit."""

    features: tuple[str, ...]
    layers: tuple[Layer, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def linear(
        cls, weights: Mapping[str, float], bias: float = 0.0, metadata: Mapping[str, Any] | None = None
    ) -> "Dense":
        """The sum of some features, each times a weight."""
        layer = Layer(np.array([list(weights.values())], np.float32), np.array([bias], np.float32))
        return cls(tuple(weights), (layer,), metadata or {})

    def score(self, rows: npt.ArrayLike) -> Floats:
        """Scores of rows of features, shape (entries,); the lowest goes."""
        values = np.asarray(rows, np.float32)
        with np.errstate(all="ignore"):
            for number, layer in enumerate(self.layers):
                values = values @ layer.weights.T + layer.bias
                if number + 1 < len(self.layers):
                    values = np.where(values < 0, np.float32(0), values)
        return np.asarray(values[:, 0], np.float32)


@dataclass(frozen=True)
class Trees:
    """The sum of the trees' leaves and a base. nodes: of type NODE, children after their parents."""

    features: tuple[str, ...]
    nodes: npt.NDArray[np.void]
    roots: npt.NDArray[np.uint32]
    base: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def score(self, rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Scores of rows of features, shape (entries,); the lowest goes."""
        values = np.asarray(rows, np.float32)
        scores = np.full(len(values), self.base, np.float64)
        for root in self.roots:
            at = np.full(len(values), root, np.int64)
            while True:
                nodes = self.nodes[at]
                inner = nodes["feature"] != LEAF
                if not inner.any():
                    break
                feature = np.where(inner, nodes["feature"], 0)
                below = values[np.arange(len(values)), feature] < nodes["value"]
                at = np.where(inner, np.where(below, nodes["left"], nodes["right"]), at)
            scores += self.nodes[at]["value"]
        return scores


Artefact = Dense | Trees


def write(path: Path, model: Artefact) -> None:
    """Writes the artefact with mode 0600, whole or not at all. Raises ArtefactError for what read() would refuse."""
    _put(path, to_bytes(model))


def write_bytes(path: Path, data: bytes) -> None:
    """The same for an artefact that is bytes already."""
    from_bytes(data)
    _put(path, data)


def _put(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def read(path: Path) -> Artefact:
    """Reads an artefact. Raises ArtefactError, OSError."""
    try:
        return from_bytes(path.read_bytes())
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from None


def to_bytes(model: Artefact) -> bytes:
    """The file's content. Raises ArtefactError for what from_bytes() would refuse."""
    metadata = json.dumps(dict(model.metadata), sort_keys=True, allow_nan=False).encode()
    dense = isinstance(model, Dense)
    blocks = len(model.layers) if isinstance(model, Dense) else len(model.roots)
    parts = [
        MAGIC,
        struct.pack("<5I", FORMAT, 1 if dense else 2, len(model.features), blocks, len(metadata)),
        b"".join(name.encode().ljust(16, b"\0") for name in model.features),
    ]
    if isinstance(model, Dense):
        for layer in model.layers:
            parts.append(struct.pack("<I", layer.weights.shape[0]))
            parts += [np.asarray(layer.weights, "<f4").tobytes(), np.asarray(layer.bias, "<f4").tobytes()]
    else:
        parts.append(struct.pack("<If", len(model.nodes), model.base))
        parts += [np.asarray(model.roots, "<u4").tobytes(), np.asarray(model.nodes, NODE).tobytes()]
    body = b"".join([*parts, metadata])
    data = body + struct.pack("<I", zlib.crc32(body))
    from_bytes(data)
    return data


def checksum(data: bytes) -> str:
    """The artefact's checksum as INFO shows it of a model that is loaded: 8 hexadecimal digits."""
    return f"{struct.unpack('<I', data[-4:])[0]:08x}"


def from_bytes(data: bytes) -> Artefact:
    """Reads what to_bytes() has written. Raises ArtefactError."""
    if data[: len(MAGIC)] != MAGIC:
        raise ArtefactError("is no policy model")
    if len(data) > MOST_BYTES:
        raise ArtefactError("is larger than a policy model may be")
    if len(data) < 32:
        raise ArtefactError("is cut short")
    format_, kind, features, blocks, metadata_bytes = struct.unpack_from("<5I", data, 8)
    if format_ != FORMAT:
        raise ArtefactError(f"has format {format_}; this version reads format {FORMAT}")
    if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
        raise ArtefactError("is damaged: its checksum is wrong")
    if kind not in (1, 2):
        raise ArtefactError(f"says kind {kind}, where 1 to 2 are allowed")
    _limit("features", features, 1, MOST_FEATURES)
    _limit("layers" if kind == 1 else "trees", blocks, 1, 1024)
    take = _Taker(data[28:-4])
    names = tuple(take.bytes(16).split(b"\0")[0].decode("ascii", "replace") for _ in range(features))
    if not FEATURES.keys() >= set(names):
        raise ArtefactError("wants a feature that this version does not have")
    layers: list[Layer] = []
    if kind == 1:
        inputs = features
        for _ in range(blocks):
            units = _limit("units in a layer", take.number(), 1, MOST_UNITS)
            weights = take.floats(units * inputs).reshape(units, inputs)
            layers.append(Layer(weights, take.floats(units)))
            inputs = units
        if inputs != 1:
            raise ArtefactError(f"ends in a layer of {inputs} units, where 1 is wanted")
        cost = sum(-(-layer.weights.size // PRODUCTS_PER_STEP) for layer in layers)
    else:
        count = _limit("nodes", take.number(), 1, MOST_BYTES // NODE.itemsize)
        base = float(take.floats(1)[0])
        roots = np.frombuffer(take.bytes(4 * blocks), "<u4").astype(np.uint32)
        nodes = np.frombuffer(take.bytes(NODE.itemsize * count), NODE)
        cost = _tree_cost(nodes, roots, features)
    metadata = _metadata(take.bytes(metadata_bytes))
    if take.left:
        raise ArtefactError("has something behind its end")
    if cost > MOST_COST:
        raise ArtefactError(f"is too slow: it takes {cost} steps per key, where {MOST_COST} are allowed")
    if kind == 1:
        return Dense(names, tuple(layers), metadata)
    return Trees(names, nodes, roots, base, metadata)


class _Taker:
    """Cuts bytes off the front, and never more than there are."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def bytes(self, count: int) -> bytes:
        if count > self.left:
            raise ArtefactError("is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        return int.from_bytes(self.bytes(4), "little")

    def floats(self, count: int) -> Floats:
        values = np.frombuffer(self.bytes(4 * count), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise ArtefactError("holds a number that is not finite")
        return values


def _limit(what: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ArtefactError(f"says {what} {value}, where {least} to {most} are allowed")
    return value


def _metadata(text: bytes) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        metadata = json.loads(text)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise ArtefactError("has metadata that is no JSON object")
    return metadata


def _tree_cost(nodes: npt.NDArray[np.void], roots: npt.NDArray[np.uint32], features: int) -> int:
    """Comparisons per entry in the worst case. Raises ArtefactError where a tree is none."""
    count = len(nodes)
    for root in roots.tolist():
        _limit("root", root, 0, count - 1)
    depth = [1] * count
    for i in range(count - 1, -1, -1):
        feature, value, left, right = nodes[i].tolist()
        if not math.isfinite(value):
            raise ArtefactError("holds a number that is not finite")
        if feature == LEAF:
            continue
        if feature >= features or not i < left < count or not i < right < count:
            raise ArtefactError(f"has a tree that is none, at node {i}")
        depth[i] = 1 + max(depth[left], depth[right])
    return sum(depth[root] for root in roots.tolist())


def tree(splits: Sequence[tuple[int, float, int, int] | float]) -> npt.NDArray[np.void]:
    """Nodes of trees from plain values: (feature, threshold, left, right), or a number for a leaf."""
    rows = [(LEAF, float(s), 0, 0) if isinstance(s, (int, float)) else s for s in splits]
    return np.array(rows, NODE)
