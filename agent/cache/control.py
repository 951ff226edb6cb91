"""What actions may do with the cache process, by way of its supervisor: the CacheControl of agent/plugin/host.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace

from agent.cache.settings import LIVE, CacheSettings
from agent.errors import PredisError
from agent.plugin.host import CacheFacts, CacheTenant
from agent.supervisor import CacheSupervisor
from core_cache.options import MIN_MEMORY, POLICIES
from core_cache.tenants import Tenant, find_wrong, to_json

_LOOK = 0.1  # seconds between two looks at whether somebody still waits


class SupervisedCache:
    """The cache of this supervisor."""

    def __init__(self, supervisor: CacheSupervisor) -> None:
        self._supervisor = supervisor

    def facts(self) -> CacheFacts:
        supervisor = self._supervisor
        settings = supervisor.settings
        tenants = {
            tenant.name: CacheTenant(tenant.prefix, tenant.quota, tenant.ops_per_second)
            for tenant in _tenants(settings)
        }
        state, memory = str(supervisor.state), settings.memory
        return CacheFacts(state, supervisor.pid, memory, supervisor.capacity, settings.policy, tenants)

    def check(
        self,
        *,
        memory: int | None = None,
        policy: str | None = None,
        quotas: Mapping[str, int] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> bool:
        current = self._supervisor.settings
        changes = current.changes(_changed(current, memory, policy, quotas or {}, limits or {}))
        return not changes.keys() <= LIVE.keys() or changes.get("memory", 0) > self._supervisor.capacity

    def change(
        self,
        *,
        memory: int | None = None,
        policy: str | None = None,
        quotas: Mapping[str, int] | None = None,
        limits: Mapping[str, int] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> str:
        wanted = self._supervisor.adjust(lambda current: _changed(current, memory, policy, quotas or {}, limits or {}))
        return _wait(wanted, cancelled)

    def restart(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        _wait(self._supervisor.restart(), cancelled)

    def upgrade(self, cancelled: Callable[[], bool] = lambda: False) -> str:
        number = self._supervisor.upgrade()
        while (status := self._supervisor.upgrades.status()) is not None and status["number"] == number:
            if status["state"] == "done":
                return (
                    f"process {status['pid']}, version {status['version']}, has taken over from {status['old_pid']}, "
                    f"version {status['old_version']}"
                )
            if status["state"] == "failed":
                raise PredisError(f"the cache was not upgraded: {status['error']}")
            if cancelled():
                raise PredisError("nobody waits for the upgrade any more; it goes on: see predis-agent status")
            time.sleep(_LOOK)
        raise PredisError("another upgrade of the cache was begun: see predis-agent status")


def _wait(answer: Future[str], cancelled: Callable[[], bool]) -> str:
    while True:
        try:
            return answer.result(_LOOK)
        except NotYet:
            if cancelled():
                raise PredisError("nobody waits for the cache any more; the change goes on") from None
        except CancelledError:
            raise PredisError("another change of the cache came before this one was begun") from None


def _changed(
    current: CacheSettings,
    memory: int | None,
    policy: str | None,
    quotas: Mapping[str, int],
    limits: Mapping[str, int],
) -> CacheSettings:
    """Raises PredisError for what no cache can run with."""
    memory = current.memory if memory is None else memory
    policy = current.policy if policy is None else policy
    if memory < MIN_MEMORY:
        raise PredisError(f"{memory} bytes are too little for the cache: it needs {MIN_MEMORY}")
    if policy not in POLICIES:
        raise PredisError(f'"{policy}" is no eviction policy; known are {", ".join(POLICIES)}')
    tenants = _tenants(current)
    if unknown := (quotas.keys() | limits.keys()) - {tenant.name for tenant in tenants}:
        known = ", ".join(sorted(tenant.name for tenant in tenants)) or "none"
        raise PredisError(f"the cache has no tenant {sorted(unknown)[0]}; it has {known}")
    tenants = [
        tenant._replace(
            quota=quotas.get(tenant.name, tenant.quota),
            ops_per_second=limits.get(tenant.name, tenant.ops_per_second),
        )
        for tenant in tenants
    ]
    if wrong := find_wrong(tenants, memory, policy, current.auth):
        raise PredisError(str(wrong))
    return replace(current, memory=memory, policy=policy, tenants=to_json(tenants) if tenants else "")


def _tenants(settings: CacheSettings) -> list[Tenant]:
    document = json.loads(settings.tenants) if settings.tenants else {}
    return [Tenant(name, **table) for name, table in document.items()]
