"""`make fuzz`: runs the fuzz targets of tests/core_cache/native with libFuzzer.

    python -m tests.core_cache.fuzz [--seconds N] [TARGET ...]

Each target runs for so many seconds (60) and goes on from the inputs that earlier runs found worth keeping, in
build/fuzz/corpus. An input that a target fails on goes to build/fuzz/crashes, and the run ends with status 1. Mend what
it shows, then keep the input in tests/core_cache/native/found: the ordinary tests run it from then on.
"""

import argparse
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.core_cache import (
    cases_acl,
    cases_bit,
    cases_hash,
    cases_instance,
    cases_key,
    cases_list,
    cases_server,
    cases_set,
    cases_string,
    cases_zset,
    scripts_pubsub,
    scripts_tracking,
    scripts_transaction,
)
from tests.core_cache.native_build import NATIVE, ROOT, build_fuzzers
from tests.core_cache.raw_resp import words

TARGETS = ("engine", "arena", "snapshot", "text")
CASES = (
    cases_acl, cases_bit, cases_hash, cases_instance, cases_key, cases_list, cases_server, cases_set, cases_string,
    cases_zset, scripts_pubsub, scripts_tracking, scripts_transaction,
)  # fmt: skip
FOUND = NATIVE / "found"
PEERS = 3  # of fuzz_engine.cpp
ACL_RULES = (
    b"on nopass ~* &* +@all",
    b"on >secret ~a* %R~b* resetchannels &c* -@all +@read +config|get -get",
    b"off #"
    + b"5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
    + b" (~x* +set) (%W~y +get|a -@write)",
    b"reset allkeys allcommands -@dangerous clearselectors",
)
PATTERNS = (b"*a*b?c\nxxaxxbyc", b"[^a-c\\]]*\nzz", b"h[e\nhe", b"\\*\\?\n*?")


def seeds(target: str) -> Iterator[bytes]:
    """Inputs to begin with: what the other tests send and read, and, where an input is a list of edits, noise."""
    if target == "engine":
        for settings, script in enumerate(_scripts()):
            yield bytes([settings % 32]) + b"".join(script)[:4000]
    elif target == "text":
        yield from (b"\0" + pattern for pattern in PATTERNS)
        yield from (b"\1" + rules for rules in ACL_RULES)
        yield b"\2" + b"".join(b"user u%d %s\n" % (i, rules) for i, rules in enumerate(ACL_RULES))
        yield from (b"\5" + number for number in (b"-9223372036854775808", b"1e-300", b"0x1p-3", b"inf"))
        yield b"\6SET \"a \\x00\\n\" 'b\\'' c"
    else:
        noise = random.Random(1)
        yield from (noise.randbytes(1 + (2 * i if i % 2 else i % 13)) for i in range(160))  # many edits, or one


def _scripts() -> Iterator[list[bytes]]:
    """The commands of the differential tests as steps of fuzz_engine.cpp."""
    for module in CASES:
        for cases in vars(module).values():
            if not isinstance(cases, Mapping):
                continue
            for text in cases.values():
                if isinstance(text, str):
                    yield [_step(line) for line in _lines(text)]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Commands with the number of the connection: in scripts a line says which one, and may hold several commands."""
    for line in text.splitlines():
        script = re.match(r"\s*([a-z])\d?: (.*)", line)
        if script is None:
            yield 0, line
        else:
            yield from ((ord(script[1]) % PEERS, command) for command in script[2].split(" ; "))


def _step(numbered: tuple[int, str]) -> bytes:
    number, line = numbered
    try:
        parts = [part.replace(b" ", b"_") or b"\3" for part in words(line)]
    except ValueError:
        parts = [line.encode()]
    command = b" ".join(parts)[:255]
    return bytes([number, len(command)]) + command


def write_seeds(folder: Path, target: str) -> list[Path]:
    """Writes a target's seeds and what was found before into files of this folder; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, seed in enumerate(seeds(target)):
        files.append(folder / f"seed-{number:03}")
        files[-1].write_bytes(seed)
    return [*files, *sorted(FOUND.glob(f"{target}-*"))]


def run(target: str, seconds: int) -> bool:
    """Fuzzes one target; whether it stood."""
    folder = build_fuzzers(f"fuzz_{target}")
    corpus, crashes = folder / "corpus" / target, folder / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    for path in write_seeds(corpus, target):
        if path.parent != corpus:
            shutil.copy(path, corpus)
    print(f"--- {target}, {seconds} s", flush=True)
    # Leaks are looked for by the ordinary run of the same targets: here it would take most of the time.
    options = [f"-max_total_time={seconds}", "-detect_leaks=0", "-timeout=30", "-rss_limit_mb=4096", "-print_funcs=0"]
    command = [folder / f"fuzz_{target}", *options, f"-artifact_prefix={crashes}/{target}-", corpus]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    lines = [line for line in done.stderr.splitlines() if not re.match(r"#\d+\s+(NEW|REDUCE|pulse|RELOAD)", line)]
    print("\n".join(lines if done.returncode else lines[-3:]), flush=True)
    return done.returncode == 0


def main() -> int:
    """Runs the targets one after the other; 0 when all stood."""
    parser = argparse.ArgumentParser(description="Fuzzes the cache core with libFuzzer.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; none: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if shutil.which("clang++") is None:
        print(
            "make fuzz: clang++ is not installed, so NOTHING WAS FUZZED; install clang and libclang-rt-dev. "
            "`make pytest` runs the same targets with g++, without guidance.",
            file=sys.stderr,
        )
        return 1
    failed = [target for target in options.targets or TARGETS if not run(target, options.seconds)]
    if failed:
        print(
            f"make fuzz: {', '.join(failed)} failed; the inputs are in {ROOT / 'build/fuzz/crashes'}", file=sys.stderr
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
