"""The audit log: whole after a crash, and never whole again once somebody laid hands on it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import PredisError
from agent.incidents.audit import AuditLog, head_of, records, verify
from agent.incidents.audit_files import Limits, all_of


def write(path: Path, count: int = 6) -> AuditLog:
    """A log with so many records."""
    log = AuditLog(path, clock=lambda: 1000.0, sync=False)
    for number in range(count):
        log.append("acted", {"rule": "grow", "number": number})
    return log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "audit.jsonl"
    write(found).close()
    return found


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_log_that_nobody_touched_is_whole_and_private(path: Path) -> None:
    found = verify(path)
    assert (found.problems, found.records, found.pending) == ([], 6, False)
    assert [record["number"] for record in records(path)] == list(range(6))
    assert head_of(path).hash == found.hash
    for part in (path, path.with_suffix(".key"), path.with_suffix(".head")):
        assert part.stat().st_mode & 0o777 == 0o600


def test_it_goes_on_where_it_was(path: Path) -> None:
    log = AuditLog(path, sync=True)
    log.append("fired", {"rule": "é"})
    log.close()
    assert verify(path).problems == []
    assert verify(path).records == 7


@pytest.mark.parametrize("number", range(6))
def test_a_changed_record_is_found(path: Path, number: int) -> None:
    found = lines(path)
    found[number] = found[number].replace(b'"number":%d' % number, b'"number":7')
    path.write_bytes(b"".join(found))
    assert len(verify(path).problems) == 1


@pytest.mark.parametrize("number", range(6))
def test_a_deleted_record_is_found(path: Path, number: int) -> None:
    found = lines(path)
    del found[number]
    path.write_bytes(b"".join(found))
    checked = verify(path)
    # the very last one stands in the head, as after a crash, and is put back from there
    assert checked.problems or (number == 5 and checked.pending)


@pytest.mark.parametrize("number", range(7))
def test_an_inserted_record_is_found(path: Path, number: int) -> None:
    found = lines(path)
    previous = b"0" * 64 if number == 0 else None
    forged = json.loads(found[min(number, 5)])
    if previous is None:
        import hashlib

        forged["prev"] = hashlib.sha256(found[number - 1][:-1]).hexdigest()
    found.insert(number, json.dumps(forged, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    path.write_bytes(b"".join(found))
    assert verify(path).problems


@pytest.mark.parametrize("number", range(5))
def test_reordered_records_are_found(path: Path, number: int) -> None:
    found = lines(path)
    found[number], found[number + 1] = found[number + 1], found[number]
    path.write_bytes(b"".join(found))
    assert verify(path).problems


@pytest.mark.parametrize("kept", range(5))
def test_a_truncated_end_is_found_and_stays_found_though_the_log_goes_on(path: Path, kept: int) -> None:
    path.write_bytes(b"".join(lines(path)[:kept]))
    assert "the end was cut off" in verify(path).problems[0]
    log = AuditLog(path, sync=False)
    log.append("fired", {})
    log.close()
    problems = verify(path).problems
    assert any("was found broken" in problem for problem in problems)


def test_all_of_it_written_anew_with_right_hashes_is_found(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "audit.jsonl"
    other.parent.mkdir()
    write(other, 6).close()
    log = AuditLog(other, sync=False)
    log.append("acted", {"rule": "innocent"})
    log.close()
    path.write_bytes(other.read_bytes())
    assert verify(path).problems
    # and a head that somebody else signed is none
    path.with_suffix(".head").write_bytes(other.with_suffix(".head").read_bytes())
    assert "was not written with the key" in verify(path).problems[0]


@pytest.mark.parametrize("part", [".head", ".key"])
def test_a_missing_head_or_key_is_said(path: Path, part: str) -> None:
    path.with_suffix(part).unlink()
    assert "is missing" in verify(path).problems[0]
    AuditLog(path, sync=False).close()  # a new key or head hides nothing
    assert any("was found broken" in problem for problem in verify(path).problems)


@pytest.mark.parametrize("cut", [1, 2, 20, 100])
def test_a_torn_last_line_is_repaired_and_noted(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    assert verify(path).problems == []
    assert verify(path).pending
    log = AuditLog(path, sync=False)
    log.close()
    assert verify(path).problems == []
    *_, last, note = records(path)
    assert last["number"] == 5
    assert note["kind"] == "audit_repaired"
    assert "torn" in note["what"]


def test_a_record_that_only_the_head_has_is_written_again(path: Path) -> None:
    path.write_bytes(b"".join(lines(path)[:5]))
    assert verify(path).pending
    AuditLog(path, sync=False).close()
    assert [record["kind"] for record in records(path)][5:] == ["acted", "audit_repaired"]
    assert verify(path).problems == []


def test_rubbish_at_the_end_is_no_crash(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"{}")
    assert "no record" in verify(path).problems[0]
    AuditLog(path, sync=False).close()
    assert verify(path).problems == []


def test_a_crash_at_every_byte_of_a_write_loses_no_record(tmp_path: Path) -> None:
    whole = tmp_path / "audit.jsonl"
    write(whole, 3).close()
    data, head = whole.read_bytes(), whole.with_suffix(".head").read_bytes()
    start = len(b"".join(lines(whole)[:2]))
    for end in range(start, len(data)):
        whole.write_bytes(data[:end])
        whole.with_suffix(".head").write_bytes(head)
        AuditLog(whole, sync=False).close()
        assert [record.get("number") for record in records(whole)][:3] == [0, 1, 2]
        assert verify(whole).problems == []


def test_on_a_full_disk_the_record_is_refused_and_the_log_stays_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(path, sync=False)
    real = os.write

    def half(handle: int, data: bytes) -> int:
        if len(data) > 50:
            return real(handle, data[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        log.append("acted", {"number": 6, "pad": "x" * 100})
    monkeypatch.undo()
    assert verify(path).pending
    log.append("acted", {"number": 7})
    log.close()
    assert verify(path).problems == []
    assert [record["number"] for record in records(path)][-2:] == [5, 7]


def test_no_log_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PredisError, match="there is no audit log"):
        verify(tmp_path / "audit.jsonl")
    with pytest.raises(PredisError, match="cannot be used"):
        AuditLog(tmp_path / "nowhere" / "audit.jsonl")


# --- several files


def log_of(path: Path, files: int = 3) -> AuditLog:
    """A log with about four records a file."""
    return AuditLog(path, clock=lambda: 1000.0, sync=False, limits=Limits(file_size=800, files=files))


def filled(path: Path, count: int = 40, files: int = 3) -> list[Path]:
    """A log with so many records; gives its files, oldest first."""
    log = log_of(path, files)
    for number in range(count):
        log.append("acted", {"rule": "grow", "number": number})
    log.close()
    return all_of(path)


def test_a_full_file_is_followed_by_another_and_the_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    files = filled(path, files=100)
    assert len(files) > 5
    assert all(file.stat().st_size <= 800 and file.stat().st_mode & 0o777 == 0o600 for file in files)
    found = verify(path)
    assert (found.problems, found.records, found.removed) == ([], 40, 0)
    assert [record["number"] for record in records(path)] == list(range(40))
    assert head_of(path).hash == found.hash
    # the next agent goes on there
    log = log_of(path, 100)
    log.append("acted", {"number": 40})
    log.close()
    assert verify(path).records == 41


def test_only_so_many_files_are_kept_and_the_log_says_what_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    files = filled(path)
    assert len(files) == 4
    found = verify(path)
    assert found.problems == []
    assert found.removed == json.loads(lines(files[0])[0])["n"] - 1 > 20
    # who raises the limit gets nothing back, and the log stays whole
    log = log_of(path, 100)
    for number in range(20):
        log.append("acted", {"number": number})
    log.close()
    assert (verify(path).problems, verify(path).removed) == ([], found.removed)


def test_what_somebody_else_took_away_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    files = filled(path)
    kept = {file: file.read_bytes() for file in files}
    for number, file in enumerate(files):
        for other, data in kept.items():
            other.write_bytes(data)
        file.unlink()
        problems = " ".join(verify(path).problems)
        assert ("cut off" if number == 3 else "are missing") in problems, problems


def test_a_removal_that_nobody_signed_for_hides_nothing(tmp_path: Path) -> None:
    """The record that says so is part of the chain: one for other records than those that are gone is no excuse."""
    path = tmp_path / "audit.jsonl"
    files = filled(path)
    first, second = files[0], files[1]
    gone = json.loads(lines(second)[0])["n"] - 1
    first.unlink()
    assert f"records 1 to {gone} are missing, and no record says that they were removed" in verify(path).problems


@pytest.mark.parametrize("number", range(4))
def test_a_changed_record_of_any_file_is_found_with_its_place(tmp_path: Path, number: int) -> None:
    path = tmp_path / "audit.jsonl"
    file = filled(path)[number]
    found = lines(file)
    found[1] = found[1].replace(b'"acted"', b'"never"')
    file.write_bytes(b"".join(found))
    problems = verify(path).problems
    assert problems
    assert number == 3 or any(problem.startswith(f"{file.name}, line 3") for problem in problems)


@pytest.mark.parametrize("what", ["rename", "unlink", "open"])
def test_a_crash_while_a_file_is_changed_for_another_loses_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    class Crash(BaseException):
        """The process dies here."""

    path = tmp_path / "audit.jsonl"
    given, done = 0, False

    def dies(*arguments: object, **more: object) -> None:
        nonlocal done
        done = True
        raise Crash

    def after(real: Callable[..., object]) -> Callable[..., None]:
        def call(*arguments: object, **more: object) -> None:
            real(*arguments, **more)
            dies()

        return call

    for number in range(60):
        log = log_of(path, 2)
        with monkeypatch.context() as patched, contextlib.suppress(Crash):
            if what == "open":
                patched.setattr(log, "_open", dies)
            else:
                owner: object = os if what == "rename" else Path
                patched.setattr(owner, what, dies if number % 2 else after(getattr(owner, what)))
            log.append("acted", {"number": number})
            given += 1
        log.close()
        assert verify(path).problems == [], number
    assert done
    numbers = [record["number"] for record in records(path) if record["kind"] == "acted"]
    assert numbers == sorted(numbers)
    assert numbers[-1] in (58, 59)
    assert given > 20


def test_a_file_that_cannot_be_opened_is_opened_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    log = log_of(path, 100)
    refused = 0
    for number in range(20):

        def no_more() -> int:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(log, "_open", no_more)
            try:
                log.append("acted", {"number": number})
                continue
            except OSError:
                refused += 1
        log.append("acted", {"number": number})
    log.close()
    assert refused > 2
    assert (verify(path).problems, verify(path).records) == ([], 20)


def test_a_name_that_somebody_took_neither_stops_the_log_nor_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    foreign = tmp_path / "audit-000000000001.jsonl"
    foreign.write_text("mine\n")
    log = log_of(path, 100)
    for number in range(10):
        log.append("acted", {"number": number})
    log.close()
    assert foreign.read_text() == "mine\n"
    assert [record["number"] for record in records(path) if record["kind"] == "acted"] == list(range(10))
    assert verify(path).problems
