"""The systemd unit: what the agent relies on stands in it, and systemd itself accepts it."""

import re
import shutil
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent.parent / "packaging"
UNIT = FOLDER / "predis-agent.service"


def keys() -> dict[str, list[str]]:
    """All assignments of the unit, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("WatchdogSec", "30s"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "78"),
        ("KillMode", "process"),  # or the cache would die with the agent
        ("NotifyAccess", "main"),
        ("StateDirectory", "predis"),
        ("ConfigurationDirectoryMode", "0750"),  # as README.md makes it: secrets may stand there
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("PrivateTmp", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RemoveIPC", "no"),  # or the arena would go with the last process of the user
        ("UMask", "0077"),
    ],
)
def test_the_unit_says_what_the_agent_relies_on(key: str, value: str) -> None:
    assert keys()[key] == [value]


def test_it_reloads_by_notification_and_falls_back_where_systemd_is_older() -> None:
    assert keys()["Type"] == ["notify", "notify-reload"]


def test_the_watchdog_waits_longer_than_the_loops_may_be_late() -> None:
    from agent.service import LIMITS

    assert all(limit < 30 for limit in LIMITS.values())


def test_the_stop_has_time_to_drain() -> None:
    from agent.collection import STOP_TIMEOUT as PLUGINS
    from agent.service import RELOAD_TIMEOUT as RELOAD
    from agent.service import STOP_TIMEOUT as CACHE

    assert int(keys()["TimeoutStopSec"][0].removesuffix("s")) >= RELOAD + PLUGINS + 1 + CACHE


def test_shared_memory_stays_usable_and_sockets_are_limited() -> None:
    assert "/dev/shm" in keys()["ReadWritePaths"][0].split()
    families = set(keys()["RestrictAddressFamilies"][0].split())
    assert families == {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
    assert keys()["SystemCallFilter"] == ["@system-service", "~@privileged"]


def test_the_credential_is_an_example_only() -> None:
    assert "LoadCredential" not in keys()
    assert "#LoadCredential=" in UNIT.read_text()


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        warnings.warn("systemd-analyze is not installed: the unit is not verified", stacklevel=1)
        pytest.skip("needs systemd-analyze")
    # The program that the unit starts is not installed here; Python is.
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text(), flags=re.MULTILINE)
    copy = tmp_path / UNIT.name
    copy.write_text(text)

    done = subprocess.run([program, "verify", "--man=no", copy], capture_output=True, text=True, timeout=60)

    version = int(re.search(r"systemd (\d+)", subprocess.check_output([program, "--version"], text=True))[1])  # type: ignore[index]
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    if version < 253:
        complaints = [line for line in complaints if "notify-reload" not in line]
    assert complaints == []


def test_the_readme_names_what_is_there() -> None:
    text = (FOLDER / "README.md").read_text()
    assert UNIT.name in text
    for path in ("/var/lib/predis", "/etc/predis/agent.toml", "/dev/shm"):
        assert path in text
        assert path.split("/")[-1] in UNIT.read_text()
