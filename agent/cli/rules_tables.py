"""Rules on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from agent.cli.tables import print_pairs, print_table
from agent.config.units import format_duration, format_time

if TYPE_CHECKING:
    from agent.rules.backtest import Played
    from agent.rules.reading import RuleSet


def show_running(answer: dict[str, Any]) -> None:
    """The rules of a running agent."""
    status = answer["status"]
    for word, what in (("stopped", "stopped"), ("storm", "a storm, only messages are sent"), ("trouble", "trouble")):
        if status.get(word):
            typer.echo(f"{what}: {status[word]}")
    rows = [
        (
            rule["rule"],
            "dry run" if rule["dry_run"] else "",
            {True: "holds", False: "no", None: "unknown"}[rule["holds"]],
            ", ".join(sorted({item["state"] for item in rule["subjects"]} - {"idle"})),
            rule["why"],
        )
        for rule in answer["rules"]
    ]
    print_table(("rule", "", "condition", "state", "why"), rows)
    for waiting in status.get("waiting_for_approval", ()):
        plan = "; ".join(waiting["plan"])
        typer.echo(f"waits for approval: {waiting['id']}  {waiting['rule']} {waiting['subject']}: {plan}")
    for problem in status.get("problems", ()):
        typer.echo(f"left out: {problem}", err=True)
    for skipped in status.get("skipped", ()):
        typer.echo(f"not used: {skipped}")


def show_offline(found: RuleSet) -> None:
    """The rules of a configuration."""
    rows = [
        (
            rule.name,
            rule.severity,
            ("dry run" if rule.dry_run else "acts") if rule.changes_state else "tells",
            ", ".join(step.type.name for step in rule.steps),
            rule.description or rule.where,
        )
        for rule in found.rules
    ]
    print_table(("rule", "severity", "", "actions", "what it is for"), rows)
    for problem in found.problems:
        typer.echo(f"left out: {problem}", err=True)
    for name, why in found.skipped:
        typer.echo(f"not used: {name}: {why}")


def show_explained(answer: dict[str, Any]) -> None:
    """Why a rule does or does not act."""
    holds = {True: "holds", False: "does not hold", None: "is not known"}[answer["holds"]]
    pairs = [
        ("rule", f"{answer['rule']} ({answer['where']})"),
        ("what it is for", answer["description"] or "-"),
        ("condition", f"{holds}: {answer['why']}"),
        ("must hold for", format_duration(answer["for"])),
        ("cooldown", format_duration(answer["cooldown"])),
        ("actions", f"{answer['actions_last_hour']} in the last hour, at most {answer['actions_per_hour']}"),
    ]
    if answer["dry_run"]:
        pairs.append(("dry run", "it says what it would do, and changes nothing (dry_run = false has it act)"))
    pairs += [(name, answer[name]) for name in ("stopped", "storm") if answer.get(name)]
    print_pairs(pairs)
    rows = [
        (
            item["subject"] or "-",
            item["state"],
            format_duration(round(item["since"])),
            f"for another {format_duration(round(item['rests_for']))} (cooldown)"
            if item["rests_for"]
            else "; ".join(text for text in (item["reason"], *item["plan"]) if text),
            _last(item),
        )
        for item in answer["subjects"]
    ]
    if rows:
        print_table(("subject", "state", "for", "why", "last time"), rows)


def show_played(played: Played) -> None:
    """What rules would have done."""
    span = format_duration(round(played.end - played.start))
    typer.echo(f"{format_time(played.start)} to {format_time(played.end)}, {span}, {played.series:,} series")
    print_table(
        ("rule", "fired", "would act", "held", "of the time"),
        [
            (name, str(row.fired), str(row.acted), str(row.held), f"{row.share:.1%}")
            for name, row in played.rules.items()
        ],
    )
    for at, name, subject, why in played.firings[:200]:
        typer.echo(f"{format_time(at)}  {name} {subject}  {why}")
    if len(played.firings) > 200:
        typer.echo(f"… and {len(played.firings) - 200} more (--json has all)")


def _last(item: dict[str, Any]) -> str:
    return f"{item['last_result']} ({format_time(item['last_result_at'])})" if item["last_result"] else ""
