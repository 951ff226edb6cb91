"""How the C library keeps the agent's memory: glibc's defaults are for speed on many cores, which is not for an agent.

It gives each thread an arena of its own, and after the first large buffer keeps all that are smaller for later. With a
dozen threads that now and then hold a body of a megabyte, that is 15 MB of nothing.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_ARENAS = 2
_LARGE = 128 << 10  # bytes from which on a buffer goes back to the kernel when it is freed; glibc's own first value


def keep_small() -> None:
    """To be called before there are threads. Does nothing where the C library is another one."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_ARENA_MAX, _ARENAS)
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
