"""What a plugin gives that ships dashboards: the assets, and a way to find and put each one at the vendor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class VendorError(Exception):
    """The vendor said no, or nothing: a sentence for people with what to do about it, without secrets."""


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that can be installed at a vendor.

    `kind` is a word such as "dashboard" or "monitor". `key` is what a later installation finds it by, so that it is
    replaced and not doubled. `file` is where it lies here, `body` what the vendor takes. Where the vendor has no
    interface for it, `by_hand` says how people install it.
    """

    kind: str
    key: str
    title: str
    file: Path
    body: Any = None
    by_hand: str = ""


class Dashboards(Protocol):
    """The assets of one vendor. The constructor and `assets` do no I/O; the others raise VendorError."""

    vendor: str

    @property
    def where(self) -> str:
        """Where they go to, for people."""

    def assets(self) -> Sequence[Asset]:
        """What there is to install, in the order in which that is to be done."""

    def find(self, asset: Asset) -> str | None:
        """What an earlier installation made of it, in the vendor's own words (an id); None when there is none."""

    def put(self, asset: Asset, found: str | None) -> str:
        """Make it, or replace what `find` gave; says where to see it."""

    def close(self) -> None:
        """Close connections. Called once."""
