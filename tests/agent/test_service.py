"""The service in this very process: its loops are what health and the watchdog are derived from."""

import io
import json
import os
import re
import shlex
import signal
import socket
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import collection, service
from agent.cache.settings import CacheFiles, CacheSettings, command_line
from agent.config.load import LoadedConfig, load_config
from agent.errors import PredisError
from agent.own_metrics import SPECS, ReloadState
from agent.report import Report
from agent.service import Service
from tests.agent.foreign import GOOD, Foreign, foreign
from tests.servers import free_port, http_status
from tests.waiting import wait_until

__all__ = ["foreign"]


def configuration(folder: Path, *more: str) -> LoadedConfig:
    settings = [
        f"agent.data_dir={folder / 'data'}",
        "agent.interval=0.2s",
        "cache.port=0",
        "cache.memory=16MiB",
        f"cache.arena_dir={folder}",
        f"http.port={free_port()}",
        f"plugins.prometheus.port={free_port()}",
    ]
    return load_config(None, [*settings, *more], {})


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[list[BaseException]]:
    """Runs work beside the service, which needs the main thread, and then asks the service to stop."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # the main thread raises it
            failures.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run)
    thread.start()
    yield failures
    thread.join()
    if failures:
        raise failures[0]


def run(loaded: LoadedConfig, work: Callable[[], None]) -> tuple[int, str]:
    """Exit status and output of a service while work is done beside it."""
    out = io.StringIO()
    with meanwhile(work):
        status = Service(loaded, out=out).run()
    return status, out.getvalue()


def url(loaded: LoadedConfig, path: str) -> str:
    return f"http://127.0.0.1:{loaded.config.http.port}{path}"


def test_it_starts_serves_and_stops_leaving_nothing_behind(tmp_path: Path) -> None:
    loaded = configuration(tmp_path)
    handlers = [signal.getsignal(number) for number in service.SIGNALS]

    out = io.StringIO()

    def work() -> None:
        wait_until(lambda: re.search(r"ready after \d+\.\d\d s", out.getvalue()), 30, "the banner")
        assert http_status(url(loaded, "/readyz")) == 200

    with meanwhile(work):
        assert Service(loaded, out=out).run() == 0

    assert [signal.getsignal(number) for number in service.SIGNALS] == handlers
    assert http_status(url(loaded, "/livez")) == 0
    wait_until(
        lambda: not {"cache-supervisor", "http", "APScheduler"} & {thread.name for thread in threading.enumerate()},
        what="the end of the threads",
    )
    assert not (tmp_path / "data" / "cache.pid").exists()


class Freeze:
    """Blocks whoever comes by while it is on."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    def on(self) -> None:
        self._free.clear()

    def off(self) -> None:
        self._free.set()

    def pass_by(self, *_: object) -> None:
        self._free.wait(30)


def freeze_main_loop(freeze: Freeze, patch: pytest.MonkeyPatch) -> None:
    summary = Report.summary
    patch.setattr(Report, "summary", lambda self: freeze.pass_by() or summary(self))
    patch.setattr(service, "STATUS_INTERVAL", 0.1)


def freeze_scheduler(freeze: Freeze, patch: pytest.MonkeyPatch) -> None:
    collect = ReloadState.collect  # is called by the scheduler's thread
    patch.setattr(ReloadState, "collect", lambda self: freeze.pass_by() or collect(self))


