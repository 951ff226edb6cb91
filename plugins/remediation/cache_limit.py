"""cache.tenant_limit: how many commands a second a tenant of the hosted cache may send."""

from __future__ import annotations

from pydantic import Field

from agent.api import CacheControl, PredisError, Task
from plugins.remediation.action import Dial, Effects, Params, nearest


class LimitParams(Params):
    """cache.tenant_limit. ops_per_second: commands; 0 takes the limit away."""

    tenant: str = Field(examples=["shop"])
    ops_per_second: int = Field(ge=0, le=1_000_000_000, examples=[5000])
    restart: bool = False


class CacheTenantLimit(Dial[int]):
    """Changes how much a tenant may ask for. Tenants are fixed while a cache process runs, so it is restarted, warm.

    Others are kept from a flood by turns already; what the limit saves is the cache's processor and the network.
    """

    name = "cache.tenant_limit"
    help = "Limits a tenant's commands per second; the cache process is restarted, warm, for that."
    Params = LimitParams
    moves = ("predis_tenant_commands_total", "predis_tenant_throttled_total", "predis_supervisor_restarts_total")
    deadline = 360.0  # a large arena takes its time to come back

    def target(self, params: LimitParams) -> str:
        return f"tenant:{params.tenant}"

    def what(self, params: LimitParams) -> str:
        return f"the limit of the tenant {params.tenant}"

    def show(self, value: int) -> str:
        return f"{value:,} commands/s" if value else "none"

    def read(self, params: LimitParams, task: Task) -> int:
        tenants = _control(task).facts().tenants
        if (tenant := tenants.get(params.tenant)) is None:
            raise PredisError(f"the cache has no tenant {params.tenant}{nearest(params.tenant, tenants)}")
        return tenant.ops_per_second

    def decide(self, params: LimitParams, old: int, task: Task) -> int:
        return params.ops_per_second

    def check(self, params: LimitParams, old: int, new: int, task: Task) -> Effects:
        restarts = _control(task).check(limits={params.tenant: new})
        if restarts and not params.restart:
            raise PredisError(
                "a limit takes a restart of the cache process, warm, in which clients have to connect anew; allow it "
                "with restart = true"
            )
        return Effects("; the cache process would be restarted, warm" if restarts else "", {"restarts": restarts})

    def set(self, params: LimitParams, old: int, new: int, task: Task) -> str:
        how = _control(task).change(limits={params.tenant: new}, cancelled=task.cancelled)
        if (now := self.read(params, task)) != new:
            raise PredisError(f"{self.what(params)} is {self.show(now)} still, though the agent has changed it")
        return "; the cache process was restarted, warm" if how == "restarted" else ""


def _control(task: Task) -> CacheControl:
    if task.host.cache_control is None:
        raise PredisError("limits are changed by the agent that supervises the cache, and here is none")
    return task.host.cache_control
