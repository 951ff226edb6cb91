"""What lies between snapshots and a vendor: points wait, go out in order, and all of them are accounted for.

offer → tracker → lanes (each with queue, spool and waits) → courier → vendor
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from agent.export import baseline
from agent.export.account import Account
from agent.export.batch import out_of_time, sift
from agent.export.config import ExportConfig
from agent.export.courier import Courier, Outcome
from agent.export.deltas import Tracker, chosen
from agent.export.lanes import Lane, Lanes
from agent.export.model import Batch, Destination, Event, Temporality
from agent.export.retry import Circuit, Retry
from agent.export.sent import Sent
from agent.export.spool import make_private
from agent.export.waiting import Work
from agent.metrics.model import Snapshot
from agent.plugin.guard import describe

MOST_EVENTS = 1000  # that wait to be looked at
IDLE = 30.0  # seconds after which a thread that was not woken looks whether there is something to do
_DRAINING = 0.7  # of the time for a stop
_AFTER_A_MISTAKE = 1.0  # seconds; of ours, that is


class ExportPipe:
    """Everything of one exporter but the vendor's half. `offer` and `emit` never wait for the vendor.

    `folder` keeps the spools and the counters' baseline; `retry` makes what says for each lane when to try again.
    `offer` is called by one thread, all else by any.
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        config: ExportConfig,
        folder: Path,
        *,
        log: logging.Logger | None = None,
        clock: Callable[[], float] = time.time,
        retry: Callable[[], Retry] = Retry,
    ) -> None:
        self.name = name
        self.account = Account()
        self.last_success: float | None = None  # Unix time
        self.last_error: str | None = None
        self.last_error_time: float | None = None
        self._destination, self._config, self._clock = destination, config, clock
        self._log = log or logging.getLogger(f"predis.plugins.{name}")
        self._baseline_file = folder / "baseline"
        self._sent = Sent(folder / "sent")
        self._delta = destination.temporality is Temporality.delta
        self._tracker = Tracker(
            destination.temporality,
            destination.lanes,
            chosen(config.metrics, config.exclude),
            baseline.load(self._baseline_file),
        )
        self.courier = Courier(destination, config, self._log)
        self._saving = threading.Lock()  # taken before the next one, by who keeps a baseline
        self._lock = threading.Lock()  # of all below
        self.lanes = Lanes(
            folder,
            self.account,
            self._tracker.find,
            config,
            retry=retry,
            leaving=self._leaving,
            note=lambda lane, what: self._note(what, "spool", lane),
            clock=clock,
            log=self._log,
        )
        self._work: Work | None = None
        self._unsaved: baseline.Baseline | None = None
        self._closed = False
        self._leaves = False  # the thread has nothing more to do than to close the destination
        self._events: deque[Event] = deque()
        self._wake = threading.Event()
        self._stop_at: float | None = None
        self._told: set[str] = set()
        self.offered_at: float | None = None  # monotonic, when points came last
        self.waits_since: float | None = None  # monotonic: the last delivery, or the first points before any
        self.lanes.open()
        self.account.duplicate(self._sent.points)
        self._thread = threading.Thread(target=self._run, name=f"export {name}", daemon=True)
        self._thread.start()

    # --- what comes in

    def offer(self, snapshot: Snapshot) -> int:
        """Takes the points of a snapshot; how many there were."""
        good, bad = [], 0
        for batch in self._tracker.take(snapshot):
            kept, reasons = sift(batch, self._destination.limits(batch.lane).largest)
            for reason, points in reasons.items():
                self.account.lose(points, reason)
                bad += points
            if len(kept):
                good.append(kept)
        produced = sum(map(len, good)) + bad
        with self._lock:
            if self._closed:
                return 0
            self._take_events()
            for batch in good:
                self.lanes[batch.lane].waiting.add(batch)
            self._unsaved = self._tracker.baseline()
            spooled = self._work is not None and self._work.place == "spooled"
            if spooled:
                self.lanes.spill()
        if spooled:  # its request may hang, and what was spooled meanwhile must not count again after SIGKILL
            self._keep_baseline()
        if produced:
            self.offered_at = time.monotonic()
            if self.waits_since is None:
                self.waits_since = self.offered_at
        self._wake.set()
        return produced

    def emit(self, event: Event) -> None:
        """Takes an event; returns at once, whatever the disk and the vendor do."""
        if len(self._events) >= MOST_EVENTS:
            self.account.lose(1, "queue_full")
            return
        self._events.append(event)
        self._wake.set()

    def _take_events(self) -> None:
        """Puts events that came into the queue. The lock is held."""
        while self._events:
            event = self._events.popleft()
            try:
                lanes = tuple(self._destination.event_lanes(event))
            except Exception as error:  # noqa: BLE001  # a vendor's half may raise anything
                self._note(f"an event of kind {event.kind} could not be taken: {describe(error)}", "event")
                self.account.lose(1, "exception")
                continue
            for lane in lanes:
                self.lanes[lane].waiting.add_event(lane, event)

    # --- the thread that sends

    def _run(self) -> None:
        self._send_all()
        self._leaves = True
        try:
            self._destination.close()
        except Exception as error:  # noqa: BLE001  # a vendor's half may raise anything
            self._log.warning("exporter %s failed in close: %s", self.name, describe(error))

    def _send_all(self) -> None:
        while True:
            try:
                if not self._step():
                    return
            except Exception as error:  # noqa: BLE001  # a mistake of ours must not end the thread
                self._log.exception("exporter %s failed unexpectedly and goes on", self.name)
                self._note(f"unexpected {describe(error)}", "unexpected")
                with self._lock:
                    if self._closed:
                        return
                    lanes = self._put_back()
                    for lane in lanes:
                        lane.retry.failed()
                if not lanes:
                    self._wake.wait(_AFTER_A_MISTAKE)

    def _step(self) -> bool:
        """Does what is to be done next; False at the end."""
        if self._stop_at is not None and time.monotonic() > self._stop_at:
            return False
        self._keep_baseline()
        with self._lock:
            if self._closed:
                return False
            self._take_events()
            work = self._work = self.lanes.next()
            wait = self.lanes.wait
        if work is not None:
            self._deliver(work)
        elif self._stop_at is not None:
            return False
        else:
            self._wake.wait(IDLE if wait is None else wait)
            self._wake.clear()
        return True

    def _deliver(self, work: Work) -> None:
        """Sends a batch, request by request, until it is done or has to wait."""
        while work.left:
            if self._stop_at is not None and time.monotonic() > self._stop_at:
                with self._lock:
                    if not self._closed:
                        self._put_back()
                return
            limits = self._destination.limits(work.batch.lane)
            late = out_of_time(work.batch, limits, self._clock(), self._config.spool_age)
            if late is not None:
                outcome = Outcome(dropped=work.left, reason=late, detail="the vendor takes no points of that time")
            else:
                outcome = self.courier.attempt(
                    work.batch, work.done, limits, lambda points: self._about_to_send(work, points)
                )
            with self._lock:
                if self._closed:  # `stop` did not wait for it, and has put the rest away
                    return
                work.sending = 0
                if outcome.answer is not None:
                    self._failed(self.lanes[work.batch.lane], outcome)
                    return
                self._settle(work, outcome)
        with self._lock:
            if not self._closed:
                self._work = None

    def _about_to_send(self, work: Work, points: int) -> bool:
        """Whether they may be sent: not once `stop` has put them away, for the next run to send."""
        with self._lock:
            if self._closed:
                return False
            work.sending = points
            if work.place == "spooled":
                self.lanes[work.batch.lane].spool.sending(points)
            else:
                self._leaving(work.batch, points)
            return True

    def _leaving(self, batch: Batch, points: int) -> None:
        """So many points of a batch are about to leave the memory. The lock is held."""
        if self._delta and batch.series:
            self._sent.add(points)

    def _settle(self, work: Work, outcome: Outcome) -> None:
        """Keeps the books of an attempt that needs no second one. The lock is held."""
        points, lane = outcome.delivered + outcome.dropped, self.lanes[work.batch.lane]
        if outcome.silent:
            self.account.deliver(points, work.place)  # which tells nothing of the vendor's state
        elif outcome.delivered:
            self.account.deliver(points, work.place, outcome.rejected)
            self.last_success = self._clock()
            self.waits_since = time.monotonic()
            if lane.retry.failures:
                told = (self.name, lane.name, lane.retry.failures)
                self._log.info("exporter %s delivers again (%s), after %d failures", *told)
            lane.retry.succeeded()
            lane.told.clear()
            self._told.clear()
            if outcome.rejected:
                self._note(f"{outcome.rejected} points were rejected: {outcome.detail}", "rejected", lane)
            elif outcome.detail:
                self._note(f"the vendor took them and said: {outcome.detail}", "remark", lane)
        elif outcome.dropped:
            self.account.drop(points, work.place, outcome.reason)
            self._note(f"{outcome.dropped} points dropped ({outcome.reason}): {outcome.detail}", outcome.reason, lane)
            if outcome.answered:
                lane.retry.succeeded()  # there is nothing to wait for
        if points:
            work.done += points
            if work.place == "spooled":
                lane.spool.done(points)
        if outcome.silent and not work.left and self.lanes.idle:
            self.waits_since = time.monotonic()  # nothing waits for the vendor

    def _failed(self, lane: Lane, outcome: Outcome) -> None:
        """No answer, or one to wait after: all that waits in the lane goes to the spool. The lock is held."""
        answer = outcome.answer
        assert answer is not None
        if answer.maybe_taken:
            self.account.duplicate(outcome.sent)
        lane.retry.failed(answer.retry_after)
        if answer.retry_after is not None:
            for other in self.lanes:  # who asks to wait may mean all requests with this key
                other.retry.hold(answer.retry_after)
        what = f"a request failed ({answer.reason or 'retry'}): {answer.detail}"
        self._note(what, "retry", lane)
        if lane.retry.circuit is Circuit.open:
            self._note(f"{lane.retry.failures} failures in a row, points are spooled; {what}", "open", lane)
        self._put_back()

    def _put_back(self) -> list[Lane]:
        """What is being sent waits again; gives its lane, or all when there is none. The lock is held."""
        work, self._work = self._work, None
        if work is None:
            return list(self.lanes)
        lane = self.lanes[work.batch.lane]
        lane.waiting.put_back(work)
        return [lane]

    # --- for others to look at; single values, to be read without the lock

    @property
    def retry(self) -> Retry:
        """Of the lane with most failures in a row."""
        return self.lanes.retry

    @property
    def unsupported(self) -> int:
        """Series that no lane takes."""
        return self._tracker.unsupported

    @property
    def lag(self) -> float | None:
        """Seconds since the time of the oldest point that is not delivered; None when there is none."""
        work, waits, age = self._work, self.lanes.oldest, self.lanes.age
        now = self._clock()
        ages = [now - time for time in (work.batch.time if work else None, waits) if time is not None]
        return max(0.0, *ages, age or 0.0) if ages or age is not None else None

    # --- the end

    def stop(self, timeout: float) -> None:
        """Delivers for a moment, keeps the rest on the disk, and closes; little more than `timeout` seconds in all."""
        deadline = time.monotonic() + timeout
        self._stop_at = time.monotonic() + timeout * _DRAINING
        self._wake.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._take_events()
            if self._work is not None and self._work.sending:
                self._log.warning("exporter %s: a request still hangs: it is left behind", self.name)
                if self._work.place == "queued":  # else the cursor of the spool says so
                    self.account.duplicate(self._work.sending)
            self._put_back()
            for lane in self.lanes:
                lane.waiting.put_back(None)
                lane.waiting.give_up("stopped")  # what the disk did not take
            self.lanes.close()
        self._keep_baseline()
        self._sent.close()
        if self._leaves and self._thread.is_alive():
            self._log.warning("exporter %s hangs in close: it is left behind", self.name)

    def _keep_baseline(self) -> None:
        """Keeps what the counters were at, once all before is delivered, or on the disk."""
        with self._saving:
            with self._lock:
                queued = self._work is not None and self._work.place == "queued"
                if self._unsaved is None or queued or self.lanes.in_memory:
                    return
                (unsaved, self._unsaved), sent = (self._unsaved, None), self._sent.points
            try:
                make_private(self._baseline_file.parent)
                baseline.save(unsaved, self._baseline_file)
            except OSError as error:
                self._note(f"{self._baseline_file}: {error.strerror or error}", "baseline")
                return
            self._told.discard("baseline")
            with self._lock:
                self._sent.forget(sent)

    def _note(self, what: str, topic: str, lane: Lane | None = None) -> None:
        """For status, and once for the log, until something is delivered again in the lane."""
        self.last_error, self.last_error_time = what, self._clock()
        told = self._told if lane is None else lane.told
        if topic not in told:
            told.add(topic)
            self._log.warning("exporter %s: %s", self.name, what)