def freeze_supervisor(freeze: Freeze, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(service, "arena_heartbeat", lambda path: freeze.pass_by)


@pytest.mark.parametrize(
    ("name", "prepare"),
    [("main loop", freeze_main_loop), ("scheduler", freeze_scheduler), ("supervisor", freeze_supervisor)],
)
def test_a_loop_that_freezes_is_not_live_and_the_watchdog_starves(
    name: str, prepare: Callable[[Freeze, pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an agent under a watchdog, whose loops count as late after half a second to three
    freeze = Freeze()
    prepare(freeze, monkeypatch)
    limits = {"main loop": 1.0, "scheduler": 1.0, "supervisor": 3.5}  # the supervisor looks every two seconds
    monkeypatch.setattr(service, "LIMITS", limits)
    monkeypatch.setattr(collection, "TICK", 0.1)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(10)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    loaded = configuration(tmp_path)

    def wait_for_ping() -> None:
        while b"WATCHDOG=1" not in manager.recv(4096):
            pass

    def pings(seconds: float) -> int:
        deadline, count = time.monotonic() + seconds, 0
        while (left := deadline - time.monotonic()) > 0:
            manager.settimeout(left)
            try:
                count += b"WATCHDOG=1" in manager.recv(4096)
            except TimeoutError:
                break
        manager.settimeout(10)
        return count

    def work() -> None:
        try:
            wait_until(lambda: http_status(url(loaded, "/livez")) == 200, 30, "liveness")
            wait_for_ping()
            # when one of them freezes
            freeze.on()
            wait_until(lambda: http_status(url(loaded, "/livez")) == 503, 10, "the freeze to be seen")
            pings(0.3)  # what lay in the socket
            # then no ping comes any more
            assert pings(1.0) == 0
            with pytest.raises(urllib.error.HTTPError) as answer:
                urllib.request.urlopen(url(loaded, "/readyz"), timeout=5)
            assert name.encode() in answer.value.read()
            # and it comes again once the loop goes on
            freeze.off()
            wait_for_ping()
            assert http_status(url(loaded, "/livez")) == 200
        finally:
            freeze.off()

    status, _ = run(loaded, work)
    manager.close()
    assert status == 0


def test_an_import_that_hangs_holds_up_neither_the_cache_nor_health(tmp_path: Path, foreign: Foreign) -> None:
    go_on = tmp_path / "go on"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)"
    foreign.package("sleeper", wait + textwrap.dedent(GOOD))
    loaded = configuration(tmp_path)

    def reasons() -> str:
        try:
            urllib.request.urlopen(url(loaded, "/readyz"), timeout=5)
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""
        return "ready"

    def work() -> None:
        wait_until(
            lambda: "the plugins are being loaded" in reasons() and "the cache" not in reasons(), 10, "the cache"
        )
        assert http_status(url(loaded, "/livez")) == 200
        go_on.touch()
        wait_until(lambda: reasons() == "ready", 30, "readiness")

    run(loaded, work)


def test_the_environment_of_systemd_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    loaded = configuration(tmp_path)

    def work() -> None:
        wait_until(lambda: http_status(url(loaded, "/livez")) == 200, 30, "liveness")

    run(loaded, work)

    assert "NOTIFY_SOCKET" not in os.environ


def test_a_clock_that_is_set_back_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = configuration(tmp_path)
    offsets = [0.0]
    noticed = threading.Event()
    monkeypatch.setattr(service, "_clock_offset", lambda: offsets[-1])
    monkeypatch.setattr(collection.Collection, "clock_was_set_back", lambda self: noticed.set())

    def work() -> None:
        wait_until(lambda: http_status(url(loaded, "/readyz")) == 200, 30, "readiness")
        offsets.append(+3600.0)
        assert not noticed.wait(2.5), "forward is no trouble"
        offsets.append(0.0)
        assert noticed.wait(5)

    run(loaded, work)


def test_systemd_is_told_of_readiness_only_once_the_cache_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a cache that takes longer to start than the agent waits before it says where everything is
    monkeypatch.setattr(service, "SHOW_AFTER", 0.5)
    monkeypatch.setattr(service, "STATUS_INTERVAL", 0.2)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(10)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    loaded = configuration(tmp_path)
    out, go = io.StringIO(), tmp_path / "go"

    def held_up(settings: CacheSettings, files: CacheFiles) -> list[str]:
        return ["sh", "-c", f"until [ -e {go} ]; do sleep 0.1; done; exec {shlex.join(command_line(settings, files))}"]

    def work() -> None:
        wait_until(lambda: "up, but not ready" in out.getvalue(), 10, "the banner")
        os.kill(os.getpid(), signal.SIGHUP)  # a reload is no readiness either
        messages = [manager.recv(4096).decode() for _ in range(20)]
        assert not [message for message in messages if "READY=1" in message or "RELOADING=1" in message]
        waits = [
            message for message in messages if message.startswith("EXTEND_TIMEOUT_USEC=60000000\nSTATUS=not ready: ")
        ]
        assert len(waits) == 20
        assert "the cache" in messages[-1]
        go.touch()
        while "READY=1" not in (message := manager.recv(4096).decode()):
            assert "not ready" in message
        assert http_status(url(loaded, "/livez")) == 200

    with meanwhile(work):
        assert Service(loaded, out=out, command=held_up).run() == 0
    manager.close()


def test_a_reload_that_waits_for_the_cache_gives_way_to_the_next(tmp_path: Path) -> None:
    # given an agent whose cache never answers on one port
    file, port = tmp_path / "agent.toml", free_port()
    overrides = [
        f"agent.data_dir={tmp_path / 'data'}",
        f"cache.arena_dir={tmp_path}",
        "cache.memory=16MiB",
        f"http.port={free_port()}",
        f"plugins.prometheus.port={free_port()}",
    ]

    def write(cache_port: int) -> None:
        file.write_text(f"[cache]\nport = {cache_port}\n")

    def deaf(settings: CacheSettings, files: CacheFiles) -> list[str]:
        return ["sleep", "60"] if settings.port == port else command_line(settings, files)

    def status() -> Any:
        with urllib.request.urlopen(url(loaded, "/api/v1/status"), timeout=5) as answer:
            return json.load(answer)

    def work() -> None:
        wait_until(lambda: http_status(url(loaded, "/readyz")) == 200, 30, "readiness")
        write(port)
        os.kill(os.getpid(), signal.SIGHUP)
        wait_until(lambda: status()["cache"]["port"] == port, 20, "the reload")

        # when the mistake is mended and a reload asked for, while the one before waits
        write(0)
        os.kill(os.getpid(), signal.SIGHUP)

        # then that is what counts
        wait_until(lambda: status()["agent"]["config_reload"]["reloads"] == 2, 20, "the second reload")
        assert status()["agent"]["config_reload"]["success"]
        assert status()["cache"]["state"] == "running"
        wait_until(lambda: http_status(url(loaded, "/readyz")) == 200, 30, "readiness")

    write(0)
    loaded = load_config(file, overrides, {})
    with meanwhile(work):
        assert Service(loaded, out=io.StringIO(), command=deaf).run() == 0


def test_a_crash_loop_of_the_cache_does_not_end_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SHOW_AFTER", 0.5)
    loaded = configuration(tmp_path)
    out = io.StringIO()

    def crashing(*_: object) -> list[str]:
        return ["sh", "-c", "echo 'out of luck' >&2; exit 3"]

    def work() -> None:
        wait_until(lambda: "not ready" in out.getvalue(), 10, "the banner")
        assert http_status(url(loaded, "/readyz")) == 503
        assert http_status(url(loaded, "/livez")) == 200

    with meanwhile(work):
        assert Service(loaded, out=out, command=crashing).run() == 0
    assert "up, but not ready" in out.getvalue()
    assert "out of luck" in out.getvalue()


def test_a_refused_start_leaves_nothing_running(tmp_path: Path) -> None:
    loaded = configuration(tmp_path, f"cache.arena_dir={tmp_path / 'nowhere'}")

    with pytest.raises(PredisError, match="nowhere does not exist"):
        Service(loaded, out=io.StringIO()).run()

    assert http_status(url(loaded, "/livez")) == 0
    assert "cache-supervisor" not in {thread.name for thread in threading.enumerate()}


def test_the_reload_metrics_are_catalogued_and_follow_what_happens() -> None:
    state = ReloadState()
    assert {sample.name for sample in state.collect()} == {spec.name for spec in SPECS}

    def value(name: str, *labels: str) -> Any:
        return next(s.value for s in state.collect() if s.name == name and s.labels == labels)

    state.refused("agent.toml:3: no")
    assert value("predis_config_last_reload_success") == 0
    assert value("predis_config_reloads_total", "refused") == 1
    assert state.status()["error"] == state.error == "agent.toml:3: no"
    state.applied(["cache port"])
    assert value("predis_config_last_reload_success") == 1
    assert value("predis_config_reloads_total", "applied") == 1
    assert state.error is None
    assert state.status()["changed"] == ["cache port"]
