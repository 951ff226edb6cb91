"""`python -m core_cache.snapshot`: writes the keys of a running cache to a file, as a process of its own.

It reads the arena as any local reader does, with low priority and no more bytes per second than it is told, so the
cache does not notice. The result is one line of JSON on standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import sys
import time

import psutil

from core_cache import _native

NICE = 10
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Writes one snapshot; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core_cache.snapshot", description=__doc__, allow_abbrev=False)
    parser.add_argument("--arena", required=True, help="the arena's file")
    parser.add_argument("--to", required=True, help="the snapshot's file")
    parser.add_argument("--id", required=True, help="of the cache, as in cache.id")
    parser.add_argument("--max-rate", type=int, default=0, help="bytes per second; 0: as fast as can be")
    parser.add_argument("--parent", type=int, default=0, help="ends when this process does")
    given = parser.parse_args()
    _stay_in_the_background(given.parent)
    began = time.monotonic()
    try:
        entries, size, _ = _native.write_snapshot(given.arena, given.to, bytes.fromhex(given.id), given.max_rate)
    except (_native.SnapshotError, _native.ArenaError) as error:
        json.dump({"error": str(error)}, sys.stdout)
        return 1
    json.dump({"entries": entries, "bytes": size, "seconds": time.monotonic() - began}, sys.stdout)
    return 0


def _stay_in_the_background(parent: int) -> None:
    os.nice(NICE)
    with contextlib.suppress(OSError, psutil.Error):  # not every file system has a queue to be last in
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    if parent:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            raise SystemExit("the cache has ended")


if __name__ == "__main__":
    raise SystemExit(main())
