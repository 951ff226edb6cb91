"""Snapshots: a reboot is played by removing the arena; what is cut, changed or foreign is refused as a whole."""

import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core_cache import _native
from core_cache.resp_client import RespClient, ServerError
from tests import servers
from tests.waiting import PATIENCE, wait_until

ID = bytes(range(16))
MIB = 1024 * 1024
BLOCK_HEAD, FILE_HEAD, END_MARK = 32, 64, 40


def engine(folder: Path, memory: int = 32 * MIB) -> _native.Engine:
    return _native.Engine(str(folder / "arena"), memory, "s3fifo")


def run(cache: _native.Engine, *commands: tuple[object, ...]) -> bytes:
    """The replies, as they come."""
    connection = _native.Connection(cache)
    data = b""
    for command in commands:
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        data += b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return connection.feed(data)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[_native.Engine]:
    """An engine with keys of every type and size."""
    cache = engine(tmp_path)
    for i in range(3000):
        run(cache, ("SET", f"key:{i}", f"{i}." * (i % 300)))
    run(cache, ("SET", b"\0binary\xff", b"\r\n\0"), ("SET", "large", "x" * 3 * MIB), ("SET", "k" * 70_000, "long key"))
    run(cache, ("SET", "soon", "1", "PX", 100_000), ("SET", "empty", ""), ("APPEND", "raw", "123"), ("INCR", "number"))
    run(cache, ("HSET", "hash", "a", 1, "b", 2), ("HDEL", "hash", "a"), ("SADD", "set", "x", "y"))
    for i in range(2000):
        run(cache, ("HSET", "large hash", f"field:{i}", f"value:{i}"))
    yield cache
    cache.close()


def contents(cache: _native.Engine) -> dict[bytes, bytes]:
    """What a client sees of each key."""
    reply = run(cache, ("KEYS", "*"))
    lines = reply.split(b"\r\n")
    assert int(lines[0][1:]) == cache.keys
    seen = {}
    at = reply.index(b"\r\n") + 2
    for _ in range(cache.keys):
        end = reply.index(b"\r\n", at)
        size = int(reply[at + 1 : end])
        key = reply[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
        kind = run(cache, ("TYPE", key))
        read = {b"+string\r\n": ("GET", key), b"+hash\r\n": ("HGETALL", key), b"+set\r\n": ("SMEMBERS", key)}[kind]
        seen[key] = kind + run(cache, ("OBJECT", "ENCODING", key), read)
    return seen


def test_everything_comes_back(full: _native.Engine, tmp_path: Path) -> None:
    path, before = tmp_path / "snapshot", contents(full)
    entries, size, skipped = _native.write_snapshot(str(tmp_path / "arena"), str(path), ID, 0)
    assert (entries, skipped) == (full.keys, 0)
    assert size == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert not Path(f"{path}.new").exists()
    ttl = int(run(full, ("PTTL", "soon"))[1:])

    other = tmp_path / "other"
    other.mkdir()
    cache = engine(other)
    assert cache.fresh
    assert cache.load_snapshot(str(path), ID) == (entries, size, 0)
    assert contents(cache) == before
    assert ttl - 5000 < int(run(cache, ("PTTL", "soon"))[1:]) <= ttl
    assert run(cache, ("HSET", "hash", "c", 3), ("HLEN", "hash")) == b":1\r\n:2\r\n"  # collections go on
    cache.close()
    # and they survive a restart of the new arena, whose checksums are its own
    cache = engine(other)
    assert not cache.fresh
    assert cache.keys == entries
    assert run(cache, ("HLEN", "large hash")) == b":2000\r\n"
    cache.close()


def test_what_has_expired_stays_out(tmp_path: Path) -> None:
    cache = engine(tmp_path)
    run(cache, ("SET", "stays", 1), ("SET", "goes", 1, "PX", 200), ("SET", "gone", 1, "PX", 1))
    time.sleep(0.01)
    path = tmp_path / "snapshot"
    entries, _, skipped = _native.write_snapshot(str(tmp_path / "arena"), str(path), ID, 0)
    assert (entries, skipped) == (2, 1)
    cache.close()
    time.sleep(0.3)
    other = tmp_path / "other"
    other.mkdir()
    cache = engine(other)
    assert cache.load_snapshot(str(path), ID)[::2] == (1, 1)
    cache.close()


def block_ends(data: bytes) -> list[int]:
    ends, at = [FILE_HEAD], FILE_HEAD
    while at + END_MARK < len(data):
        at += BLOCK_HEAD + struct.unpack_from("<Q", data, at + 16)[0]
        ends.append(at)
    assert at + END_MARK == len(data)
    return ends


def refusal(data: bytes, folder: Path, cache_id: bytes = ID) -> str:
    """Why an engine does not load this; nothing of it may be taken."""
    path = folder / "damaged"
    path.write_bytes(data)
    cache = engine(folder, 8 * MIB)
    try:
        with pytest.raises(_native.SnapshotError) as refused:
            cache.load_snapshot(str(path), cache_id)
        assert cache.keys == 0
    finally:
        cache.close()
    return str(refused.value)


@pytest.fixture
def small(tmp_path: Path) -> bytes:
    """A snapshot of a few blocks."""
    source = tmp_path / "source"
    source.mkdir()
    cache = engine(source, 16 * MIB)
    for i in range(40):
        run(cache, ("SET", f"key:{i}", random.Random(i).randbytes(100_000)), ("HSET", f"hash:{i}", "a", i))
    _native.write_snapshot(str(source / "arena"), str(source / "snapshot"), ID, 0)
    cache.close()
    return (source / "snapshot").read_bytes()


def test_a_file_cut_short_is_refused(small: bytes, tmp_path: Path) -> None:
    ends = block_ends(small)
    assert len(ends) > 3
    cuts = {0, 1, 8, FILE_HEAD - 1, len(small) - 1, len(small) - END_MARK + 4}
    cuts |= {end + shift for end in ends for shift in (-1, 0, 1, BLOCK_HEAD)}
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(small)):
        said = refusal(small[:cut], tmp_path)
        assert str(tmp_path / "damaged") in said


