"""Everything the agent raises on purpose: one tree, each error a sentence for the person who can mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EX_FAILURE = 1
EX_CONFIG = 78  # sysexits.h: systemd shows it as "CONFIG", and restarting would not help


class PredisError(Exception):
    """Something a person can mend; ``str()`` is the sentence to show, ``exit_status`` what the command exits with."""

    exit_status = EX_FAILURE


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration: where it is, what is wrong and what would be right."""

    file: str | None
    line: int | None
    key: str
    what: str
    mend: str

    @property
    def where(self) -> str:
        """``file:line``, as editors and terminals understand it."""
        if self.file is None:
            return "configuration"
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        mend = f"; {self.mend}" if self.mend else ""
        return " ".join(f"{self.where}:{key} {self.what}{mend}".splitlines())


class ConfigError(PredisError):
    """The configuration has mistakes; ``problems`` holds all of them, ``str()`` shows one per line."""

    exit_status = EX_CONFIG

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(PredisError):
    """A plugin could not be loaded or did not keep to the plugin API."""

    def __init__(self, plugin: str, what: str, mend: str = "") -> None:
        self.plugin = plugin
        self.what = what
        self.mend = mend
        super().__init__(f"plugin {plugin}: {what}" + (f"; {mend}" if mend else ""))


class AgentUnreachable(PredisError):
    """No agent answers at the address in the configuration."""
