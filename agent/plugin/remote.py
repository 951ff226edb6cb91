"""The vendor's half of an exporter whose plugin has a process of its own: what goes in and out as compact messages.

`encode`, `send` and `close` are calls like the hooks', with deadlines after which the process is killed. What may be
asked at any time, also while a request is under way, has a connection of its own. A process that ends while it sends
may have sent, so the points go out again and are counted as possible duplicates.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from agent.export.config import ExportConfig
from agent.export.courier import HANGS_AFTER
from agent.export.model import Answer, Batch, Body, Event, Limits, NotNow, Temporality, Verdict
from agent.metrics.model import MetricSpec
from agent.plugin import wire
from agent.plugin.guard import Told
from agent.plugin.process import HookRaised

_MOST_KNOWN = 10_000  # metrics whose lanes are kept


class Process(Protocol):
    """What it needs of the plugin's process.

    Both methods raise HookRaised when the destination's code raises, and Told when the process ends or cannot start.
    """

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def request(self, request: Mapping[str, Any], deadline: float | None = None) -> tuple[Mapping[str, Any], bytes]:
        """The answer, and the data before it. After `deadline` seconds, or the plugin's own, the process is killed."""

    def question(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer, also while a request is under way."""


class RemoteDestination:
    """A Destination. The process makes the plugin's own when it is started, so this one outlives it."""

    def __init__(self, process: Process, config: ExportConfig, temporality: Temporality) -> None:
        self.temporality = temporality
        self._process = process
        self._longest = HANGS_AFTER * config.timeout  # of a request: then it is past all that the plugin promised
        self._lanes: dict[MetricSpec, tuple[str, ...]] = {}
        self._limits: dict[str, Limits] = {}

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        """Asked once for each metric."""
        known = self._lanes.get(spec)
        if known is None:
            if len(self._lanes) >= _MOST_KNOWN:
                self._lanes.clear()
            answer = self._process.question({"call": "lanes", "spec": wire.dump_spec(spec)})
            known = self._lanes[spec] = wire.load_lanes(answer.get("lanes"))
        return known

    def event_lanes(self, event: Event) -> Sequence[str]:
        """Asked for each event."""
        answer = self._process.question({"call": "event_lanes", "event": wire.dump_event(event)})
        return wire.load_lanes(answer.get("lanes"))

    def limits(self, lane: str) -> Limits:
        """Asked once for each lane."""
        known = self._limits.get(lane)
        if known is None:
            answer = self._process.question({"call": "limits", "lane": lane})
            known = self._limits[lane] = wire.load_limits(answer.get("limits"))
        return known

    def encode(self, batch: Batch) -> bytes:
        """Raises what the plugin's own raised; NotNow when its process ended, or could not be started."""
        try:
            return self._process.request({"call": "encode", "batch": wire.dump_batch(batch)})[1]
        except HookRaised:
            raise
        except Told as told:
            raise NotNow(str(told)) from None

    def send(self, body: Body) -> Answer:
        """Never raises: no answer is one, too."""
        data = base64.b64encode(body.data).decode()
        request = {"call": "send", "lane": body.lane, "data": data, "encoding": body.encoding}
        try:
            return wire.load_answer(self._process.request(request, self._longest)[0].get("answer"))
        except Told as told:
            return Answer(Verdict.retry, "exception", str(told), maybe_taken=True)
        except wire.WireError as error:
            return Answer(Verdict.retry, "exception", str(error), maybe_taken=True)

    def close(self) -> None:
        """Raises Told. What has ended is closed already."""
        if self._process.alive:
            self._process.request({"call": "close"})
