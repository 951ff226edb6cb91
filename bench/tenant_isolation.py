"""What another tenant's load does to a tenant's latency and keys, ours against redis-server."""

import contextlib
import json
import multiprocessing
import os
import random
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import folder, stopping
from bench.report import Result, Table
from bench.tenant_loads import (
    FLOOD_CONNECTIONS,
    FLOOD_DEPTH,
    LOADS,
    PASSWORD,
    PIPELINES,
    Load,
    command,
    connect,
    fill,
    loading,
    real_time,
    receive,
)
from bench.tenant_network import elsewhere
from bench.tenant_turns import delays
from core_cache._native import StatsReader
from tests.servers import Server, start_cache, start_redis

TARGET = 1.10
RATE = 2000  # commands a second of tenant A
QUOTA = 32 << 20
SETTLE = 0.05  # seconds between switching B on or off and a window
SO_TIMESTAMPNS = 35  # of Linux; the module socket does not name it
METHOD = """\
Tenant A sends {rate} commands a second, GET and SET in turn, over one TCP connection, at random moments in equal slots
of time. Latency "in the server" runs from A's send to the moment at which the kernel took the reply from the server
(SO_TIMESTAMPNS): the server's wakening, its waiting and its work are in it, the wakening of A is not. "At the client"
runs until A has the reply. Windows of {seconds:g} s without and with tenant B's load alternate, {pairs} pairs. A
quantile is the median of the windows' quantiles, a ratio the median of the pairs' ratios: a machine that stands still
for 20 ms now and then spoils some windows and not all. The interval is that median's 95 % bootstrap interval over the
pairs; a target counts as reached when the whole interval is below it. {where} In both kinds of window a process of the
lowest class (SCHED_IDLE) keeps each CPU awake: an idle CPU wakes up late, and a server that is never idle would seem to
gain by B's load. Loads: floods over {connections} connections, in pipelines of {depth} SETs of
500 bytes or of 1,000 GETs; whole walks with SCAN COUNT 1000000; MGETs of 1,000 keys and SETs of 1 MB over
{connections} connections. Redis has two ACL users and allkeys-lru, and no quotas. "CPU" is the share of its CPU that
the server used under load. "Network alone" is the control: B sends the same bytes, at the rate that it reached with
ours, to another process, which drops them and answers. What A waits longer then is the price of the kernel's work for
two connections on shared CPUs, and no server can take it away but by letting B send less.
The second table has no clients and no sockets: the engine alone, in the measuring process, gets B's commands in the
pieces in which the event loop would hand them over, with turns and without (each piece is run to its end). The
processor time of each turn tells how long a command that arrives at a random moment would wait for it to end: other
programs on the machine count little, and no network is in it."""


@dataclass
class Window:
    """A's latencies in one window, in µs."""

    in_server: list[float]
    at_client: list[float]
    missing: int = 0
    commands: int = 0
    cpu_share: float = 0.0


Pairs = list[tuple[Window, Window]]
"""Without load, and with it."""


