"""`isolation = "process"`: what a plugin does, it does to its own process, which is named, counted and replaced."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from agent.config import load_config
from agent.export.model import Event
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Exemplar, Histogram, Kind, MetricSpec, Sample, Snapshot
from agent.metrics.pipeline import Pipeline
from agent.plugin import wire
from agent.plugin.guard import Told
from agent.plugin.host import CacheAddress, Host
from agent.plugin.isolated import IsolatedPlugin
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginManager
from agent.plugin.snapshots import SnapshotReceiver, SnapshotSender
from agent.plugin_worker import PluginWorker
from tests.agent.foreign import GOOD, Foreign, foreign
from tests.servers import ROOT
from tests.waiting import wait_until

__all__ = ["foreign"]

TABLE = '[plugins.weather]\nisolation = "process"\n'


def collecting(body: str) -> str:
    """The good plugin, which does this when it collects."""
    return textwrap.dedent(GOOD).replace(
        '        yield Sample("predis_foreign_value", self.config.value)',
        textwrap.indent(
            textwrap.dedent(body).strip() + '\nyield Sample("predis_foreign_value", self.config.value)', " " * 8
        ),
    )


def host(folder: Path, emit: Callable[[Event], None] = lambda event: None) -> Host:
    cache = CacheAddress(folder / "cache.sock", "127.0.0.1", 6379, None, folder / "arena")
    return Host(folder, cache, "1.2.3", logging.getLogger("predis.plugins.weather"), emit)


def manager(folder: Path, table: str = TABLE) -> PluginManager:
    (folder / "agent.toml").write_text(table)
    made = PluginManager(load_config(folder / "agent.toml", (), {}))
    made.load()
    return made


@pytest.fixture
def weather(foreign: Foreign, tmp_path: Path) -> Iterator[Callable[..., IsolatedPlugin]]:
    """Makes a plugin of this code, in a process that runs."""
    made: list[LoadedPlugin] = []

    def make(code: str, table: str = "") -> IsolatedPlugin:
        foreign.package("weather", code)
        plugin = manager(tmp_path, TABLE + table).plugins["weather"]
        made.append(plugin)
        assert isinstance(plugin, IsolatedPlugin), plugin.error
        plugin.start(host(tmp_path))
        return plugin

    yield make
    for plugin in made:
        plugin.abandon()


def pid_of(plugin: LoadedPlugin) -> int:
    pid = plugin.details()["process"]["pid"]
    assert isinstance(pid, int)
    return pid


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


EVERYTHING = """
    import logging
    import os

    from agent.api import ConfigPath, Event, Exemplar, Histogram, Kind, MetricSpec, PluginConfig, Sample, hookimpl

    class Config(PluginConfig):
        folder: ConfigPath
        token: str = ""
        port: int = 0

    class Plugin:
        api_version = 1
        Config = Config

        def __init__(self, config):
            self.config = config
            self.note = None

        def tell(self, text):
            with (self.config.folder / "told").open("a") as file:
                file.write(text + "\\n")

        @hookimpl
        def predis_metric_specs(self):
            return [
                MetricSpec("predis_foreign_pid", Kind.gauge, "The process.", labels=("token",)),
                MetricSpec("predis_foreign_seconds", Kind.histogram, "Times.", "seconds", bounds=(1.0,)),
            ]

        @hookimpl
        def predis_start(self, host):
            self.tell(f"start {host.data_dir} {host.version} {host.cache.port} {host.cache.unix_socket}")
            host.logger.warning("hello")
            logging.getLogger("else").error("there")
            host.emit(Event(1.0, "began", "It began"))
            print("plain output")

        @hookimpl
        def predis_collect(self):
            self.note = f"port {self.config.port}"
            yield Sample("predis_foreign_pid", os.getpid(), (self.config.token,))
            exemplar = Exemplar((("id", "7"),), 0.5, 9.5)
            yield Sample("predis_foreign_seconds", Histogram((1.0,), (1, 2), 5.5, (exemplar,)))

        @hookimpl
        def predis_export(self, snapshot):
            for spec, samples in snapshot.families():
                self.tell(f"export {spec.name} {spec.kind.value} {samples[0].value}")

        @hookimpl
        def predis_stop(self):
            self.tell("stop")
