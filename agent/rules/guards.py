"""What stands between a rule that fired and its actions: each guard may say no, and says why."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agent.config.units import format_duration
from agent.rules.ledger import TRIES, Ledger
from agent.rules.machine import WORKING, Machine
from agent.rules.model import Found, Rule
from agent.rules.series import subject_of
from agent.rules.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class Use:
    """One action that is about to be used on a target. `key`: see Step.key."""

    action: str
    target: str
    key: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which guard says no, in a word, and why, in a sentence."""

    guard: str
    why: str


@dataclass(frozen=True, slots=True)
class Situation:
    """What guards look at: the counts, all machines, and whether there is a storm."""

    now: float
    settings: EngineSettings
    ledger: Ledger
    machines: Collection[Machine]
    storm: str  # why there is one; "" for none


def may_act(rule: Rule, machine: Machine, found: Found, uses: Sequence[Use], at: Situation) -> Refusal | None:
    """Whether the actions of a rule that change something may be begun now, all of them; None: they may."""
    return (
        _rested(rule, uses, at)
        or (Refusal("storm", at.storm) if at.storm else None)
        or _failed_twice(uses, at)
        or _free(machine, uses, at)
        or _within_share(rule, machine, found, at)
        or _within_hour(rule, machine, uses, at)
    )


def may_go_on(rule: Rule, at: Situation) -> Refusal | None:
    """Whether a further action of a remedy under way may be begun; None: it may."""
    if at.storm:
        return Refusal("storm", at.storm)
    for name, most in ((rule.name, rule.limit.actions_per_hour), (None, at.settings.max_actions_per_hour)):
        if at.ledger.within_hour(at.now, name) >= most:
            return Refusal("hour", f"{most} actions were begun within an hour")
    return None


def _rested(rule: Rule, uses: Sequence[Use], at: Situation) -> Refusal | None:
    for use in uses:
        rests = at.ledger.rests(rule.name, use.target, rule.cooldown, at.now)
        if rests:
            why = f"{_overlapping(rests, use)} was acted on less than {format_duration(rule.cooldown)} ago (cooldown)"
            return Refusal("cooldown", why)
    return None


def _failed_twice(uses: Sequence[Use], at: Situation) -> Refusal | None:
    for use in uses:
        if at.ledger.failures(use.key) >= TRIES:
            why = f"{use.action} on {use.target} failed {TRIES} times in a row: it waits for `predis-agent rules reset`"
            return Refusal("failed twice", why)
    return None


def _free(machine: Machine, uses: Sequence[Use], at: Situation) -> Refusal | None:
    taken = {target: other for other in at.machines if other is not machine for target in other.targets}
    for use in uses:
        if hangs := at.ledger.hangs_at(use.target):
            return Refusal("hanging", f"an action that hangs may still be at work on {_overlapping(hangs, use)}")
        if busy := at.ledger.topology.overlapping(use.target, taken):
            return Refusal("busy", f"the rule {taken[busy].rule} is at work on {_overlapping(busy, use)}")
    return None


def _overlapping(target: str, use: Use) -> str:
    return target if target == use.target else f"{target}, which overlaps with {use.target},"


def _within_share(rule: Rule, machine: Machine, found: Found, at: Situation) -> Refusal | None:
    """As medik8s' node health check does it: what is being worked on counts as ill, healed or not; by whichever rule,
    and also where that works on a part of it, or on a whole of which all of them are parts."""
    working = {other.subject for other in at.machines if other.rule == rule.name and other.state in WORKING}
    working |= {intent.subject for intent in at.ledger.blocked.values() if intent.rule == rule.name}  # they hang
    others = [target for other in at.machines if other is not machine for target in other.targets]
    others += at.ledger.blocked
    kinds = {kind for labels in (*found.subjects.values(), machine.labels) if len(labels) == 1 for kind in labels}
    touched = {place for target in others for place in at.ledger.topology.holders(target)}
    for kind, _, name in (place.partition(":") for place in touched):
        if kind in kinds:
            working.add(subject_of(((kind, name),)))
    ill = working | set(found.subjects) | {machine.subject}
    total = found.of
    if whole := _whole(machine, others, at):
        if rule.limit.share < 1 or total == 0:
            return Refusal("share", f"{whole}, of which all of them are parts, is being worked on")
        return None
    if total == 0:  # nobody knows how many there are: one after the other
        if working - {machine.subject}:
            return Refusal(
                "share", f"{len(working)} of an unknown number of targets are being worked on: one at a time"
            )
        return None
    allowed = max(1, math.floor(rule.limit.share * max(total, len(ill)) + 1e-9))
    if len(ill) > allowed:
        why = (
            f"{len(ill)} of {max(total, len(ill))} targets are ill or being worked on, more than {rule.limit.share:.0%}"
        )
        return Refusal("share", why)
    return None


def _whole(machine: Machine, others: Sequence[str], at: Situation) -> str:
    """What is being worked on and has all subjects of a rule within it; "" for nothing."""
    places = [f"{kind}:{name}" for kind, name in machine.labels.items()]
    for target in others:
        if target not in places and any(at.ledger.topology.contains(target, place) for place in places):
            return target
    return ""


def _within_hour(rule: Rule, machine: Machine, uses: Sequence[Use], at: Situation) -> Refusal | None:
    for name, most in ((rule.name, rule.limit.actions_per_hour), (None, at.settings.max_actions_per_hour)):
        others = [m for m in at.machines if m is not machine and (name is None or m.rule == name)]
        coming = sum(m.coming for m in others if m.state == "acting")
        if at.ledger.within_hour(at.now, name) + coming + len(uses) > most:
            who = "all rules together" if name is None else "this rule"
            return Refusal("hour", f"{who} may begin {most} actions per hour and did, or are about to")
    return None
