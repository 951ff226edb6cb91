"""What the demonstration breaks, for real and from outside of the agent, and how one can tell that it is well."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.demo.world import TENANT, Second, World, limit

SQUEEZED = "8mb"
GOOD = 0.95  # of the hit ratio before, that counts as well
STOPPED, LET_RUN = 0.6, 0.03  # seconds for which the origin gets no processor, and some
SLOW = 0.1  # seconds that a fetch from the origin may take


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to break something.

    inject: begins it. lift: ends what would go on for ever. is_well: whether a second of the application is as it
    should be, by the hit ratio there was before. action: what a rule is to do about it; None where the agent needs no
    rule. leaves: what the action is to have changed in the end, of World.settings().
    """

    name: str
    what: str
    inject: Callable[[World], None]
    is_well: Callable[[Second, float], bool]
    action: str | None
    leaves: frozenset[str] = frozenset()
    lift: Callable[[World], None] = lambda world: None


def _reads_well(second: Second, before: float) -> bool:
    return not second.errors and (second.hit_ratio or 0.0) >= GOOD * before


def _squeeze(world: World) -> None:
    with world.connect() as client:
        client.config_set("maxmemory", SQUEEZED)


def _kill(world: World) -> None:
    os.kill(int((world.data_dir / "cache.pid").read_text().split()[0]), signal.SIGKILL)


def _flood(world: World) -> None:
    world.tell_tenant("flood")


def _calm(world: World) -> None:
    world.tell_tenant("calm")


def _is_not_flooded(second: Second, before: float) -> bool:
    return _reads_well(second, before) and second.tenant <= 1.2 * limit()


def _slow_down(world: World) -> None:
    """As a neighbour does that takes its machine's processors, or a container's CPU quota that is too small."""
    world.slowing.clear()

    def starve(pid: int) -> None:
        try:
            while not world.slowing.is_set():
                os.kill(pid, signal.SIGSTOP)
                world.slowing.wait(STOPPED)
                os.kill(pid, signal.SIGCONT)
                time.sleep(LET_RUN)
        except ProcessLookupError:
            return  # the demonstration ends

    threading.Thread(target=starve, args=(world.origin_pid,), name="slow origin", daemon=True).start()


def _fetches_well(second: Second, before: float) -> bool:
    return _reads_well(second, before) and second.fetch <= SLOW


FAULTS = {
    "squeeze": Fault(
        "squeeze",
        f"somebody sets maxmemory to {SQUEEZED}: most of the keys are evicted, and the origin gets the reads",
        _squeeze,
        _reads_well,
        "cache.memory",
    ),
    "kill": Fault(
        "kill",
        "the cache process is killed with SIGKILL",
        _kill,
        _reads_well,
        None,
    ),
    "flood": Fault(
        "flood",
        f"the tenant {TENANT} sends commands as fast as it can",
        _flood,
        _is_not_flooded,
        "cache.tenant_limit",
        frozenset({f"{TENANT}.ops_per_second"}),
        _calm,
    ),
    "origin": Fault(
        "origin",
        f"the origin gets the processor for {LET_RUN * 1e3:.0f} ms at a time, {STOPPED:g} s apart: it gets slow",
        _slow_down,
        _fetches_well,
        "call.webhook",
        frozenset({"origin"}),
        lambda world: world.slowing.set(),
    ),
}
