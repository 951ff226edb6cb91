"""The actions that ship: what rules may do about what they see, and when."""

from __future__ import annotations

from collections.abc import Sequence

from agent.api import ActionType, ConditionType, MetricSpec, hookimpl
from plugins.remediation.action import Action
from plugins.remediation.aws import ScaleAws
from plugins.remediation.aws_api import AutoScaling
from plugins.remediation.aws_rollback import RollbackAws
from plugins.remediation.cache_drain import CacheDrain
from plugins.remediation.cache_keys import CacheEvict, CacheFlushNamespace
from plugins.remediation.cache_process import CacheRestart, CacheUpgrade
from plugins.remediation.cache_settings import CacheMemory, CachePolicy
from plugins.remediation.cache_tenant import CacheTenantLimit, CacheTenantQuota
from plugins.remediation.clock import Clock
from plugins.remediation.command import RunCommand
from plugins.remediation.config import RemediationConfig
from plugins.remediation.failover import FailoverOrigin, FailoverReplica
from plugins.remediation.kubernetes import ScaleKubernetes
from plugins.remediation.kubernetes_api import ApiServers
from plugins.remediation.kubernetes_rollback import RollbackKubernetes
from plugins.remediation.notify import Notify
from plugins.remediation.policy_model import ModelRetrain, ModelRollback
from plugins.remediation.servers import Servers
from plugins.remediation.warm_up import CacheWarmUp
from plugins.remediation.webhook import CallWebhook


class Remediation:
    """Gives the actions; does nothing by itself."""

    api_version = 1
    Config = RemediationConfig

    def __init__(self, config: RemediationConfig) -> None:
        servers, clusters, aws = Servers(config.servers), ApiServers(config.clusters), AutoScaling(config.aws)
        self._actions: tuple[Action, ...] = (
            CacheMemory(),
            CachePolicy(),
            CacheTenantQuota(),
            CacheTenantLimit(),
            CacheEvict(),
            CacheFlushNamespace(),
            CacheWarmUp(servers),
            CacheRestart(),
            CacheUpgrade(),
            CacheDrain(),
            ModelRetrain(),
            ModelRollback(),
            ScaleKubernetes(clusters),
            ScaleAws(aws),
            RollbackKubernetes(clusters),
            RollbackAws(aws),
            FailoverReplica(servers),
            FailoverOrigin(servers),
            RunCommand(config.commands),
            CallWebhook(config.webhooks),
            Notify(config.channels),
        )

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return ()

    @hookimpl
    def predis_actions(self) -> Sequence[ActionType]:
        return self._actions

    @hookimpl
    def predis_conditions(self) -> Sequence[ConditionType]:
        return (Clock(),)

    @hookimpl
    def predis_stop(self) -> None:
        for action in self._actions:
            action.close()
