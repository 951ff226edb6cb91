"""Who may attach is who may read the arena's file: its owner and, if one is named, the members of a group."""

import grp
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import core_cache
from tests import servers

STRANGER = 54321  # a user that nobody is


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may pass through, as pytest's are not."""
    if os.geteuid() != 0:
        warnings.warn("only root can become another user: access by file permission is not tested", stacklevel=1)
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp(prefix="predis-group-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    servers.remove_arenas()
    shutil.rmtree(folder)


def as_stranger(group: int, action: Callable[[], object]) -> str:
    """What action gives in a process of another user with that group, or the name of its exception, as text."""
    into, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([group])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            text = str(action())
        except (OSError, core_cache.ArenaError) as error:
            text = f"{type(error).__name__}: {error}"
        os.write(out, text.encode())
        os._exit(0)
    os.close(out)
    with open(into) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def modes(server: servers.Server) -> list[int]:
    arena = (server.data_dir / "cache.arena").resolve()
    return [path.stat().st_mode & 0o777 for path in (arena, arena.with_suffix(".readers"), server.data_dir)]


def test_members_of_the_readers_group_may_attach_and_others_may_not(place: Path) -> None:
    group = grp.getgrnam("games")
    server = servers.start_cache(place, "--no-auth", "--readers-group", group.gr_name)
    with server.client() as client:
        client.command("SET", "key", "value")
    arena = (server.data_dir / "cache.arena").resolve()

    def read() -> str:
        reader = core_cache.attach(server.data_dir)
        return f"{reader.get('key')!r} {reader.counted}"

    try:
        assert modes(server) == [0o640, 0o660, 0o710]
        assert as_stranger(group.gr_gid, read) == "b'value' True"
        assert as_stranger(group.gr_gid, lambda: arena.open("r+b")).startswith("PermissionError")
        assert as_stranger(group.gr_gid, lambda: os.listdir(server.data_dir)).startswith("PermissionError")
        assert as_stranger(STRANGER, read).startswith("ArenaError: cannot open the arena")
        # When the next life of the cache names no group
        server.stop(signal.SIGKILL)
        server = servers.start_cache(place, "--no-auth")
        assert modes(server)[:2] == [0o600, 0o600]
        assert as_stranger(group.gr_gid, read).startswith("ArenaError: cannot open the arena")
        assert core_cache.attach(server.data_dir).get("key") == b"value"
    finally:
        server.stop()


def test_a_group_that_is_none_is_refused(tmp_path: Path) -> None:
    server = servers.start_cache(tmp_path, "--readers-group", "no-such-group", wait=False)
    assert server.process.wait(20) == 1
    assert "There is no group no-such-group: create it, or set another --readers-group" in server.log_text()
