"""Kills a process that exports, again and again at random moments: `python -m tests.exporters.kills ROUNDS`.

Each round a process offers snapshots to the pipes of all exporters, over the folders that the round before left, and
says of each snapshot when all up to it has left the memory: that is acknowledged. Then it gets SIGKILL. Between rounds
the vendors go away and come back. In the end all that was acknowledged is at the vendors, in order, no increment is
missing, and what came twice is no more than the processes counted.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.exporters.rig import AWS, VENDORS, Rig, Workload, counted, make_plugin
from tests.servers import ROOT
from tests.vendors import faults
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import wait_until

SERIES = 5
PACE = 0.03  # seconds between snapshots
TURNS = 25  # in a round at most
MOST_AT_ONCE = 8  # snapshots that may be open after a kill: what went out since the baseline was kept, at this pace
STEP = 1  # seconds between snapshots, in their own time: Datadog takes those of little more than an hour


class Known:
    """A fake that another process started, as much of it as an exporter needs."""

    def __init__(self, name: str, url: str, ca_file: str, api_key: str) -> None:
        self.name, self.url, self.ca_file, self.api_key = name, url, ca_file, api_key


@dataclass
class Seen:
    """What the processes said of one exporter."""

    acknowledged: set[int] = field(default_factory=set)  # turns of which all is delivered or on the disk
    duplicates: list[int] = field(default_factory=list)  # that each counted at its start


def child(folder: Path, start: float, first: int, vendors: list[Any]) -> None:
    """Offers snapshots from turn `first` on, until it is killed."""
    pipes: dict[str, Rig] = {}
    for vendor in vendors:
        pipes[vendor.name] = _rig(vendor, folder, start, first)
        say("start", vendor.name, pipes[vendor.name].pipe.account.books().possible_duplicates)
    say("ready", "", 0)
    for turn in range(first, first + TURNS):
        for name, rig in pipes.items():
            say("offer", name, turn)
            rig.turn()
            # As a rule a snapshot is gone before the next one comes; not always, so that the memory is killed as well.
            deadline = time.monotonic() + PACE
            while (queued := rig.pipe.account.books().queued) and time.monotonic() < deadline:
                time.sleep(0.001)
            if not queued:
                say("ack", name, turn)
        time.sleep(PACE)
    threading.Event().wait()


def _rig(vendor: Any, folder: Path, start: float, turn: int) -> Rig:
    """An exporter over the folder that all before it had; its next snapshot is this turn's."""
    workload = Workload(SERIES, start, STEP)
    workload.turns = turn
    return Rig(vendor, make_plugin(vendor, folder), folder / f"pipe-{vendor.name}", workload=workload)


def say(what: str, name: str, number: int) -> None:
    os.write(1, json.dumps([what, name, number]).encode() + b"\n")


def hanging_child(folder: Path, start: float, first: int, vendors: list[Any]) -> None:
    """Offers TURNS snapshots while a request hangs that was spooled before, and waits to be killed."""
    rig = _rig(vendors[0], folder, start, first)
    rig.turn()
    wait_until(lambda: rig.pipe._work is not None and rig.pipe._work.place == "spooled" and rig.pipe._work.sending)
    rig.turn(TURNS - 1)
    assert rig.pipe._work is not None
    say("all offered", vendors[0].name, rig.pipe.account.books().queued)
    threading.Event().wait()


def kill_while_it_hangs(name: str, folder: Path) -> tuple[float, float]:
    """SIGKILL while a spooled request hangs at a vendor of increases: what one counter adds up to there, and should."""
    with start_vendor(name, folder, tls=True) as vendor:
        start = float(int(time.time()) - 3000)
        rig = _rig(vendor, folder, start, 0)
        rig.turn()
        rig.settle()
        rig.stop()
        vendor.script([faults.status(503), faults.hang(None)])
        with _start_child("--hanging-child", [vendor], folder, start, 1) as process:
            try:
                assert process.stdout is not None
                what, _, queued = json.loads(process.stdout.readline())
                assert (what, queued) == ("all offered", 0), "all of it is on the disk"
            finally:
                process.kill()
        vendor.script([])
        rig = _rig(vendor, folder, start, TURNS + 1)
        rig.turn()
        rig.settle()
        rig.stop()
        hits = [point.value for point in counted(vendor.received()) if point.name == "predis_rig_hits_total"]
        return sum(hits), (TURNS + 1) * sum(range(1, SERIES + 1))