"""


def test_all_hooks_work_in_another_process(
    foreign: Foreign, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a plugin whose secret stands in a file, with a port that comes as text
    foreign.package("weather", EVERYTHING)
    (tmp_path / "secret").write_text("hunter2-hunter2\n")
    (tmp_path / "port").write_text("4711")
    monkeypatch.setenv("PREDIS__PLUGINS__OTHER__TOKEN", "not-for-plugins")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nor-is-this")
    monkeypatch.setenv("FUEL_TOKEN", "but-this-is")
    own = 'pass_environment = ["FUEL_TOKEN", "PREDIS__PLUGINS__OTHER__TOKEN"]\n'
    plugins = manager(tmp_path, TABLE + own + 'folder = "."\ntoken = "${file:secret}"\nport = "${file:port}"\n')
    plugin, events = plugins.plugins["weather"], []
    assert plugin.problems == []
    assert [spec.name for spec in plugin.specs] == ["predis_foreign_pid", "predis_foreign_seconds"]
    assert plugin.implements("predis_export")
    assert not plugin.implements("predis_destination")
    # when all its hooks are called
    plugin.start(host(tmp_path, events.append))
    samples = list(plugin.collect())
    pid = pid_of(plugin)
    snapshot = Snapshot(5.0, {s.key: s for s in samples}, {spec.name: spec for spec in plugin.specs})
    plugin.export(snapshot)
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    plugin.stop()
    # then each does what it does in the agent
    assert samples == [
        Sample("predis_foreign_pid", pid, ("hunter2-hunter2",)),
        Sample("predis_foreign_seconds", Histogram((1.0,), (1, 2), 5.5, (Exemplar((("id", "7"),), 0.5, 9.5),))),
    ]
    assert pid != os.getpid()
    assert plugin.note() == "port 4711"
    assert (tmp_path / "told").read_text().splitlines() == [
        f"start {tmp_path} 1.2.3 6379 {tmp_path}/cache.sock",
        f"export predis_foreign_pid gauge {pid}",
        "export predis_foreign_seconds histogram Histogram(bounds=(1.0,), counts=(1, 2), sum=5.5)",
        "stop",
    ]
    assert [record.getMessage() for record in caplog.records if "plugins.weather" in record.name] == ["hello", "there"]
    assert events == [Event(1.0, "began", "It began")]
    # and no secret was where others can see it
    assert b"hunter2" not in arguments
    assert b"not-for-plugins" not in arguments
    assert b"nor-is-this" not in arguments
    # but the one that the user names
    assert b"FUEL_TOKEN=but-this-is" in arguments
    assert gone(pid)


@pytest.mark.parametrize(
    ("body", "table", "told"),
    [
        ("import time; time.sleep(3600)", 'deadline = "500ms"', "not done after 500ms"),
        ("while True: pass", 'deadline = "500ms"', "not done after 500ms"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "", "it was killed by SIGSEGV"),
        ("import os; os._exit(3)", "", "it ended by itself with status 3"),
        ("import os\nprint('no more fuel', flush=True)\nos._exit(3)", "", "it wrote last: no more fuel"),
        ("self.all = [bytes(1 << 20) for _ in range(1024)]", "", "it needs more than its memory_limit of 256MiB"),
        ("import os\nwhile True: os.write(1, bytes(65536))", "", "it wrote more than 16MiB in one call"),
        ("import logging\nwhile True: logging.error('x' * 3000)", "", "it wrote more than 16MiB in one call"),
        (
            "import os\nfor fd in map(int, os.listdir('/proc/self/fd')):\n"
            "    try: fd < 3 or os.write(fd, b'\\xff' * 9)\n    except OSError: pass",
            "",
            "it sent a message of 4294967295 bytes",
        ),
    ],
    ids=["sleeps", "spins", "crashes", "exits", "last words", "leaks", "floods", "floods the log", "talks rubbish"],
)
def test_what_would_hurt_the_agent_ends_the_process_and_the_next_run_has_another(
    weather: Callable[..., IsolatedPlugin], tmp_path: Path, body: str, table: str, told: str
) -> None:
    # given a plugin that works, until it is told to do its worst
    worst = tmp_path / "worst"
    misbehaving = f"from pathlib import Path\nif Path({str(worst)!r}).exists():\n{textwrap.indent(body, '    ')}"
    plugin = weather(collecting(misbehaving), table)
    assert [sample.value for sample in plugin.collect()] == [1]
    pid = pid_of(plugin)
    worst.touch()
    # when it does
    began = time.monotonic()
    with pytest.raises(Told, match="its process was ended in predis_collect: ") as raised:
        list(plugin.collect())
    # then the reason is told, soon, and its process is gone
    assert told in str(raised.value)
    assert time.monotonic() - began < 20
    wait_until(lambda: gone(pid), 30, "the end of the process")
    # and the next run has another
    worst.unlink()
    assert [sample.value for sample in plugin.collect()] == [1]
    assert pid_of(plugin) != pid
    assert plugin.details()["process"]["restarts"] == 1


def test_what_its_code_raises_is_told_with_its_place_and_costs_no_process(
    weather: Callable[..., IsolatedPlugin], tmp_path: Path
) -> None:
    plugin = weather(collecting("if True: raise OSError('no sensor')"))
    pid = pid_of(plugin)
    with pytest.raises(Told, match=r"^OSError: no sensor$") as raised:
        list(plugin.collect())
    assert str(raised.value.place[0]).endswith(".py")
    with pytest.raises(Told):
        list(plugin.collect())
    assert pid_of(plugin) == pid


def test_all_that_it_started_ends_with_it(weather: Callable[..., IsolatedPlugin], tmp_path: Path) -> None:
    plugin = weather(
        collecting(f"""
        import subprocess
        child = subprocess.Popen(["sleep", "3600"])
        open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
        """)
    )
    list(plugin.collect())
    grandchild = int((tmp_path / "child").read_text())
    assert not gone(grandchild)
    plugin.stop()
    wait_until(lambda: gone(grandchild), 5, "the end of what the plugin started")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os\nos._exit(9)", "cannot be loaded: it ended by itself with status 9"),
        ("import os\nos.abort()", "cannot be loaded: it was killed by SIGABRT"),
        ("x = bytes(1 << 30)", "cannot be imported: MemoryError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("class Plugin:\n    api_version = 2", "is written for plugin API 2"),
        (GOOD.replace("def predis_collect", "def predis_colect"), "did you mean predis_collect?"),
    ],
)
def test_one_that_cannot_be_loaded_fails_alone(foreign: Foreign, tmp_path: Path, code: str, told: str) -> None:
    foreign.package("weather", code)
    plugins = manager(tmp_path)
    assert plugins.plugins["weather"].state == "failed"
    (problem,) = plugins.problems
    assert told in f"{problem.what}; {problem.mend}"
    assert "host_metrics" in {plugin.name for plugin in plugins.active}


def test_mistakes_in_its_table_are_told_with_their_lines(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("weather")
    mistakes = manager(tmp_path, TABLE + 'valeu = 3\nmemory_limit = "1KiB"\n').problems
    assert [(p.line, p.key) for p in mistakes] == [(4, "plugins.weather.memory_limit")]
    (typo,) = manager(tmp_path, TABLE + "valeu = 3\n").problems
    assert (typo.file, typo.line, typo.key) == (str(tmp_path / "agent.toml"), 3, "plugins.weather.valeu")
    assert 'did you mean "value"?' in typo.mend
    (assigned,) = manager(tmp_path, TABLE + 'pass_environment = ["FUEL_TOKEN=gas"]\n').problems
    assert assigned.line == 3
    assert "is no name of an environment variable" in assigned.what
    assert "gas" not in assigned.what


@pytest.mark.parametrize(
    ("starts", "table", "own", "processes"),
    [
        (True, "", "", 1),
        (False, "", "", 2),  # tried by a command, which starts nothing
        (True, "", "memory_limit: int = 300 << 20", 2),  # a default of its own, not known before
        (True, "memory_limit = 314572800\n", "memory_limit: int = 310 << 20", 1),
    ],
)
def test_what_is_started_next_keeps_the_process_that_it_was_tried_in(
    foreign: Foreign, tmp_path: Path, starts: bool, table: str, own: str, processes: int
) -> None:
    notes = tmp_path / "pids"
    code = textwrap.dedent(GOOD).replace(
        "    value: int = 1", f"    value: int = 1\n    {own}" if own else "    value: int = 1"
    )
    foreign.package("weather", f"import os\nopen({str(notes)!r}, 'a').write(f'{{os.getpid()}}\\n')\n{code}")
    (tmp_path / "agent.toml").write_text(TABLE + table)
    plugins = PluginManager(load_config(tmp_path / "agent.toml", (), {}), only=("weather",))
    plugins.load(starts=starts)
    weather = plugins.plugins["weather"]
    assert isinstance(weather, IsolatedPlugin), weather.error
    (tried,) = map(int, notes.read_text().split())
    assert gone(tried) == (processes == 2)
    weather.start(host(tmp_path))
    try:
        pids = list(map(int, notes.read_text().split()))
        assert len(pids) == processes
        assert pid_of(weather) == pids[-1]
        assert weather.restarts == 0
        assert [sample.name for sample in weather.collect()] == ["predis_foreign_value"]
        if own or table:
            limit = Path(f"/proc/{pids[-1]}/limits").read_text()
            assert f"{weather.config.memory_limit} " in limit
    finally:
        weather.abandon()
    wait_until(lambda: gone(pids[-1]), 5, "the process is gone")


def test_one_that_cannot_be_used_leaves_no_process(foreign: Foreign, tmp_path: Path) -> None:
    notes = tmp_path / "pids"
    foreign.package(
        "weather", f"import os\nopen({str(notes)!r}, 'a').write(f'{{os.getpid()}}\\n')\n" + textwrap.dedent(GOOD)
    )
    (tmp_path / "agent.toml").write_text(TABLE + 'value = "many"\n')
    plugins = PluginManager(load_config(tmp_path / "agent.toml", (), {}), only=("weather",))
    plugins.load(starts=True)
    assert plugins.plugins["weather"].state == "failed"
    (tried,) = map(int, notes.read_text().split())
    assert gone(tried)


def test_a_reload_keeps_the_process_of_an_unchanged_table(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("weather")
    plugins = manager(tmp_path, TABLE + "value = 2\n")
    weather = plugins.plugins["weather"]
    (tmp_path / "agent.toml").write_text(TABLE + "value = 2\n[plugins.host_metrics]\nmax_series = 7\n")
    changes = plugins.prepare(plugins.config.reload())
    assert changes.plugins["weather"] is weather
    (tmp_path / "agent.toml").write_text(TABLE + "value = 3\n")
    assert plugins.prepare(plugins.config.reload()).plugins["weather"] is not weather


def test_the_worker_counts_backs_off_and_recovers(foreign: Foreign, tmp_path: Path) -> None:
    # given a plugin that crashes while a file is there, in a worker
    worst = tmp_path / "worst"
    worst.touch()
    foreign.package(
        "weather",
        collecting(f"""
        import os, signal
        if os.path.exists({str(worst)!r}):
            os.kill(os.getpid(), signal.SIGSEGV)
        """),
    )
    plugin = manager(tmp_path).plugins["weather"]
    catalogue = Catalogue()
    catalogue.add("weather", plugin.specs)
    outcomes: list[str] = []
    worker = PluginWorker(
        plugin, host(tmp_path), Pipeline(catalogue), 0.2, lambda name, seconds, outcome: outcomes.append(outcome)
    )

    # when it is triggered all the time
    def failures() -> int:
        worker.collect()
        return int(worker.status()["failures"])

    wait_until(lambda: failures() >= 2, 30, "two crashes")
    status = worker.status()
    assert "its process was ended in predis_collect: it was killed by SIGSEGV" in status["error"]
    assert status["process"]["restarts"] >= 1
    worst.unlink()

    def works() -> bool:
        worker.collect()
        return int(worker.status()["series"]) == 1

    # then it recovers by itself, and nothing of it stays
    wait_until(works, 30, "a run that works")
    pid = pid_of(plugin)
    worker.stop(5.0)
    assert gone(pid)
    assert outcomes[-1] == "ok"
    with pytest.raises(Told):
        list(plugin.collect())


def test_one_that_is_stopped_while_its_process_starts_leaves_none(foreign: Foreign, tmp_path: Path) -> None:
    # given a plugin whose import takes its time
    started = tmp_path / "started"
    foreign.package(
        "weather", f"import time\nopen({str(started)!r}, 'w').close()\ntime.sleep(1)\n" + textwrap.dedent(GOOD)
    )
    plugin = manager(tmp_path).plugins["weather"]
    started.unlink()
    errors: list[Told] = []

    def start() -> None:
        try:
            plugin.start(host(tmp_path))
        except Told as told:
            errors.append(told)

    thread = threading.Thread(target=start)
    thread.start()
    wait_until(started.exists, 20, "the import in the new process")
    # when it is stopped meanwhile
    plugin.abandon()
    thread.join(20)
    # then its process is not left behind
    assert [str(error) for error in errors] == ["it was stopped"]
    wait_until(lambda: not psutil.Process().children(), 5, "the end of the process")


AGENT = """
import logging, sys, time
from pathlib import Path
from agent.config import load_config
from agent.plugin.manager import PluginManager
from agent.plugin.host import CacheAddress, Host