def test_any_bit_that_changed_is_noticed(small: bytes, tmp_path: Path) -> None:
    dice = random.Random(1)
    places = [dice.randrange(len(small) * 8) for _ in range(150)]
    heads = [start + i for start in [0, *block_ends(small)] for i in range(40) if start + i < len(small)]
    places += [place * 8 + dice.randrange(8) for place in heads]
    for place in places:
        data = bytearray(small)
        data[place // 8] ^= 1 << place % 8
        refusal(bytes(data), tmp_path)


def test_blocks_in_another_order_or_number_are_refused(small: bytes, tmp_path: Path) -> None:
    ends = block_ends(small)
    first, second, rest = small[ends[0] : ends[1]], small[ends[1] : ends[2]], small[ends[2] :]
    for body in (second + first + rest, first + rest, first + first + second + rest, first + second + rest + b"\0"):
        refusal(small[:FILE_HEAD] + body, tmp_path)


def test_what_is_of_another_cache_or_no_snapshot_is_refused(small: bytes, tmp_path: Path) -> None:
    assert "another cache" in refusal(small, tmp_path, bytes(16))
    assert "is no snapshot" in refusal(b"REDIS0011" + b"\0" * 100, tmp_path)
    assert "is empty" in refusal(b"", tmp_path)
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "damaged")
    cache = engine(tmp_path, 8 * MIB)
    with pytest.raises(_native.SnapshotError, match="cannot be opened"):
        cache.load_snapshot(str(path), ID)
    cache.close()


def test_the_rate_is_kept(full: _native.Engine, tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    began = time.monotonic()
    _, size, _ = _native.write_snapshot(str(tmp_path / "arena"), str(path), ID, 2 * MIB)
    took = time.monotonic() - began
    assert size > 3 * MIB
    assert size / (2 * MIB) - 0.2 < took < size / (2 * MIB) + 2


def test_all_keys_removed_meanwhile_begins_anew(full: _native.Engine, tmp_path: Path) -> None:
    results: list[object] = []

    def write() -> None:
        try:
            results.append(_native.write_snapshot(str(tmp_path / "arena"), str(tmp_path / "snapshot"), ID, 2 * MIB))
        except (_native.SnapshotError, _native.ArenaError) as error:
            results.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: Path(f"{tmp_path}/snapshot.new").exists(), what="the snapshot's begin")
    run(full, ("FLUSHALL",), ("SET", "new", 1))
    writer.join(30)
    (result,) = results
    if PATIENCE > 1 and isinstance(result, _native.ArenaError):
        pytest.skip(f"a sanitized engine takes longer to remove all keys than a snapshot waits for it: {result}")
    assert isinstance(result, tuple)
    assert result[0] == 1  # not one that was removed


