"""cache.memory and cache.policy: what the hosted cache is set to.

Values are read from the cache itself. They are changed by way of the supervisor, so that they stay when the cache
process is started again; where there is none to ask, by CONFIG SET alone.
"""

from __future__ import annotations

from pydantic import Field

from agent.api import PredisError, Task, format_size
from core_cache.options import MAXMEMORY_POLICIES, Policy
from core_cache.resp_client import RespClient
from plugins.remediation.action import Dial, Effects, Params
from plugins.remediation.amount import SizeParams
from plugins.remediation.local import hosted_cache, restarted, restarting, setting

_POLICIES = {word: name for name, word in MAXMEMORY_POLICIES.items()}


class MemoryParams(SizeParams):
    """cache.memory"""


class CacheMemory(Dial[int]):
    """Sets the cache's memory; more than its arena has room for takes a restart, which `restart` allows."""

    name = "cache.memory"
    help = "Gives the cache more memory, or less: to a size or by a percentage, within limits."
    Params = MemoryParams
    moves = ("predis_memory_max_bytes", "predis_memory_used_bytes", "predis_evicted_keys_total")
    deadline = 360.0  # a large arena takes its time to come back

    def target(self, params: MemoryParams) -> str:
        return "cache:local"

    def what(self, params: MemoryParams) -> str:
        return "the cache's memory"

    def show(self, value: int) -> str:
        return format_size(value)

    def read(self, params: MemoryParams, task: Task) -> int:
        with hosted_cache(task) as client:
            return int(setting(client, "maxmemory"))

    def decide(self, params: MemoryParams, old: int, task: Task) -> int:
        return params.from_(old)

    def foresee(self, params: MemoryParams, old: int, new: int, task: Task) -> Effects:
        control = task.host.cache_control
        with hosted_cache(task) as client:
            memory = client.information("memory")
        room = int(memory.get("arena_capacity", "0"))
        if new > room:
            if control is None:
                raise PredisError(f"the arena has room for {format_size(room)}: set cache.memory in agent.toml")
            if not params.restart:
                raise PredisError(
                    f"the arena has room for {format_size(room)}: {format_size(new)} takes a restart of the cache "
                    "process, warm; allow it with restart = true"
                )
        restarts = control.check(memory=new) if control is not None else False
        evicted = int(memory.get("used_memory", "0")) - new
        loss = f"; about {format_size(evicted)} of keys would be evicted" if evicted > 0 else ""
        effects = restarting(restarts)
        return Effects(f"{effects.text}{loss}", {**effects.facts, "evicts": evicted > 0})

    def set(self, params: MemoryParams, old: int, new: int, task: Task) -> str:
        how = ""
        if task.host.cache_control is not None:
            how = restarted(task.host.cache_control.change(memory=new, cancelled=task.cancelled))
        with hosted_cache(task) as client:
            _ensure(client, "maxmemory", str(new))
        return how


class PolicyParams(Params):
    """cache.policy: `policy` as in agent.toml."""

    policy: Policy = Field(examples=["lru"])


class CachePolicy(Dial[str]):
    """Switches the eviction policy, while the cache runs."""

    name = "cache.policy"
    help = "Switches the policy by which the cache evicts."
    Params = PolicyParams
    moves = ("predis_evicted_keys_total",)

    def target(self, params: PolicyParams) -> str:
        return "cache:local"

    def what(self, params: PolicyParams) -> str:
        return "the cache's policy"

    def read(self, params: PolicyParams, task: Task) -> str:
        with hosted_cache(task) as client:
            word = setting(client, "maxmemory-policy")
        return _POLICIES.get(word, word)

    def decide(self, params: PolicyParams, old: str, task: Task) -> str:
        return params.policy

    def foresee(self, params: PolicyParams, old: str, new: str, task: Task) -> Effects:
        if task.host.cache_control is not None:
            task.host.cache_control.check(policy=new)
        return Effects()

    def set(self, params: PolicyParams, old: str, new: str, task: Task) -> str:
        how = ""
        if task.host.cache_control is not None:
            how = restarted(task.host.cache_control.change(policy=new, cancelled=task.cancelled))
        with hosted_cache(task) as client:
            _ensure(client, "maxmemory-policy", MAXMEMORY_POLICIES[new])
        return how


def _ensure(client: RespClient, name: str, value: str) -> None:
    """By CONFIG SET, unless it is so already."""
    if setting(client, name) != value:
        client.command("CONFIG", "SET", name, value)
    if (now := setting(client, name)) != value:
        raise PredisError(f"the cache has {name} = {now} still, though it took {value}")
