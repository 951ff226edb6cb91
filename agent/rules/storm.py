"""Storms: so much is wrong at once that rules would only add to it."""

from __future__ import annotations

from agent.rules.settings import EngineSettings


class Storm:
    """Begins at once, and ends when a whole window was calm."""

    def __init__(self, settings: EngineSettings, lasts: bool = False) -> None:
        self.settings = settings
        self.why = "a storm lasted when the agent was stopped" if lasts else ""
        self._calm_since: float | None = None

    def look(self, fired: int, incidents: int, now: float) -> str:
        """Why there is one, given how many fired within the window and how many incidents are open; "" for none."""
        settings = self.settings
        if fired >= settings.storm_firing:
            why = f"{fired} rules and subjects fired within {settings.storm_window:g} s"
        elif incidents >= settings.storm_incidents:
            why = f"{incidents} incidents are open"
        else:
            if self.why and self._calm_since is None:
                self._calm_since = now
            if self._calm_since is not None and now - self._calm_since >= settings.storm_window:
                self.why, self._calm_since = "", None
            return self.why
        self.why, self._calm_since = why, None
        return why
