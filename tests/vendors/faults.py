"""What a fake vendor does wrong on purpose: a script of steps that the coming requests meet, one after the other."""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import Any


@dataclass(frozen=True)
class Step:
    """One fault. It meets `times` requests, or all for `seconds` from the first on, or, with neither, all that come.

    `path`: only requests whose path begins so meet it; others pass by and use nothing up.
    """

    fault: str
    times: int | None = 1
    seconds: float | None = None
    path: str = ""
    status: int = 0
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    http_date: bool = False
    rate: float = 0.0
    delay: float = 0.0
    rejected: int = 0

    def answer_headers(self) -> dict[str, str]:
        """The headers of a scripted status; Retry-After as seconds, or as the HTTP date that is so far away."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            at = formatdate(math.ceil(time.time() + self.retry_after), usegmt=True)
            headers["Retry-After"] = at if self.http_date else f"{self.retry_after:g}"
        return headers

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def passes(times: int = 1) -> Step:
    """Nothing: so many requests are served well, before the next step begins."""
    return Step("none", times)


def status(
    number: int, *, times: int | None = 1, retry_after: float | None = None, http_date: bool = False, **more: Any
) -> Step:
    """The body is read, and answered with this status and the vendor's error body; nothing is taken.

    `code=`: the error code in the body, where the vendor has such (CloudWatch throttles with 400 "Throttling").
    """
    return Step("status", times, status=number, retry_after=retry_after, http_date=http_date, **more)


def rate_limit(reset: float, *, times: int | None = 1, **more: Any) -> Step:
    """Datadog's 429: X-RateLimit-Reset says the seconds to wait; there is no Retry-After."""
    headers = {"Limit": "10", "Period": "60", "Remaining": "0", "Reset": f"{reset:g}", "Name": "metrics"}
    return Step("status", times, status=429, headers={f"X-RateLimit-{k}": v for k, v in headers.items()}, **more)


def reset_before(times: int | None = 1, **more: Any) -> Step:
    """The connection is reset once the head of the request is there, before the body is read."""
    return Step("reset_before", times, **more)


def reset_after(times: int | None = 1, **more: Any) -> Step:
    """The whole request is read, nothing is taken, and the connection is reset."""
    return Step("reset_after", times, **more)


def lost_answer(times: int | None = 1, **more: Any) -> Step:
    """What the request holds is taken and recorded, and the connection is reset instead of an answer."""
    return Step("lost_answer", times, **more)


def hang(times: int | None = 1, **more: Any) -> Step:
    """The request is read and never answered; nothing is taken."""
    return Step("hang", times, **more)


def slow_read(rate: float, times: int | None = 1, **more: Any) -> Step:
    """The body is read at so many bytes a second, then served."""
    return Step("slow_read", times, rate=rate, **more)


def slow_answer(delay: float, times: int | None = 1, **more: Any) -> Step:
    """The request is served, and its answer sent so many seconds later."""
    return Step("slow_answer", times, delay=delay, **more)


def drip(delay: float, times: int | None = 1, **more: Any) -> Step:
    """The request is served, and its answer sent with so many seconds between two bytes."""
    return Step("drip", times, delay=delay, **more)


def garbled(times: int | None = 1, **more: Any) -> Step:
    """The request is read, nothing is taken, and what comes back is no HTTP."""
    return Step("garbled", times, **more)


def partial(rejected: int, times: int | None = 1, **more: Any) -> Step:
    """An accepting answer, but the last so many points are not taken: OTLP says so, New Relic does later, unseen."""
    return Step("partial", times, rejected=rejected, **more)


class Script:
    """The steps still to come. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: list[Step] = []
        self._met = 0
        self._began: float | None = None

    def set(self, steps: Sequence[Step]) -> None:
        """Replace what is left of the script."""
        with self._lock:
            self._steps = list(steps)
            self._met, self._began = 0, None

    def left(self) -> int:
        """How many steps are not over yet."""
        with self._lock:
            return len(self._steps)

    def next(self, path: str) -> Step | None:
        """The fault that a request to this path meets, or None."""
        with self._lock:
            while self._steps:
                step = self._steps[0]
                if not path.startswith(step.path):
                    return None
                if step.seconds is not None:
                    self._began = time.monotonic() if self._began is None else self._began
                    if time.monotonic() - self._began < step.seconds:
                        return step
                    self._drop()
                    continue
                self._met += 1
                if step.times is not None and self._met >= step.times:
                    self._drop()
                return step
            return None

    def _drop(self) -> None:
        del self._steps[0]
        self._met, self._began = 0, None
