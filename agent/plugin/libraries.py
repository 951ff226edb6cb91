"""Libraries that a plugin needs and the agent does without: they come with an extra of the package."""

from __future__ import annotations

import importlib.util

from agent.dashboards.model import VendorError


class MissingLibrary(VendorError):
    """A library that a plugin needs is not installed; the sentence has the command that installs it."""


def require_library(module: str, distribution: str, extra: str, package: str = "predis-agent") -> None:
    """Raises MissingLibrary unless `module` can be found, which is of `distribution` and comes with an extra of
    `package`. The module itself is not imported, those around it are."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # what it is in is missing
        found = None
    if found is None:
        raise MissingLibrary(f"{distribution} is not installed: pip install '{package}[{extra}]'")