folder = Path(sys.argv[1])
manager = PluginManager(load_config(folder / "agent.toml", (), {}))
manager.load()
plugin = manager.plugins["weather"]
cache = CacheAddress(folder / "cache.sock", "", 0, None, folder / "arena")
plugin.start(Host(folder, cache, "", logging.getLogger("x")))
print(plugin.details()["process"]["pid"], flush=True)
list(plugin.collect())
"""


def test_the_process_ends_with_the_agent_though_it_hangs_in_c(foreign: Foreign, tmp_path: Path) -> None:
    # given an agent whose plugin holds the interpreter's lock and never comes back
    hang = "import ctypes; ctypes.PyDLL(None).sleep(3600)"
    foreign.package("weather", collecting(hang))
    (tmp_path / "agent.toml").write_text(TABLE + 'deadline = "1h"\n')
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{foreign.folder}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    pid = int(agent.stdout.readline())
    assert not gone(pid)
    # when the agent is killed
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    agent.stdout.close()
    # then so is the plugin's process
    wait_until(lambda: gone(pid), 30, "the end of the process")


@pytest.mark.parametrize(
    "data",
    [b"\x00\x00\x00\x02{}x", b"\x00\x00\x00\x01{", b"\x00\x00\x00\x02\xff\xff", b"\x7f\xff\xff\xff"],
)
def test_frames_that_are_wrong_are_refused(data: bytes) -> None:
    buffer = bytearray(data)
    if data.startswith(b"\x00\x00\x00\x02{}"):
        assert wire.take(buffer) == {}
        assert bytes(buffer) == b"x"
        assert wire.take(buffer) is None
        return
    with pytest.raises(wire.WireError):
        wire.take(buffer)


@pytest.mark.parametrize(
    "given", [None, 5, [5], [["a"]], [["a", [1], []]], [["a", 1, 5]], {"a": 1}, [["a", [[], [], 1, [5], None], []]]]
)
def test_samples_that_are_wrong_are_refused(given: object) -> None:
    with pytest.raises(wire.WireError):
        wire.load_samples(given)


@pytest.mark.parametrize(
    "given", [None, {}, {"time": "x", "kind": "a", "title": "b"}, {"time": 1, "kind": 2, "title": ""}]
)
def test_events_that_are_wrong_are_refused(given: object) -> None:
    with pytest.raises(wire.WireError):
        wire.load_event(given)


def test_a_snapshot_comes_out_as_it_went_in() -> None:
    spec = MetricSpec("predis_a_seconds", Kind.histogram, "A.", "seconds", ("x",), (1.0, 2.0))
    exemplars = (Exemplar((("id", "1"), ("no", "2")), 1.5, 9.5), Exemplar((), 0.5, 8.0))
    samples = [
        Sample("predis_a_seconds", Histogram((1.0, 2.0), (1, 2, 3), 4.5), ("y",)),
        Sample("predis_a_seconds", Histogram((2.0,), (3, 3), 4.5, exemplars), ("e",)),
        Sample("predis_a_seconds", Histogram((2.0,), (3, 3), 4.5, (), Histogram((1.0, 2.0), (1, 2, 3), 4.5)), ("f",)),
    ]
    snapshot = Snapshot(12.5, {sample.key: sample for sample in samples}, {spec.name: spec})
    sender, receiver = SnapshotSender(), SnapshotReceiver()
    for _ in range(2):  # what is known goes over once
        frame = bytearray(wire.pack(sender.dump(snapshot)))
        assert receiver.load(wire.take(frame)) == snapshot


def test_a_plugin_gets_no_secret_by_a_default_of_its_own(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a plugin that by default wants a secret of the agent's, and another limit than the usual: it is started anew
    own = 'pass_environment: tuple[str, ...] = ("FUEL_TOKEN",)'
    foreign.package("weather", GOOD.replace("value: int = 1", f"{own}\n        memory_limit: int = 300 << 20"))
    monkeypatch.setenv("FUEL_TOKEN", "not-for-plugins")
    plugin = manager(tmp_path).plugins["weather"]
    assert plugin.problems == []
    assert plugin.config.pass_environment == ("FUEL_TOKEN",)
    # when it runs
    plugin.start(host(tmp_path))
    told = Path(f"/proc/{pid_of(plugin)}/environ").read_bytes()
    plugin.stop()
    assert b"not-for-plugins" not in told
