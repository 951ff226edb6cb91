"""Checks the files that the configuration names, beyond what its text can tell."""

from __future__ import annotations

import time

from agent.cache.settings import CacheSettings
from agent.config.load import LoadedConfig
from agent.errors import Problem


def check_files(loaded: LoadedConfig) -> tuple[list[Problem], list[str]]:
    """What is wrong with the files, and what is only odd about them."""
    options = CacheSettings.of(loaded.config).tls
    if not options.port:
        return [], []
    from core_cache.tls import TlsError, make_context

    try:
        _, certificate = make_context(options)
    except TlsError as error:
        path = ("cache", "tls", error.option)
        place = loaded.sources.place(path)
        file, line = (place.file, place.line) if place is not None else (None, None)
        return [Problem(file, line, ".".join(path), str(error), "")], []
    return [], certificate.warnings(time.time())
