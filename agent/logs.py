"""The agent's log: plain lines on standard error, without secrets, of which the newest are kept for diagnostics."""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from agent.config.load import LoadedConfig
from agent.config.scrub import Scrubber, secrets_in_force, secrets_of
from agent.config.sources import Sources

KEPT = 2000  # lines
LONGEST = 4000  # characters of a record that are kept
MOST_SECRETS = 500  # that are remembered


class AgentLog:
    """Writes what all loggers say. `use` takes the level and the secrets of a configuration.

    Secrets that were learned stay secrets: what was stopped, or refused, may still tell them.
    """

    def __init__(self) -> None:
        self.scrubber = Scrubber()
        self._secrets: dict[str, None] = {}  # those that were learned last are at the end
        self._kept: deque[str] = deque(maxlen=KEPT)

    @contextmanager
    def attached(self, loaded: LoadedConfig) -> Iterator[None]:
        """While it lasts, the root logger's records are written here."""
        handler = _Handler(self)
        root = logging.getLogger()
        root.addHandler(handler)
        self.use(loaded)
        try:
            yield
        finally:
            root.removeHandler(handler)

    def use(self, loaded: LoadedConfig) -> None:
        """From now on, this configuration's level counts, and its secrets are masked."""
        self._learn(secrets_in_force(loaded))
        logging.getLogger().setLevel(loaded.config.agent.log_level.upper())
        for talkative in ("apscheduler", "uvicorn", "asyncio", "urllib3", "botocore", "boto3"):
            logging.getLogger(talkative).setLevel(logging.WARNING)

    def learn(self, sources: Sources, environ: Mapping[str, str]) -> None:
        """From now on, the secrets of a configuration are masked that is not in force, and perhaps never will be."""
        self._learn(secrets_of(sources, environ))

    def learn_texts(self, secrets: Iterable[str]) -> None:
        """From now on, these are masked, too."""
        self._learn(secrets)

    def _learn(self, secrets: Iterable[str]) -> None:
        learned = list(secrets)
        for secret in learned:
            self._secrets.pop(secret, None)
            self._secrets[secret] = None
        for secret in list(self._secrets)[: -max(MOST_SECRETS, len(learned))]:
            del self._secrets[secret]
        self.scrubber = Scrubber(self._secrets)

    def newest(self) -> list[str]:
        """The lines that were kept, the oldest first."""
        return list(self._kept)

    def keep(self, line: str) -> None:
        """Keeps a line, instead of the oldest if need be."""
        self._kept.append(line[:LONGEST])


class _Handler(logging.StreamHandler[TextIO]):
    def __init__(self, log: AgentLog) -> None:
        super().__init__()
        self._log = log
        stamp = "" if is_journal(sys.stderr) else "%(asctime)s "  # the journal has its own time
        self.setFormatter(logging.Formatter(f"{stamp}%(levelname)-7s %(message)s"))

    def format(self, record: logging.LogRecord) -> str:
        line = self._log.scrubber.text(super().format(record))
        self._log.keep(line)
        return line


def is_journal(stream: TextIO) -> bool:
    """Whether what is written there goes to systemd's journal; its variable alone is inherited by terminals, too."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
