"""Brings a running cache from its settings to others, as far as it takes them while it runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from agent.cache.link import RespError, link_to
from agent.cache.settings import LIVE, CacheFiles, CacheSettings
from agent.cache.timings import Timings
from agent.cache.wanted import CacheRefused

log = logging.getLogger(__name__)


def taken_live(changes: Mapping[str, Any], capacity: int) -> bool:
    """Whether a cache that was started with so many bytes of memory takes these changed settings while it runs."""
    return changes.keys() <= LIVE.keys() and changes.get("memory", 0) <= capacity


class LiveChanges:
    """`capacity`: the memory that the running process was started with; it takes no more than that."""

    def __init__(self, files: CacheFiles, timings: Timings) -> None:
        self._files, self._t = files, timings
        self.capacity = 0

    def make(self, pid: int, current: CacheSettings, wanted: CacheSettings) -> bool:
        """Whether the process of this pid runs with the wanted settings now; False when only a restart can do that."""
        changes = current.changes(wanted)
        if not changes:
            return True
        if not taken_live(changes, self.capacity):
            return False
        link = link_to(current, self._files, self._t.drain)
        try:
            link.change(changes)
        except RespError as error:
            log.warning("the running cache does not take %s: %s", ", ".join(changes), error)
            return False
        finally:
            link.close()
        self.note(pid, wanted)
        log.info("changed the running cache: %s", ", ".join(f"{name} = {value}" for name, value in changes.items()))
        return True

    def read_certificates_again(self, settings: CacheSettings) -> None:
        """Has the cache read its certificates, whose files may have changed. Raises CacheRefused when it cannot."""
        link = link_to(settings, self._files, self._t.drain)
        try:
            link.change({"tls_cert": settings.tls_cert})
        except RespError as error:
            raise CacheRefused(f"the cache goes on with the certificate it has: {error}") from None
        finally:
            link.close()

    def note(self, pid: int, settings: CacheSettings, successor: int | None = None) -> None:
        """So that the next agent knows them. Without the note it restarts the cache, which is no reason to fail."""
        try:
            self._files.write_arguments(pid, settings, self.capacity, successor)
        except OSError as error:
            log.warning("cannot write %s: %s", self._files.arguments, error)


def check_certificates(settings: CacheSettings) -> None:
    """Raises CacheRefused when a cache with these settings would not start for its certificates."""
    if not settings.tls_port:
        return
    from core_cache.tls import TlsError, make_context

    try:
        make_context(settings.tls)
    except TlsError as error:
        raise CacheRefused(str(error)) from None
