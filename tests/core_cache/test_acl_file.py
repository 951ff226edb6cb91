"""The file of users: what is read, what is refused and why, and how it is written."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.core_cache.raw_resp import RawClient
from tests.servers import Server
from tests.waiting import wait_until

HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"  # of "password"
GOOD = f"""
user ann on #{HASH} ~a* resetchannels -@all +@read
user bob off nopass sanitize-payload %R~b* resetchannels &b* -@all +get (~c resetchannels -@all +set)

user default on nopass sanitize-payload ~* &* +@all
"""
BAD = [
    "nonsense",
    "user",
    "User ann on",
    "user ann nonsense nonsense +nonsense",
    "user a (b c\nuser x (",
    "user ann (+nonsense +get) ~a",
    "user ann on\nuser ann off",
    "user default on\nuser default on",
    "user ann nonsense",
    "user ann +nonsense -@nonsense ~* ~x",
    "user ann on\n\n\nuser bob #x\n\tuser \n",
    "user ann (+get ~x",
    "user ann (+get nonsense)",
    "user ann ~* &* &x",
    "user ann  on  nopass  ",
    "# a comment",
    "user a\tb on",
    "user ann on\nbad\nuser bob bad\n",
]


@pytest.fixture
def acl_file(tmp_path: Path) -> Path:
    return write(tmp_path / "users.acl", GOOD)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def cache(tmp_path: Path, acl_file: Path) -> Iterator[Server]:
    server = servers.start_cache(tmp_path, "--no-auth", "--acl-file", str(acl_file))
    yield server
    server.stop()


def test_the_users_of_the_file_are_there_from_the_start(cache: Server, acl_file: Path) -> None:
    client = RawClient(cache.port)
    listed = [line.decode() for line in client.value(b"ACL", b"LIST")]
    assert sorted(listed) == sorted(line for line in GOOD.splitlines() if line)
    assert client.value(b"CONFIG", b"GET", b"aclfile") == [b"aclfile", str(acl_file).encode()]
    assert client.value(b"AUTH", b"ann", b"password") == b"OK"
    assert client.value(b"GET", b"a1") is None
    assert str(client.value(b"GET", b"b1")).startswith("-NOPERM")


def test_saved_users_are_found_again(cache: Server, acl_file: Path) -> None:
    client = RawClient(cache.port)
    acl_file.chmod(0o400)
    assert client.value(b"ACL", b"SETUSER", b"carl", b"on", b">secret", b"(+get ~c)", b"+select|0", b"~x") == b"OK"
    before = client.value(b"ACL", b"LIST")
    assert client.value(b"ACL", b"SAVE") == b"OK"
    assert acl_file.stat().st_mode & 0o7777 == 0o600
    assert acl_file.read_text().splitlines() == [line.decode() for line in before]
    assert "secret" not in acl_file.read_text()
    assert [path.name for path in acl_file.parent.glob("users.acl*")] == ["users.acl"]
    assert client.value(b"ACL", b"SETUSER", b"dora", b"on") == b"OK"
    assert client.value(b"ACL", b"LOAD") == b"OK"
    assert client.value(b"ACL", b"LIST") == before


def test_a_pattern_for_all_keys_among_others_is_saved_so_that_it_can_be_read(cache: Server, acl_file: Path) -> None:
    # redis-server 7.0 saves "~a* ~* ~b*" here, and does not start with that file
    client = RawClient(cache.port)
    acl_file.chmod(0o600)
    assert client.value(b"ACL", b"SETUSER", b"carl", b"~a*", b"%R~*", b"%W~*", b"~b*") == b"OK"
    before = client.value(b"ACL", b"LIST")
    assert b"user carl off ~a* ~* ~b* resetchannels -@all" in before
    assert client.value(b"ACL", b"SAVE") == b"OK"
    assert client.value(b"ACL", b"LOAD") == b"OK"
    assert client.value(b"ACL", b"LIST") == before


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write(folder / "users.acl", GOOD)
    server = servers.start_cache(tmp_path, "--no-auth", "--acl-file", str(path))
    try:
        client = RawClient(server.port)
        path.unlink()
        folder.rmdir()
        problem = "-ERR There was an error trying to save the ACLs. Please check the server logs for more information"
        assert client.value(b"ACL", b"SAVE") == problem
        assert client.value(b"ACL", b"USERS") == [b"ann", b"bob", b"default"]
        wait_until(lambda: "users cannot be saved" in server.log_text(), 5, "the reason in the log")
        assert re.search(r"users\.acl\.tmp-\d+ failed: No such file", server.log_text())
    finally:
        server.stop()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666, 0o777, 0o610])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, acl_file: Path, mode: int) -> None:
    acl_file.chmod(mode)
    server = servers.start_cache(tmp_path, "--no-auth", "--acl-file", str(acl_file), wait=False)
    assert server.process.wait(20) == 1
    assert f"The ACL file {acl_file} can be used by others (its mode is {mode:04o}): " in server.log_text()
    assert "chmod 600" in server.log_text()
    assert "Traceback" not in server.log_text()


def test_a_file_that_has_become_readable_is_not_loaded(cache: Server, acl_file: Path) -> None:
    client = RawClient(cache.port)
    acl_file.chmod(0o644)
    assert str(client.value(b"ACL", b"LOAD")).startswith(f"-ERR The ACL file {acl_file} can be used by others")
    assert client.value(b"ACL", b"USERS") == [b"ann", b"bob", b"default"]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(mode=0o700), "it is no regular file"),
        (lambda path: os.mkfifo(path, 0o600), "it is no regular file"),
        (lambda path: write(path, "user ann nonsense\n"), "users.other:1: Syntax error. WARNING: ACL errors detected"),
    ],
    ids=["missing", "folder", "pipe", "bad rule"],
)
def test_what_is_no_file_of_users_ends_the_start_with_a_sentence(
    tmp_path: Path, make: Callable[[Path], object], problem: str
) -> None:
    path = tmp_path / "users.other"
    make(path)
    server = servers.start_cache(tmp_path, "--no-auth", "--acl-file", str(path), wait=False)
    assert server.process.wait(20) == 1
    assert problem in server.log_text()
    assert str(path) in server.log_text()
    assert "Traceback" not in server.log_text()


def test_a_file_without_the_default_user_leaves_its_password(tmp_path: Path) -> None:
    """Redis would let everybody in."""
    path = write(tmp_path / "users.acl", "user ann on nopass +@all ~*\n")
    server = servers.start_cache(tmp_path, "--acl-file", str(path))
    try:
        client = RawClient(server.port)
        assert client.value(b"PING") == "-NOAUTH Authentication required."
        assert server.password is not None
        assert client.value(b"AUTH", server.password.encode()) == b"OK"
        assert client.value(b"ACL", b"LOAD") == b"OK"
        assert client.value(b"PING") == b"PONG"
        assert RawClient(server.port).value(b"PING") == "-NOAUTH Authentication required."
    finally:
        server.stop()


def test_loading_is_all_or_nothing_and_tells_what_redis_tells(tmp_path: Path, acl_file: Path, cache: Server) -> None:
    """Bad files, one after the other, in both servers: the same errors (the path aside), and the users stay."""
    theirs = write(tmp_path / "redis.acl", GOOD)
    folder = tmp_path / "redis"
    folder.mkdir()
    redis = servers.start_redis(folder, "--aclfile", str(theirs))
    try:
        clients = RawClient(redis.port), RawClient(cache.port)
        before = clients[1].value(b"ACL", b"LIST")
        for text in [*BAD, *(bad + "\n" + GOOD for bad in BAD)]:
            write(theirs, text)
            write(acl_file, text)
            answers = [client.command(b"ACL", b"LOAD").replace(b"redis.acl", b"users.acl") for client in clients]
            assert answers[0] == answers[1], text
            if answers[1].startswith(b"-"):
                assert clients[1].value(b"ACL", b"LIST") == before
            else:
                write(theirs, GOOD)
                write(acl_file, GOOD)
                assert [client.command(b"ACL", b"LOAD") for client in clients] == [b"+OK\r\n"] * 2
    finally:
        redis.stop()


def test_loading_ends_the_connections_of_users_as_redis_does(tmp_path: Path, acl_file: Path, cache: Server) -> None:
    """All but the default user's, also of those who are in the file again; the one that asked gets its reply first."""
    folder = tmp_path / "redis"
    folder.mkdir()
    redis = servers.start_redis(folder, "--aclfile", str(write(tmp_path / "redis.acl", GOOD)))
    try:
        for port in (redis.port, cache.port):
            ann, default, admin = RawClient(port), RawClient(port), RawClient(port)
            assert ann.value(b"AUTH", b"ann", b"password") == b"OK"
            assert admin.value(b"ACL", b"SETUSER", b"root", b"on", b"nopass", b"+@all") == b"OK"
            assert admin.value(b"AUTH", b"root", b"x") == b"OK"
            assert admin.command(b"ACL", b"LOAD") == b"+OK\r\n"
            assert admin.read_to_end() == b""
            assert ann.read_to_end() == b""
            assert default.value(b"PING") == b"PONG"
            assert default.value(b"ACL", b"USERS") == [b"ann", b"bob", b"default"]
    finally:
        redis.stop()
