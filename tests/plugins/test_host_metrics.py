"""host_metrics tells of this machine, and of the cache process if there is one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent.api import Host
from plugins.host_metrics.plugin import HostMetrics, HostMetricsConfig
from plugins.host_metrics.process import CacheProcess
from tests.plugins.conftest import Collect
from tests.waiting import wait_until


@pytest.fixture
def plugin(host: Host) -> HostMetrics:
    made = HostMetrics(HostMetricsConfig())
    made.predis_start(host)
    return made


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command line looks like the cache's."""
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, "core_cache"], stdin=-1, stdout=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"  # an interpreter that starts opens and closes files
    yield process
    process.kill()
    process.communicate()


def test_the_machines_numbers_are_plausible(plugin: HostMetrics, host: Host, collect: Collect) -> None:
    values = collect(plugin)
    assert values["predis_host_cpus", ()] == os.cpu_count()
    assert values["predis_host_cpu_seconds_total", ("user",)] > 0  # type: ignore[operator]
    assert values["predis_host_memory_bytes", ("total",)] == psutil.virtual_memory().total
    assert values["predis_host_filesystem_bytes", (str(host.data_dir), "total")] > 0  # type: ignore[operator]
    assert values["predis_host_load_average", ("1m",)] >= 0  # type: ignore[operator]
    assert ("predis_host_network_bytes_total", ("lo", "in")) in values


def test_how_busy_the_cpus_are_is_told_from_the_second_time_on(plugin: HostMetrics, collect: Collect) -> None:
    assert ("predis_host_cpu_busy_ratio", ()) not in collect(plugin)

    def ratio() -> object:
        sum(range(200_000))
        return collect(plugin).get(("predis_host_cpu_busy_ratio", ()))

    busy = wait_until(ratio, what="a busy ratio above 0")
    assert isinstance(busy, float)
    assert 0 < busy <= 1


def test_pressure_is_read_where_the_kernel_tells_it(host: Host, tmp_path: Path, collect: Collect) -> None:
    folder = tmp_path / "proc" / "pressure"
    folder.mkdir(parents=True)
    (folder / "io").write_text(
        "some avg10=0.00 avg60=0.10 avg300=0.05 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n"
    )
    plugin = HostMetrics(HostMetricsConfig(), tmp_path / "proc")
    plugin.predis_start(host)
    values = {key: value for key, value in collect(plugin).items() if key[0] == "predis_host_pressure_seconds_total"}
    assert values == {
        ("predis_host_pressure_seconds_total", ("io", "some")): 2.5,
        ("predis_host_pressure_seconds_total", ("io", "full")): 0.001,
    }


def test_interfaces_and_disks_are_left_out_by_pattern(host: Host, collect: Collect) -> None:
    plugin = HostMetrics(HostMetricsConfig(ignore_interfaces=("*",), ignore_disks=("*",)))
    plugin.predis_start(host)
    names = {name for name, _ in collect(plugin)}
    assert not any(name.startswith(("predis_host_network", "predis_host_disk")) for name in names)


def test_the_arenas_file_system_is_told_apart_from_the_data_folders(
    plugin: HostMetrics, host: Host, tmp_path: Path, collect: Collect
) -> None:
    arenas = tmp_path / "arenas"
    arenas.mkdir()
    (arenas / "cache.arena").touch()
    host.cache.arena.symlink_to(arenas / "cache.arena")
    paths = {labels[0] for name, labels in collect(plugin) if name == "predis_host_filesystem_bytes"}
    assert paths == {str(host.data_dir), str(arenas)}


def test_what_a_sandbox_hides_is_left_out_and_named_and_the_rest_is_told(
    plugin: HostMetrics, collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/proc/diskstats")

    monkeypatch.setattr(psutil, "disk_io_counters", hidden)
    names = {name for name, _ in collect(plugin)}
    assert "predis_host_disk_bytes_total" not in names
    assert {"predis_host_memory_bytes", "predis_host_network_bytes_total", "predis_host_boot_time_seconds"} <= names
    assert plugin.note.startswith("no disks (")
    monkeypatch.undo()
    collect(plugin)
    assert plugin.note == ""


def test_a_machine_that_tells_nothing_is_a_failure_that_says_why(
    host: Host, tmp_path: Path, collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/proc/stat")

    # given a sandbox that hides everything
    plugin = HostMetrics(HostMetricsConfig(), tmp_path / "no proc")
    plugin.predis_start(host)
    with monkeypatch.context() as sandbox:
        for function in (
            "cpu_times", "virtual_memory", "disk_usage", "disk_io_counters", "net_io_counters", "boot_time",
        ):  # fmt: skip
            sandbox.setattr(psutil, function, hidden)
        # then that there is no cache process either is no measurement
        with pytest.raises(RuntimeError, match=r"nothing can be measured: no CPU \(.*Permission denied.*no memory \("):
            collect(plugin)
    # and when one part works, that is delivered
    assert ("predis_host_memory_bytes", ("total",)) in collect(plugin)


def test_without_a_cache_process_that_is_all_there_is_to_say(plugin: HostMetrics, collect: Collect) -> None:
    values = {key: value for key, value in collect(plugin).items() if key[0].startswith("predis_cache_process")}
    assert values == {("predis_cache_process_up", ()): 0}


def test_the_cache_process_is_found_by_its_pid_file_and_missed_when_it_ends(
    plugin: HostMetrics, host: Host, collect: Collect, sleeper: subprocess.Popen[bytes]
) -> None:
    (host.data_dir / "cache.pid").write_text(f"{sleeper.pid}\n")
    values = wait_until(
        lambda: found if (found := collect(plugin))["predis_cache_process_up", ()] else None,
        what="the process under its new command line",
    )
    process = psutil.Process(sleeper.pid)
    assert values["predis_cache_process_threads", ()] == process.num_threads()
    assert values["predis_cache_process_open_fds", ()] == process.num_fds()
    assert values["predis_cache_process_memory_bytes", ("resident",)] > 1e6  # type: ignore[operator]
    assert ("predis_cache_process_cpu_seconds_total", ("user",)) in values
    sleeper.kill()
    sleeper.wait()
    assert collect(plugin)["predis_cache_process_up", ()] == 0


def test_a_stale_pid_file_does_not_make_somebody_elses_process_the_cache(tmp_path: Path) -> None:
    pid_file = tmp_path / "cache.pid"
    pid_file.write_text(str(os.getpid()))
    samples = list(CacheProcess(pid_file, marker="no such word in pytest's command line").samples())
    assert [(sample.name, sample.value) for sample in samples] == [("predis_cache_process_up", 0)]


@pytest.mark.parametrize("text", ["", "no number", "99999999999", "-1"])
def test_a_broken_pid_file_is_no_process(tmp_path: Path, text: str) -> None:
    pid_file = tmp_path / "cache.pid"
    pid_file.write_text(text)
    assert [sample.value for sample in CacheProcess(pid_file).samples()] == [0]