# --- the process


class Cache:
    """A cache process that makes snapshots, and the reboots of its machine."""

    def __init__(self, folder: Path, *options: str, memory: str = "64MiB") -> None:
        self.folder, self.options, self.memory = folder, ("--snapshot", *options), memory
        self.server = servers.start_cache(folder, *self.options, memory=memory)
        self.snapshot = self.server.data_dir / "cache.snapshot"

    def command(self, *arguments: object) -> Any:
        with self.server.client(timeout=60) as client:
            return client.command(*map(str, arguments))

    def persistence(self) -> dict[str, str]:
        text = self.command("INFO", "persistence")
        return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)

    def save(self) -> dict[str, str]:
        assert self.command("BGSAVE") == "Background saving started"
        wait_until(lambda: self.persistence()["rdb_bgsave_in_progress"] == "0", 60, "the snapshot's end")
        return self.persistence()

    def start(self) -> None:
        self.server = servers.start_cache(self.folder, *self.options, memory=self.memory, port=self.server.port)

    def reboot(self, *, graceful: bool = False) -> None:
        self.server.stop() if graceful else (self.server.process.kill(), self.server.process.wait())
        (self.server.data_dir / "cache.arena").resolve().unlink()
        self.start()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """Snapshots are made when they are asked for: the interval is an hour."""
    cache = Cache(tmp_path)
    yield cache
    cache.server.stop()


def test_a_reboot(cache: Cache) -> None:
    cache.command("SET", "key", "value")
    cache.command("HSET", "hash", "a", "1")
    before = cache.persistence()
    assert before["rdb_last_bgsave_time_sec"] == "-1"
    assert int(before["rdb_changes_since_last_save"]) >= 2
    assert int(cache.command("LASTSAVE")) <= time.time()
    fields = cache.save()
    assert (fields["rdb_last_bgsave_status"], fields["rdb_saves"], fields["snapshot_keys"]) == ("ok", "1", "2")
    assert fields["rdb_changes_since_last_save"] == "0"
    assert abs(int(cache.command("LASTSAVE")) - time.time()) < 10
    assert int(fields["snapshot_bytes"]) == cache.snapshot.stat().st_size
    cache.command("SET", "later", "lost")

    cache.reboot()

    assert cache.command("GET", "key") == b"value"
    assert cache.command("HGETALL", "hash") == [b"a", b"1"]
    assert cache.command("GET", "later") is None
    fields = cache.persistence()
    assert (fields["snapshots_loaded"], fields["rdb_last_load_keys_loaded"]) == ("1", "2")
    assert abs(int(cache.command("LASTSAVE")) - time.time()) < 60


def test_an_arena_that_is_there_counts_more_than_the_snapshot(cache: Cache) -> None:
    cache.command("SET", "key", "old")
    cache.save()
    cache.command("SET", "key", "new")
    cache.server.process.kill()
    cache.server.process.wait()
    cache.start()
    assert cache.command("GET", "key") == b"new"
    cache.command("FLUSHALL")
    cache.server.stop()
    cache.start()
    assert cache.command("DBSIZE") == 0


def test_one_that_is_no_good_is_refused_and_the_cache_starts_empty(cache: Cache) -> None:
    cache.command("SET", "key", "value")
    cache.save()
    with cache.snapshot.open("r+b") as file:
        file.seek(124)
        file.write(b"\xff\xff")
    cache.reboot()
    assert cache.command("DBSIZE") == 0
    assert cache.persistence()["snapshots_refused"] == "1"
    assert "the cache starts empty: the snapshot" in cache.server.log_text()
    assert "is damaged 64 bytes from its beginning" in cache.server.log_text()