def stress(rounds: int, folder: Path, seed: int = 1) -> str:
    """Kills so many times; what was seen, in a sentence. AssertionError for what must not be."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        fakes = {name: stack.enter_context(start_vendor(name, folder, tls=True)) for name in VENDORS}
        seen = {name: Seen() for name in VENDORS}
        start, turn = float(int(time.time()) - 3000), 1
        for vendor in fakes.values():  # the counters' first values, from which on increments count
            rig = _rig(vendor, folder, start, 0)
            rig.turn()
            rig.settle()
            rig.stop()
        for _ in range(rounds):
            for vendor in fakes.values():
                vendor.back()
                vendor.script([faults.status(503, times=rng.randrange(3))] if rng.random() < 0.3 else [])
                if rng.random() < 0.4:
                    vendor.outage()
            turn = max(turn, _round(fakes, seen, folder, start, turn, rng) + 1)
        said = [_check(fakes[name], seen[name], folder, start, turn) for name in VENDORS]
    return f"{rounds} kills, {turn} snapshots; " + "; ".join(said)


def _round(
    fakes: dict[str, Vendor], seen: dict[str, Seen], folder: Path, start: float, first: int, rng: random.Random
) -> int:
    """The last turn that was offered."""
    process = _start_child("--child", fakes.values(), folder, start, first)
    assert process.stdout is not None
    last, timer = first - 1, None
    for line in process.stdout:
        if not line.endswith(b"\n"):
            break
        what, name, number = json.loads(line)
        if what == "ready":
            timer = threading.Timer(rng.random() * TURNS * PACE * 1.3, process.send_signal, (signal.SIGKILL,))
            timer.start()
        elif what == "start":
            seen[name].duplicates.append(number)
        elif what == "ack":
            seen[name].acknowledged.update(range(first, number + 1))
        else:
            last = max(last, number)
    assert process.wait() == -signal.SIGKILL, "the process ended by itself"
    assert timer is not None
    timer.join()
    return last


def _start_child(kind: str, fakes: Iterable[Vendor], folder: Path, start: float, first: int) -> subprocess.Popen[bytes]:
    known = [[vendor.name, vendor.url, str(vendor.ca_file), vendor.api_key] for vendor in fakes]
    command = [sys.executable, "-m", "tests.exporters.kills", kind, str(folder), str(start), str(first)]
    return subprocess.Popen([*command, json.dumps(known)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)


def _check(vendor: Vendor, seen: Seen, folder: Path, start: float, turn: int) -> str:
    vendor.script([])
    vendor.back()
    rig = _rig(vendor, folder, start, turn)
    try:
        duplicates = sum(seen.duplicates) + rig.pipe.account.books().possible_duplicates
        rig.turn()
        rig.settle(60)
        assert dict(rig.pipe.account.books().dropped) == {}
    finally:
        rig.stop()
    assert vendor.violations() == []
    assert vendor.state()["late"] == 0, "points of a series came out of order"
    points = counted(vendor.received())
    once = {(point.lane, point.name, point.tags, point.time): point for point in points}
    again = len(points) - len(once)
    assert again <= duplicates, (vendor.name, again, duplicates)
    for number in range(SERIES):
        own = [point for point in once.values() if dict(point.tags)["who"] == f"s{number}"]
        levels = {int(point.value) for point in own if point.name == "predis_rig_level"}
        lost = seen.acknowledged - levels
        assert not lost, f"{vendor.name}: acknowledged and lost: {sorted(lost)}"
        hits = [point.value for point in own if point.name == "predis_rig_hits_total"]
        total, true = (max(hits) if vendor.name == "otlp" else sum(hits)), turn * (number + 1)
        assert total >= true, f"{vendor.name}: increments are missing: {total} of {true}"
        assert total == true or duplicates, f"{vendor.name}: increments came twice, unknown"
    largest = max(seen.duplicates, default=0)
    assert largest <= MOST_AT_ONCE * rig.workload.points, f"{vendor.name}: {largest} points were open after one kill"
    counts = f"{len(seen.acknowledged)} snapshots acknowledged, {len(once)} points, {again} of them twice"
    return f"{vendor.name}: {counts}, {duplicates} possibly, {largest} at most after one kill"


if __name__ == "__main__":
    if sys.argv[1].endswith("child"):
        os.environ.update(AWS)
        run = child if sys.argv[1] == "--child" else hanging_child
        run(Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), [Known(*each) for each in json.loads(sys.argv[5])])
    else:
        os.environ.update(AWS)
        with tempfile.TemporaryDirectory(prefix="predis-kills-") as place:
            print(stress(int(sys.argv[1]), Path(place)))  # noqa: T201
