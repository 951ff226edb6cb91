"""What a condition is asked."""

from __future__ import annotations

from functools import partial

from agent.certify.actions import example_of
from agent.certify.detectors import stages
from agent.certify.rig import Rig, fail
from agent.plugin.loaded import LoadedPlugin
from agent.rules.extension import ConditionType, Verdict


def ask(rig: Rig, plugin: LoadedPlugin, condition: ConditionType) -> None:
    """Ask it at every stage that a detector is shown; the check fails when an answer is none."""
    params, name = example_of(condition), condition.name
    metrics = rig.timed(plugin, f"metrics of {name}", lambda: condition.metrics(params))
    if isinstance(metrics, str) or not all(isinstance(metric, str) for metric in metrics):
        fail(f"metrics of {name} gives {metrics!r}: it is to give the names of metrics, in a list or a tuple")
    for stage, snapshot in stages():
        now = rig.now(snapshot)
        verdict = rig.timed(plugin, f"evaluate of {name}, {stage},", partial(condition.evaluate, params, now))
        rig.said.append(f"{name}: {verdict}")
        if not isinstance(verdict, Verdict):
            fail(f"evaluate of {name}, {stage}, gives {type(verdict).__name__}: it is to give a ConditionVerdict")
        if verdict.holds not in (True, False, None) or not isinstance(verdict.why, str) or not verdict.why.strip():
            fail(f"evaluate of {name}, {stage}, does not say why: holds = {verdict.holds!r}, why = {verdict.why!r}")
