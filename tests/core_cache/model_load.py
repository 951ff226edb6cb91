"""A load for which the order of arrival is a poor guide: small keys that are asked for again and again, and large ones
that hardly are. Against a running cache, as an application does that reads through it."""

from __future__ import annotations

import numpy as np

from core_cache.resp_client import RespClient

BATCH = 500
SMALL, LARGE = b"s" * 200, b"l" * 6000


def mixed_load(client: RespClient, accesses: int, keys: int = 120_000, seed: int = 1) -> None:
    """So many accesses: MGETs, and a MSET of what they missed."""
    random = np.random.default_rng(seed)
    for _ in range(accesses // BATCH):
        large = random.random(BATCH) < 0.3
        popular = (keys * random.random(BATCH) ** 3).astype(int)  # a few far more often than the rest
        other = random.integers(0, keys * 20, BATCH)
        names = [b"l%d" % o if is_large else b"s%d" % p for is_large, p, o in zip(large, popular, other, strict=True)]
        values = client.command("MGET", *names)
        assert isinstance(values, list)
        missed = {name for name, value in zip(names, values, strict=True) if value is None}
        if missed:
            pairs = [part for name in missed for part in (name, LARGE if name.startswith(b"l") else SMALL)]
            client.command("MSET", *pairs)