def test_another_caches_snapshot_is_neither_loaded_nor_written_over(cache: Cache, tmp_path: Path) -> None:
    cache.command("SET", "key", "value")
    cache.save()
    before = cache.snapshot.read_bytes()
    folder = tmp_path / "other"
    folder.mkdir()
    other = Cache(folder, f"--snapshot-path={cache.snapshot}")
    try:
        assert other.command("DBSIZE") == 0
        assert "was made for another cache" in other.server.log_text()
        with pytest.raises(ServerError, match="is a snapshot of another cache"):
            other.command("BGSAVE")
        assert other.persistence()["rdb_last_bgsave_status"] == "err"
    finally:
        other.server.stop()
    assert cache.snapshot.read_bytes() == before


def test_save_and_the_errors_of_redis(cache: Cache) -> None:
    cache.command("SET", "key", "value")
    assert cache.command("SAVE") == "OK"
    assert cache.persistence()["rdb_saves"] == "1"
    with pytest.raises(ServerError, match=r"^ERR syntax error$"):
        cache.command("BGSAVE", "x")
    with pytest.raises(ServerError, match="wrong number of arguments for 'save'"):
        cache.command("SAVE", "x")
    assert cache.command("BGSAVE", "SCHEDULE") == "Background saving started"
    wait_until(lambda: cache.persistence()["rdb_saves"] == "2", 30, "the second one")


def test_one_at_a_time_and_a_killed_writer_is_a_failure(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "--snapshot-max-rate=1MiB")
    try:
        for i in range(10):
            cache.command("SET", f"key:{i}", "x" * MIB)
        cache.command("SAVE")
        before = cache.snapshot.read_bytes()
        cache.command("BGSAVE")
        for command in ("BGSAVE", "SAVE"):
            with pytest.raises(ServerError, match=r"^ERR Background save already in progress$"):
                cache.command(command)
        fresh = Path(f"{cache.snapshot}.new")
        wait_until(lambda: fresh.exists() and fresh.stat().st_size > MIB, 30, "a part of the file")
        children = Path(f"/proc/{cache.server.pid}/task/{cache.server.pid}/children").read_text().split()
        assert len(children) == 1
        nice = int(Path(f"/proc/{children[0]}/stat").read_text().rpartition(")")[2].split()[16])
        assert nice == min(os.nice(0) + 10, 19)
        os.kill(int(children[0]), 9)
        wait_until(lambda: cache.persistence()["rdb_last_bgsave_status"] == "err", 30, "the failure")
        assert cache.persistence()["snapshot_failures"] == "1"
        assert cache.snapshot.read_bytes() == before
        assert "was ended by SIGKILL" in cache.server.log_text()
    finally:
        cache.server.stop()


def test_stopping_gives_up_one_in_the_making(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "--snapshot-max-rate=64KiB")
    cache.command("SET", "key", "x" * 5 * MIB)
    cache.command("BGSAVE")
    fresh = Path(f"{cache.snapshot}.new")
    wait_until(fresh.exists, 30, "the file")
    began = time.monotonic()
    assert cache.server.stop() == 0
    assert time.monotonic() - began < 5
    assert not fresh.exists()
    assert not cache.snapshot.exists()


def test_they_are_made_when_due_and_at_the_end(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "--snapshot-interval=1", "--snapshot-on-shutdown")
    try:
        cache.command("SET", "key", "first")
        wait_until(lambda: int(cache.persistence()["rdb_saves"]) >= 2, 30, "two snapshots")
        cache.command("SET", "key", "last")
        cache.reboot(graceful=True)
        assert cache.command("GET", "key") == b"last"
    finally:
        cache.server.stop()


def test_a_full_disk_leaves_the_old_one(cache: Cache) -> None:
    cache.command("SET", "key", "value")
    cache.save()
    before = cache.snapshot.read_bytes()
    cache.command("SET", "large", "x" * 8 * MIB)
    resource.prlimit(cache.server.pid, resource.RLIMIT_FSIZE, (4 * MIB, 4 * MIB))  # as a disk that is full
    assert cache.command("BGSAVE") == "Background saving started"
    wait_until(lambda: cache.persistence()["rdb_last_bgsave_status"] == "err", 30, "the failure")
    assert cache.snapshot.read_bytes() == before
    assert not Path(f"{cache.snapshot}.new").exists()
    assert "no snapshot: " in cache.server.log_text()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can mount a small disk")
