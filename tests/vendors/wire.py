"""What goes over the wire to a fake vendor: requests, replies, compressed bodies, JSON as strict readers take it."""

import json
import math
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, NoReturn

import zstandard

from tests.vendors.book import Point, Violation


@dataclass(frozen=True)
class Request:
    """A request whose body is read. `now` is the fake's Unix time; `path` has no query, `query` no duplicates."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes
    now: float


@dataclass
class Reply:
    """An answer, the points that were taken with it, and the rules that the request broke."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)


class Refusal(Exception):
    """The vendor takes nothing of the request: the status, and the rule that was broken."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.violation = Violation(code, text)


def as_json(value: object, status: int = 200, **more: Any) -> Reply:
    """A reply with this JSON."""
    return Reply(status, json.dumps(value).encode(), **more)


def content_type(request: Request) -> str:
    """The media type alone, in small letters."""
    return (request.headers.get("Content-Type") or "").split(";")[0].strip().lower()


def unpacked(
    request: Request,
    encodings: Collection[str],
    *,
    wire: int,
    raw: int,
    bad_encoding: int = 400,
) -> bytes:
    """The body without its compression. `wire` and `raw` are the most bytes it may have before and after.

    Refuses 413 what is larger, and with `bad_encoding` a Content-Encoding outside `encodings` or a damaged body.
    """
    encoding = (request.headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity" and encoding not in encodings:
        raise Refusal(bad_encoding, "content_encoding", f"Content-Encoding {encoding!r} is not taken here")
    if len(request.body) > wire:
        raise Refusal(413, "wire_bytes", f"the body has {len(request.body)} bytes; {wire} are taken")
    try:
        data = _inflate(request.body, encoding, raw)
    except (zlib.error, zstandard.ZstdError) as error:
        raise Refusal(bad_encoding, "compression", f"the body is not {encoding}: {error}") from None
    if len(data) > raw:
        raise Refusal(413, "raw_bytes", f"decompressed, the body has more than {raw} bytes")
    return data


def _inflate(body: bytes, encoding: str, most: int) -> bytes:
    if encoding == "identity":
        return body
    if encoding in ("zstd", "zstd1"):
        with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=False) as reader:
            return reader.read(most + 1)
    inflater = zlib.decompressobj(31 if encoding == "gzip" else 15)
    data = inflater.decompress(body, most + 1)
    if len(data) <= most and (not inflater.eof or inflater.unused_data):
        raise zlib.error("it ends too early" if not inflater.eof else "bytes follow its end")
    return data


def strict_json(data: bytes, status: int = 400) -> Any:
    """The value of a JSON text in UTF-8; refuses NaN, Infinity and keys that come twice, which Python would take."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refusal(status, "json", f"the body is not JSON: {error}") from None


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(f"a key comes twice in {sorted(key for key, _ in pairs)}")
    return value


def is_number(value: object) -> bool:
    """Whether it is a number that a double can hold, and finite; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 1 << 1023


def is_integer(value: object) -> bool:
    """Whether it is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def clip(value: object, most: int = 80) -> str:
    """A value for an error text, shortened."""
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"
