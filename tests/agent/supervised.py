"""A data folder in which tests of the supervisor start real cache processes."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cache import process as cache_process
from agent.cache.process import CacheProcess
from agent.cache.settings import CacheFiles, CacheSettings, command_line
from agent.cache.timings import Timings
from agent.supervisor import CacheSupervisor
from core_cache.resp_client import RespClient
from tests.waiting import wait_until

FAST = Timings(
    look=0.05,
    answer=0.3,
    unresponsive_after=0.5,
    restart_after=1.5,
    start=20.0,
    drain=2.0,
    first_delay=0.1,
    longest_delay=0.4,
    stable_after=60.0,
)
MIB = 1024 * 1024


class Cache:
    """A data folder, what the cache in it is to run with, and the supervisors and processes that a test makes there."""

    def __init__(self, folder: Path) -> None:
        self.files = CacheFiles(folder)
        self.settings = CacheSettings(
            host="127.0.0.1",
            port=0,
            unix_socket=str(folder / "cache.sock"),
            memory=16 * MIB,
            policy="s3fifo",
            auth=True,
            arena_dir=str(folder),
            max_clients=100,
            log_level="info",
        )
        self.files.make_password()
        self.reasons: list[str] = []
        self._supervisors: list[CacheSupervisor] = []
        self._processes: list[CacheProcess] = []

    def supervisor(self, settings: CacheSettings | None = None, **given: Any) -> CacheSupervisor:
        """A supervisor that has been started."""
        given = {"timings": FAST, "restarted": self.reasons.append, **given}
        supervisor = CacheSupervisor(settings or self.settings, self.files, **given)
        self._supervisors.append(supervisor)
        supervisor.start()
        return supervisor

    def running(self, settings: CacheSettings | None = None, **given: Any) -> CacheSupervisor:
        """A supervisor whose cache answers."""
        supervisor = self.supervisor(settings, **given)
        supervisor.first.result(20)
        return supervisor

    def left_behind(self, settings: CacheSettings | None = None, *, noted: bool = True) -> int:
        """The pid of a cache process that answers, as an agent that was killed leaves it."""
        settings = settings or self.settings
        process = cache_process.spawn(command_line(settings, self.files), self.files.log)
        self._processes.append(process)
        if noted:
            self.files.write_arguments(process.pid, settings, settings.memory)
        wait_until(self.files.pid.exists, 20, "the cache process's pid file")
        return process.pid

    def command(self, *arguments: str) -> Any:
        """The answer of the cache to a command."""
        with RespClient(self.settings.unix_socket, self.files.read_password(), timeout=5) as client:
            return client.command(*arguments)

    def clean_up(self) -> None:
        for supervisor in self._supervisors:
            supervisor.stop(20)
        for process in self._processes:
            process.signal(signal.SIGKILL)
            process.reap()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """A data folder; what was started in it ends with the test."""
    cache = Cache(tmp_path)
    yield cache
    cache.clean_up()


def pid_of(supervisor: CacheSupervisor) -> int:
    """The pid of the cache once it runs."""
    wait_until(lambda: supervisor.status()["state"] == "running", 20, "the cache to run")
    pid = supervisor.status()["pid"]
    assert isinstance(pid, int)
    return pid


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def failing(sentence: str, status: int) -> Callable[[CacheSettings, CacheFiles], list[str]]:
    """The command line of a cache process that says a sentence and ends."""
    return lambda settings, files: [
        sys.executable,
        "-c",
        f"import sys; sys.stderr.write({sentence!r} + chr(10)); sys.exit({status})",
    ]
