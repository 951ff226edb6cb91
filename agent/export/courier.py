"""One request: encoded, compressed, small enough, sent once, and what came of it."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from agent.export.batch import Sizes, compressor, cut, encoding_for
from agent.export.config import ExportConfig
from agent.export.model import Answer, Batch, Body, Destination, Limits, NotNow, Verdict
from agent.metrics.model import Histogram
from agent.plugin.guard import describe

DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
HANGS_AFTER = 2.0  # times a request's timeout: it is past all that its destination promised


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt; nothing of all this when it is to be tried with fewer points.

    `delivered` points, of which the vendor `rejected` some; or `dropped` points for a `reason`, which is the vendor's
    own if it `answered`; or an `answer` after which the `sent` points have to be sent again.
    """

    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    reason: str = ""
    detail: str = ""
    answered: bool = False
    answer: Answer | None = None
    sent: int = 0
    silent: bool = False  # delivered without a request, since there was nothing to say


class Courier:
    """Makes a destination's requests. Used by one thread; `requests`, `durations` and `hanging` may be read by any."""

    def __init__(self, destination: Destination, config: ExportConfig, log: logging.Logger) -> None:
        self._destination, self._log = destination, log
        self._timeout = config.timeout
        self._wanted = config.compression
        self._compressors: dict[str, Callable[[bytes], bytes]] = {}
        self._sizes = Sizes()
        self._began: float | None = None
        self.requests: Counter[str] = Counter(dict.fromkeys(map(_word, Verdict), 0))
        self._durations = [0] * (len(DURATIONS) + 1)
        self._seconds = 0.0

    @property
    def hanging(self) -> float | None:
        """Seconds that a request has taken which is past its deadline; None when there is none."""
        began = self._began
        seconds = 0.0 if began is None else time.monotonic() - began
        return seconds if seconds > HANGS_AFTER * self._timeout else None

    @property
    def durations(self) -> Histogram:
        """How long requests took, in seconds."""
        return Histogram(DURATIONS, tuple(self._durations), self._seconds)

    def attempt(self, batch: Batch, begin: int, limits: Limits, about_to_send: Callable[[int], bool]) -> Outcome:
        """Sends points from `begin` on, as many as fit into one request, if `about_to_send` allows so many."""
        lane = batch.lane
        points = self._sizes.points(lane, limits, len(batch) - begin)
        encoding = encoding_for(self._wanted, limits)
        try:
            raw = self._destination.encode(cut(batch, begin, begin + points))
            data = self._compress(encoding, raw)
        except NotNow as error:
            self._sizes.too_large(lane, points)  # in case that it was for them after all
            return Outcome(answer=Answer(Verdict.retry, "exception", str(error)))
        except Exception as error:  # noqa: BLE001  # a vendor's half may raise anything
            return self._smaller(lane, points, "encode_failed", describe(error))
        if not raw:
            return Outcome(delivered=points, silent=True)
        self._sizes.learn(lane, points, len(raw), len(data))
        if len(raw) > limits.raw_bytes or len(data) > limits.compressed_bytes:
            return self._smaller(lane, points, "too_large", f"{len(raw)} bytes, compressed {len(data)}")
        if not about_to_send(points):
            return Outcome()
        answer = self._send(Body(lane, data, encoding))
        self.requests[_word(answer.verdict)] += 1
        if answer.verdict is Verdict.accepted:
            self._sizes.taken(lane)
            return Outcome(delivered=points, rejected=answer.rejected, detail=answer.detail)
        if answer.verdict is Verdict.too_large:
            return self._smaller(lane, points, "too_large", answer.detail)
        if answer.verdict is Verdict.refused:
            return Outcome(dropped=points, reason=answer.reason or "refused", detail=answer.detail, answered=True)
        return Outcome(answer=answer, sent=points)

    def _compress(self, encoding: str, raw: bytes) -> bytes:
        compress = self._compressors.get(encoding)
        if compress is None:
            compress = self._compressors[encoding] = compressor(encoding)
        return compress(raw)

    def _send(self, body: Body) -> Answer:
        self._began = began = time.monotonic()
        try:
            answer = self._destination.send(body)
            if not isinstance(answer, Answer):
                raise TypeError(f"send gave a {type(answer).__name__}, no Answer")
        except Exception as error:  # noqa: BLE001
            answer = Answer(Verdict.retry, "exception", describe(error), maybe_taken=True)
        finally:
            self._began = None
            seconds = time.monotonic() - began
            self._durations[bisect_left(DURATIONS, seconds)] += 1
            self._seconds += seconds
        return answer

    def _smaller(self, lane: str, points: int, reason: str, detail: str) -> Outcome:
        if points == 1:
            return Outcome(dropped=1, reason=reason, detail=detail)
        self._sizes.too_large(lane, points)
        return Outcome()


def _word(verdict: Verdict) -> str:
    return verdict.replace(" ", "_")