def run(workdir: Path, *, pairs: int = 64, seconds: float = 0.25) -> Result:
    """Measures `pairs` windows without and with each load; about 10 minutes with the defaults."""
    cpus = sorted(os.sched_getaffinity(0))
    tenants = {"a": {"prefix": "a:", "quota": QUOTA}, "b": {"prefix": "b:", "quota": QUOTA}}
    file = workdir / "tenants.json"
    file.write_text(json.dumps(tenants))
    file.chmod(0o600)
    measured: dict[str, dict[str, Pairs]] = {}
    ours = start_cache(folder(workdir, "ours"), "--tenants-file", str(file), memory="96MiB")
    with stopping(ours):
        redis = start_redis(
            folder(workdir, "redis"), "--maxmemory", str(2 * QUOTA), "--maxmemory-policy", "allkeys-lru"
        )
        with stopping(redis), _awake(cpus):
            _add_users(redis)
            for name, server in (("ours", ours), ("Redis", redis)):
                _give_cpu(server, cpus[0])
                measured[name] = {}
                for load, work in LOADS.items():
                    fill(server)  # the load before has taken some away
                    measured[name][load] = _measure(server, work, pairs, seconds, cpus)
            network: dict[str, Pairs] = {}
            for load, windows in measured["ours"].items():
                if load in PIPELINES and (rate := _rate(windows)) >= 1:
                    with elsewhere(load, rate, cpus[0]) as work:
                        network[load] = _measure(ours, work, pairs, seconds, cpus)
            measured["network alone"] = network
        evicted = int(StatsReader(ours.data_dir / "cache.arena").read()["tenants"]["a"]["evicted"])
    turns = {load: {kind: delays(load, kind == "with turns") for kind in ("without", "with turns")} for load in LOADS}
    targets = {}
    for load, windows in measured["ours"].items():
        ratio, (low, high) = statistics.median(_ratios(windows, 0.99)), interval(windows, 0.99)
        targets[f"{load}: ratio of p99 ≤ {TARGET:.2f} ({ratio:.2f}, 95 %: {low:.2f} to {high:.2f})"] = high <= TARGET
    lost = sum(window.missing for pair in measured["ours"]["flood of SETs"] for window in pair)
    lost_there = sum(window.missing for pair in measured["Redis"]["flood of SETs"] for window in pair)
    targets[f"keys of A evicted: none ({evicted})"] = evicted == lost == 0
    where = "The server has one CPU, A and B share another." if len(cpus) > 1 else "All share one CPU."
    if real_time():
        where += " A comes before all other processes (SCHED_FIFO), the server and B before the rest (nice -20, -15)."
    else:
        where += " B has nice 19."
    title = f"Latencies of A; in Redis the flood of SETs cost A its keys: {lost_there} GETs found nothing"
    words = "alone p50 µs|p99|with load p50|p99|ratio p50|ratio p99|95 %|client's p99|load, op/s|CPU"
    columns = ["", *words.split("|")]
    rows = [_row(f"{name}, {load}", windows) for name, cases in measured.items() for load, windows in cases.items()]
    waits = [_turns_row(f"{load}, {kind}", turns[load][kind]) for load in turns for kind in turns[load]]
    live = {name: {load: _data(windows) for load, windows in cases.items()} for name, cases in measured.items()}
    return Result(
        name="tenant_isolation",
        title="A tenant's latency under another's load",
        method=METHOD.format(
            rate=RATE,
            seconds=seconds,
            pairs=pairs,
            where=where,
            connections=FLOOD_CONNECTIONS,
            depth=FLOOD_DEPTH,
        ),
        tables=[
            Table(title, columns, rows),
            Table(
                "Waiting for B's turn to end, µs of processor time",
                ["", "p50", "p90", "p99", "longest", "B's share"],
                waits,
            ),
        ],
        data={"live": live, "turns": turns},
        targets=targets,
    )


def _turns_row(name: str, found: dict[str, float]) -> list[str]:
    return [name, *(f"{found[what]:.1f}" for what in ("p50", "p90", "p99", "longest")), f"{found['share']:.2f}"]


def _row(name: str, windows: Pairs) -> list[str]:
    quantiles = {(kind, share): _quantile(windows, kind, share) for kind in (0, 1) for share in (0.5, 0.99)}
    low, high = interval(windows, 0.99)
    client = statistics.median(_ratios(windows, 0.99, at_client=True))
    loaded = [pair[1] for pair in windows]
    return [
        name, *(f"{quantiles[key]:.0f}" for key in ((0, 0.5), (0, 0.99), (1, 0.5), (1, 0.99))),
        *(f"{statistics.median(_ratios(windows, share)):.2f}" for share in (0.5, 0.99)), f"{low:.2f} to {high:.2f}",
        f"{client:.2f}", f"{_rate(windows):,.0f}",
        f"{sum(w.cpu_share for w in loaded) / len(loaded):.2f}",
    ]  # fmt: skip


def _data(windows: Pairs) -> list[dict[str, float]]:
    return [
        {f"{kind}_p{share * 100:g}_us": _of(window.in_server, share) for kind, window in
         (("alone", pair[0]), ("loaded", pair[1])) for share in (0.5, 0.9, 0.99)}
        | {"load_per_second": pair[1].commands, "server_cpu_share": pair[1].cpu_share}
        for pair in windows
    ]  # fmt: skip


