"""What may stand in a file of rules. What conditions and actions take is theirs to say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from agent.config.models import OrDefault, Section
from agent.config.refuse import refuse
from agent.config.show import show
from agent.config.units import Duration, duration_between
from agent.rules.quantity import Amount, Quantity


def _share(quantity: Quantity) -> Quantity:
    if quantity.unit not in ("", "ratio") or not 0 < quantity.value <= 1:
        raise refuse(f"{show(quantity.text)} is no share", 'write for example "50%", at most "100%"')
    return quantity


def _some(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise refuse("the list is empty", "write at least one")
    return items


NotEmpty = AfterValidator(_some)
"""At least one. pydantic's own min_length also complains of a list whose only item is wrong."""
Share = Annotated[Amount, AfterValidator(_share)]
"""Over 0 and at most 1, as in "50%" or 0.5."""
Wait = Annotated[Duration, duration_between("0s", "52w")]


class LimitTable(Section):
    """`limit` of a rule: its blast radius."""

    share: Share | None = Field(default=None, description="of the subjects that may be ill or worked on at once")
    actions_per_hour: int | None = Field(default=None, ge=1, le=10_000, description="that change something")


class VerifyTable(Section):
    """`verify` of a rule, besides its condition."""

    within: Annotated[Duration, duration_between("1s", "1d")] = Field(description="until then it must have helped")
    after: Wait = Field(
        default=15.0, description="it is not looked at before: what was measured is older than the action"
    )
    cleared: bool = Field(default=False, description="true in place of a condition: the rule's own holds no more")


class RuleTable(Section):
    """A `[[rule]]`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$", description="lower-case words joined by - or _")
    description: str = Field(default="", description="what it is for")
    enabled: bool = Field(default=True, description="false: it is checked and not used")
    severity: Literal["info", "warning", "error"] = Field(default="warning", description="of what it tells")
    when: dict[str, Any] = Field(description="the condition")
    hold: Wait = Field(default=0.0, alias="for", description="how long the condition must hold before the rule fires")
    then: Annotated[tuple[dict[str, Any], ...], NotEmpty] = Field(description="the actions, one after the other")
    verify: dict[str, Any] | None = Field(default=None, description="a condition that tells that it helped, and within")
    undo: bool = Field(default=True, description="take back what was done when it failed or did not help")
    escalate: tuple[dict[str, Any], ...] = Field(default=(), description="actions that tell a person that it failed")
    cooldown: Wait = Field(default=1800.0, description="how long it leaves a target alone after it ended")
    limit: LimitTable = Field(default=LimitTable(), description="blast radius")
    approval: Literal["required", "none"] = Field(default="none", description="a person must let it act")
    approval_timeout: Annotated[Duration | None, OrDefault] = Field(default=None, description="empty for the default")
    dry_run: bool | None = Field(default=None, description="false: it may change something; absent: rules.dry_run")


class RuleFile(Section):
    """A file of rules."""

    rule: Annotated[tuple[dict[str, Any], ...], NotEmpty] = Field(description="the rules, each as [[rule]]")
