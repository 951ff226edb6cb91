"""What `make setup` and `make peers` do on machines that lack something, played with stand-ins for apt and friends."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import ROOT

SCRIPTS = ROOT / "packaging"
BASIC = ("sh", "env", "grep", "sed", "tr", "dirname", "cat", "mktemp", "rm", "tail", "tee", "chmod", "printf", "touch")
BASIC += ("cmp", "cp", "mkdir")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs that is the whole PATH: a plain user's Debian on which no package is installed."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in BASIC:
        found = shutil.which(name)
        assert found is not None, f"{name} is not installed"
        (programs / name).symlink_to(found)
    pretend(programs, "dpkg-query", "exit 1")
    pretend(programs, "id", "echo 1000")
    pretend(programs, "apt-get", f'echo "$@" >> {tmp_path}/apt.log; exit 0')
    return programs


def pretend(programs: Path, name: str, does: str) -> None:
    script = programs / name
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)


def run(machine: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(machine / "sh"), str(SCRIPTS / script), *arguments]
    variables = {"PATH": str(machine), **environment}
    return subprocess.run(command, env=variables, cwd=machine.parent, capture_output=True, text=True, timeout=60)


def test_a_plain_user_is_told_what_to_install_in_one_sentence(machine: Path) -> None:
    done = run(machine, "install-packages.sh", "the build of Predis", "g++", "python3-dev")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "Predis: no right to install packages here: install g++ python3-dev yourself (the build of Predis), "
        "for example with: sudo apt-get install g++ python3-dev\n"
    )
    assert not (machine.parent / "apt.log").exists()


def test_a_sudo_that_asks_for_a_password_is_not_used(machine: Path) -> None:
    pretend(machine, "sudo", "exit 1")
    assert run(machine, "install-packages.sh", "x", "g++").returncode == 1
    assert not (machine.parent / "apt.log").exists()


def test_another_distribution_is_told_so(machine: Path) -> None:
    (machine / "apt-get").unlink()
    assert "this is no Debian system: install g++ yourself" in run(machine, "install-packages.sh", "x", "g++").stderr


def test_what_is_installed_is_not_installed_again(machine: Path) -> None:
    pretend(machine, "dpkg-query", "echo install ok installed")
    assert run(machine, "install-packages.sh", "x", "g++").returncode == 0
    assert not (machine.parent / "apt.log").exists()


def test_missing_peers_are_told_loudly_and_stop_nothing(machine: Path) -> None:
    pretend(machine, "redis-server", "exit 0")
    done = run(machine, "peers.sh")
    assert done.returncode == 0
    assert "WARNING: the tests against redis-tools prometheus nodejs npm will be SKIPPED" in done.stderr


def all_peers(machine: Path) -> None:
    for name in ("redis-server", "redis-benchmark", "redis-cli", "prometheus", "promtool", "node"):
        pretend(machine, name, "exit 0")
    (machine / "apt-get").unlink()


def test_peers_that_are_there_need_no_package_manager(machine: Path) -> None:
    all_peers(machine)
    pretend(machine, "npm", f'echo "$@" >> {machine.parent}/npm.log')
    folder = machine.parent / "clients"
    first = run(machine, "peers.sh", NPM_FOLDER=str(folder))
    assert (first.returncode, first.stderr) == (0, "")
    assert "Installing the npm packages" in first.stdout
    assert (folder / "package.json").read_text() == (ROOT / "tests/core_cache/clients/package.json").read_text()
    assert (machine.parent / "npm.log").read_text().startswith(f"install --prefix {folder} ")
    second = run(machine, "peers.sh", NPM_FOLDER=str(folder))
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_without_npms_registry_the_clients_are_told_to_be_skipped(machine: Path) -> None:
    all_peers(machine)
    pretend(machine, "npm", "echo no route to the registry; exit 1")
    for _ in range(2):  # it tries again the next time
        done = run(machine, "peers.sh", NPM_FOLDER=str(machine.parent / "clients"))
        assert done.returncode == 0
        assert "no route to the registry" in done.stderr
        assert (
            "WARNING: npm could not install them: the tests with node-redis and ioredis will be SKIPPED" in done.stderr
        )


def test_without_python_all_that_the_build_needs_is_named_at_once(machine: Path) -> None:
    done = run(machine, "setup.sh", "venv")
    assert done.returncode == 1
    assert done.stderr.endswith("sudo apt-get install python3 python3-venv python3-dev g++\n")


def test_a_named_python_that_is_too_old_is_refused(machine: Path) -> None:
    pretend(machine, "python3.9", "exit 1")
    done = run(machine, "setup.sh", "venv", PYTHON="python3.9")
    assert done.stderr == "Predis: PYTHON=python3.9 is not a Python 3.11 or newer.\n"


def test_services_are_held_back_while_packages_are_installed_and_only_then(machine: Path) -> None:
    policy = machine.parent / "policy-rc.d"
    pretend(machine, "id", "echo 0")
    pretend(machine, "apt-get", f"{policy}; echo $? > {machine.parent}/seen; exit 0")
    assert run(machine, "install-packages.sh", "x", "redis-server", POLICY_RC_D=str(policy)).returncode == 0
    assert (machine.parent / "seen").read_text() == "101\n"
    assert not policy.exists()


def test_the_hold_ends_when_the_installation_fails_and_a_policy_of_the_machine_stays(machine: Path) -> None:
    policy = machine.parent / "policy-rc.d"
    pretend(machine, "id", "echo 0")
    pretend(machine, "apt-get", "echo no route to the mirror; exit 100")
    done = run(machine, "install-packages.sh", "x", "redis-server", POLICY_RC_D=str(policy))
    assert done.returncode == 1
    assert "no route to the mirror" in done.stderr
    assert "apt-get could not install them: install redis-server yourself" in done.stderr
    assert not policy.exists()
    pretend(machine, "policy-rc.d", "exit 0")
    run(machine, "install-packages.sh", "x", "redis-server", POLICY_RC_D=str(machine / "policy-rc.d"))
    assert (machine / "policy-rc.d").exists()