def _of(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _quantile(windows: Pairs, kind: int, share: float) -> float:
    return statistics.median(_of(pair[kind].in_server, share) for pair in windows)


def _ratios(windows: Pairs, share: float, *, at_client: bool = False) -> list[float]:
    """Of each pair, the quantile with load divided by that without."""
    kinds = [[w.at_client if at_client else w.in_server for w in pair] for pair in windows]
    return [_of(loaded, share) / _of(alone, share) for alone, loaded in kinds]


def interval(windows: Pairs, share: float, rounds: int = 2000) -> tuple[float, float]:
    """In which the median of the pairs' ratios lies with 95 %, from pairs drawn again and again with replacement."""
    rng = random.Random(1)
    ratios = _ratios(windows, share)
    medians = [statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(rounds)]
    return _of(medians, 0.025), _of(medians, 0.975)


def _rate(windows: Pairs) -> float:
    """Commands a second of the load."""
    return sum(loaded.commands for _, loaded in windows) / len(windows)


def _measure(
    server: Server, work: Callable[[Server], Iterator[int]], pairs: int, seconds: float, cpus: Sequence[int]
) -> Pairs:
    found: Pairs = []
    rng = random.Random(1)
    clients = set(cpus[1:] or cpus)
    with connect(server, "a") as connection:
        connection.sendall(b"".join(command(b"SET", b"a:%d" % number, b"x" * 100) for number in range(1000)))
        receive(connection, 1000 * len(b"+OK\r\n"))  # from now on, the keys of A and B are the same ones
        with loading(work, server, clients) as other, _before_all_others(clients):
            connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            _await_stamps(connection)
            for number in range(pairs):
                windows = {}
                for on in (False, True) if number % 2 else (True, False):
                    windows[on] = _window(server, connection, other, on, seconds, rng)
                found.append((windows[False], windows[True]))
            other.await_answer()
    return found


def _await_stamps(connection: socket.socket) -> None:
    """The kernel begins to stamp packets a moment after the first socket that asks for it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        connection.sendall(command(b"PING"))
        if connection.recvmsg(100, 128)[1]:
            return
    raise RuntimeError("the kernel gives no time stamps (SO_TIMESTAMPNS)")


def _window(
    server: Server, connection: socket.socket, other: Load, on: bool, seconds: float, rng: random.Random
) -> Window:
    other.switch(on)
    _steady(connection, SETTLE, rng)
    other.check()
    already, used, began = other.count.value, _cpu_seconds(server), time.monotonic()
    window = _steady(connection, seconds, rng)
    passed = time.monotonic() - began
    window.commands = int((other.count.value - already) / passed)
    window.cpu_share = (_cpu_seconds(server) - used) / passed
    other.switch(False)
    return window


def _steady(connection: socket.socket, seconds: float, rng: random.Random) -> Window:
    window = Window([], [])
    began = time.monotonic()
    for number in range(int(seconds * RATE)):
        left = began + (number + 0.8 * rng.random()) / RATE - time.monotonic()
        if left > 0:
            time.sleep(left)
        key = b"a:%d" % (number * 7919 % 1000)
        text = command(b"SET", key, b"x" * 100) if number % 2 else command(b"GET", key)
        in_server, at_client, reply = _ask(connection, text)
        window.in_server.append(in_server)
        window.at_client.append(at_client)
        window.missing += reply.startswith(b"$-1")
    return window


def _ask(connection: socket.socket, text: bytes) -> tuple[float, float, bytes]:
    """How long until the server had sent the reply, and until it was here, in µs; and the reply."""
    sent = time.clock_gettime_ns(time.CLOCK_REALTIME)
    connection.sendall(text)
    reply, notes, _, _ = connection.recvmsg(4096, 128)
    done = time.clock_gettime_ns(time.CLOCK_REALTIME)
    if not reply or reply.startswith(b"-") or not notes:
        raise RuntimeError(f"tenant A was answered {reply!r}, with {len(notes)} time stamps")
    seconds, nanoseconds = struct.unpack("qq", notes[0][2][:16])
    return (seconds * 1_000_000_000 + nanoseconds - sent) / 1e3, (done - sent) / 1e3, reply


def _cpu_seconds(server: Server) -> float:
    return int(Path(f"/proc/{server.pid}/schedstat").read_text().split()[0]) / 1e9


def _add_users(server: Server) -> None:
    with server.client() as client:
        for name in ("a", "b"):
            client.command("ACL", "SETUSER", name, "on", f">{PASSWORD.decode()}", f"~{name}:*", "+@all")


def _give_cpu(server: Server, cpu: int) -> None:
    for thread in Path(f"/proc/{server.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {cpu})
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), -20)  # before what else the machine does


@contextlib.contextmanager
def _before_all_others(cpus: set[int]) -> Iterator[None]:
    """This process runs on these CPUs as soon as it can, where it may ask for that."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _awake(cpus: Sequence[int]) -> Iterator[None]:
    context = multiprocessing.get_context("fork")
    processes: list[Any] = [context.Process(target=_spin, args=(cpu,), daemon=True) for cpu in cpus]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _spin(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass
