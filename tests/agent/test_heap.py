"""Many threads share few of the C library's arenas, in a process of its own since that cannot be undone."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

CHILD = """
import ctypes, sys, threading
from agent.heap import keep_small
if sys.argv[2] == "small":
    keep_small()
barrier = threading.Barrier(8)
def work():
    kept = [bytearray(5000) for _ in range(100)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the C library is not glibc")
def test_threads_share_two_arenas(tmp_path: Path) -> None:
    def arenas(how: str) -> int:
        told = tmp_path / how
        subprocess.run([sys.executable, "-c", CHILD, str(told), how], cwd=ROOT, check=True)
        return told.read_text().count("<heap nr=")

    assert arenas("small") <= 2 < arenas("as it is")
