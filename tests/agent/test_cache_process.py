"""The cache process's files: its log, its lock, and the note of how it was started."""

from pathlib import Path

import pytest

from agent.cache import process as cache_process
from core_cache.resp_client import RespError
from tests.agent.supervised import Cache, cache

__all__ = ["cache"]


def test_a_long_log_is_kept_once_and_appending_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "cache.log"
    with log.open("ab") as writer:
        writer.write(b"old\n" * 500)
        writer.flush()
        cache_process.limit_log(log, limit=1000)
        writer.write(b"new\n")

    assert log.read_bytes() == b"new\n"
    old = tmp_path / "cache.log.1"
    assert old.read_bytes() == b"old\n" * 500
    assert old.stat().st_mode & 0o777 == 0o600


def test_a_short_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "cache.log"
    log.write_text("short\n")
    cache_process.limit_log(log, limit=1000)
    assert log.read_text() == "short\n"
    assert not (tmp_path / "cache.log.1").exists()


def test_last_words_are_those_of_this_process_alone(tmp_path: Path) -> None:
    log = tmp_path / "cache.log"
    log.write_text("from the one before\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.write("one\n\ntwo\nthree\n")

    assert cache_process.last_words(log, start, lines=2) == ["two", "three"]
    assert cache_process.last_words(log, start) == ["one", "two", "three"]
    assert cache_process.last_words(tmp_path / "none") == []


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "cache.lock"
    lock.touch()

    assert not cache_process.is_locked(lock)
    assert cache_process.find(lock) is None
    assert not cache_process.is_locked(tmp_path / "none")


def test_the_noted_arguments_of_another_process_count_for_nothing(cache: Cache) -> None:
    cache.files.write_arguments(17, cache.settings, 5)

    assert cache.files.read_arguments(17) == (cache.settings, 5)
    assert cache.files.arguments.stat().st_mode & 0o777 == 0o600
    assert cache.files.read_arguments(18) is None
    cache.files.arguments.write_text('{"pid": 18, "capacity": 1, "settings": {"shoe_size": 42}}')
    assert cache.files.read_arguments(18) is None
    with pytest.raises(RespError):
        cache.command("PING")
