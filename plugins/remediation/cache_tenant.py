"""cache.tenant_quota and cache.tenant_limit: what a tenant of the hosted cache may have.

Tenants are fixed while a cache process runs, so it is restarted, warm, for a change of theirs.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from agent.api import CacheControl, PredisError, Task, format_size
from plugins.remediation.action import Dial, Effects, Params, nearest
from plugins.remediation.amount import SizeParams
from plugins.remediation.local import hosted_cache, restarted, restarting

_QUOTA = re.compile(r"(?:^|,)quota=(\d+)")


class TenantDial(Dial[int]):
    """Moves a number of a tenant; its parameters have `tenant` and `restart`.

    noun: what the number is. table: where CacheControl.check and change take it, by the tenant's name.
    """

    noun = ""
    table = ""
    deadline = 360.0  # a large arena takes its time to come back

    def target(self, params: Any) -> str:
        return f"tenant:{params.tenant}"

    def what(self, params: Any) -> str:
        return f"the {self.noun} of the tenant {params.tenant}"

    def foresee(self, params: Any, old: int, new: int, task: Task) -> Effects:
        restarts = self._control(task).check(**self._change(params, new))
        if restarts and not params.restart:
            raise PredisError(
                f"a {self.noun} takes a restart of the cache process, warm, in which clients have to connect anew; "
                "allow it with restart = true"
            )
        return restarting(restarts)

    def set(self, params: Any, old: int, new: int, task: Task) -> str:
        how = self._control(task).change(**self._change(params, new), cancelled=task.cancelled)
        if (now := self.read(params, task)) != new:
            raise PredisError(f"{self.what(params)} is {self.show(now)} still, though the agent has changed it")
        return restarted(how)

    def _change(self, params: Any, new: int) -> dict[str, Any]:
        return {self.table: {params.tenant: new}}

    def _control(self, task: Task) -> CacheControl:
        if task.host.cache_control is None:
            raise PredisError(f"{self.noun}s are changed by the agent that supervises the cache, and here is none")
        return task.host.cache_control


class QuotaParams(SizeParams):
    """cache.tenant_quota"""

    tenant: str = Field(examples=["shop"])


class CacheTenantQuota(TenantDial):
    """Changes a tenant's quota."""

    name = "cache.tenant_quota"
    help = "Gives a tenant more memory, or less; the cache process is restarted, warm, for that."
    Params = QuotaParams
    moves = ("predis_tenant_memory_max_bytes", "predis_tenant_evicted_keys_total", "predis_supervisor_restarts_total")
    noun, table = "quota", "quotas"

    def show(self, value: int) -> str:
        return format_size(value)

    def read(self, params: QuotaParams, task: Task) -> int:
        with hosted_cache(task) as client:
            tenants = client.information("tenants")
        quota = _QUOTA.search(tenants.get(f"tenant_{params.tenant}", ""))
        if quota is None:
            known = [name.removeprefix("tenant_") for name in tenants]
            raise PredisError(f"the cache has no tenant {params.tenant}{nearest(params.tenant, known)}")
        return int(quota[1])

    def decide(self, params: QuotaParams, old: int, task: Task) -> int:
        return params.from_(old)


class LimitParams(Params):
    """cache.tenant_limit. ops_per_second: commands; 0 takes the limit away."""

    tenant: str = Field(examples=["shop"])
    ops_per_second: int = Field(ge=0, le=1_000_000_000, examples=[5000])
    restart: bool = False


class CacheTenantLimit(TenantDial):
    """Changes how much a tenant may ask for.

    Others are kept from a flood by turns already; what the limit saves is the cache's processor and the network.
    """

    name = "cache.tenant_limit"
    help = "Limits a tenant's commands per second; the cache process is restarted, warm, for that."
    Params = LimitParams
    moves = ("predis_tenant_commands_total", "predis_tenant_throttled_total", "predis_supervisor_restarts_total")
    noun, table = "limit", "limits"

    def show(self, value: int) -> str:
        return f"{value:,} commands/s" if value else "none"

    def read(self, params: LimitParams, task: Task) -> int:
        tenants = self._control(task).facts().tenants
        if (tenant := tenants.get(params.tenant)) is None:
            raise PredisError(f"the cache has no tenant {params.tenant}{nearest(params.tenant, tenants)}")
        return tenant.ops_per_second

    def decide(self, params: LimitParams, old: int, task: Task) -> int:
        return params.ops_per_second