def test_a_disk_without_room_leaves_the_old_one(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)], check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        cache = Cache(tmp_path, f"--snapshot-path={disk / 'snapshot'}")
        try:
            cache.command("SET", "key", "value")
            cache.save()
            before = (disk / "snapshot").read_bytes()
            cache.command("SET", "large", "x" * 8 * MIB)
            assert cache.save()["rdb_last_bgsave_status"] == "err"
            assert "no space left on device" in cache.server.log_text().lower()
            assert (disk / "snapshot").read_bytes() == before
            assert os.listdir(disk) == ["snapshot"]
        finally:
            cache.server.stop()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_under_full_load_no_value_is_torn_or_foreign(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "--snapshot-max-rate=32MiB", memory="48MiB")
    stop, failures = threading.Event(), []
    written: list[int] = [0, 0]

    def write(number: int) -> None:
        dice = random.Random(number)
        try:
            with cache.server.client(timeout=60) as client:
                while not stop.is_set():
                    batch: list[tuple[object, ...]] = []
                    for _ in range(50):
                        key, version = f"{number}:{dice.randrange(20_000)}", dice.randrange(1 << 30)
                        batch.append(("SET", key, f"{key}|{version}|" + str(version) * dice.randrange(1, 200)))
                    batch.append(("HSET", f"h{number}:{dice.randrange(50)}", f"f{dice.randrange(99)}", f"h{number}"))
                    batch.append(("DEL", f"{number}:{dice.randrange(20_000)}"))
                    answers = client.pipeline(batch)  # type: ignore[arg-type]
                    failures.extend(str(answer) for answer in answers if isinstance(answer, ServerError))
                    written[number] += len(batch)
        except Exception as error:  # noqa: BLE001
            failures.append(repr(error))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    try:
        for writer in writers:
            writer.start()
        wait_until(lambda: min(written) > 5000, 60, "load")
        for _ in range(3):
            before = sum(written)
            assert cache.save()["rdb_last_bgsave_status"] == "ok", cache.server.log_text()
            wait_until(lambda before=before: sum(written) > before, 30, "load that goes on")
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    assert failures == []
    saved = int(cache.persistence()["snapshot_keys"])
    assert saved > 1000
    cache.reboot()
    try:
        assert int(cache.persistence()["rdb_last_load_keys_loaded"]) > saved * 0.9
        checked = 0
        with cache.server.client(timeout=60) as client:
            for key in list(client.command("KEYS", "*")):  # type: ignore[arg-type]
                assert isinstance(key, bytes)
                if key.startswith(b"h"):
                    fields = client.command("HGETALL", key)
                    assert isinstance(fields, list)
                    assert fields
                    assert set(fields[1::2]) == {key.partition(b":")[0]}
                else:
                    value = client.command("GET", key)
                    assert isinstance(value, bytes)
                    owner, version, rest = value.split(b"|")
                    assert owner == key
                    assert rest
                    assert rest.replace(version, b"") == b""
                checked += 1
        assert checked > 1000
    finally:
        cache.server.stop()


def test_a_folder_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    options = ["--port=0", f"--data-dir={tmp_path}", f"--arena-dir={tmp_path}", "--memory=8MiB", "--snapshot"]
    done = subprocess.run(
        [sys.executable, "-m", "core_cache", *options, f"--snapshot-path={tmp_path}/none/snapshot"],
        cwd=servers.ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "he snapshot's folder" in done.stderr


def test_an_upgrade_while_one_is_written(tmp_path: Path) -> None:
    from tests.core_cache.test_handoff import Generations

    cache = Generations(tmp_path, "--snapshot", "--snapshot-max-rate=256KiB")
    try:
        with cache.client() as client:
            client.command("SET", "key", "x" * 4 * MIB)
            client.command("BGSAVE")
        wait_until((cache.server.data_dir / "cache.snapshot.new").exists, 30, "the file")
        cache.upgrade()
        assert not (cache.server.data_dir / "cache.snapshot.new").exists()
        with RespClient(cache.server.unix_socket, cache.server.password) as client:
            assert client.command("STRLEN", "key") == 4 * MIB
            assert client.command("BGSAVE") == "Background saving started"
    finally:
        cache.server.stop()
