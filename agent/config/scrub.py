"""Takes secrets out of texts that leave the agent: log lines, answers of its API, diagnostics.

What is secret is known from the configuration: what a reference (``${env:NAME}`` and its kin) stands for, what a key
with a secret's name holds, the user and password of a URL; and from the data folder: the files with passwords and
tokens that the agent makes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from agent.config.load import LoadedConfig
from agent.config.locate import KeyPath
from agent.config.secrets import SecretError, Secrets
from agent.config.show import MASK, is_secret, is_secret_name
from agent.config.sources import Sources

SHORTEST = 5  # characters; to mask shorter ones everywhere would blacken words, and tell them
OWN_FILES = ("cache.password", "http.token", "tenants/*.password")
_URL_USER = re.compile(r"[a-zA-Z][\w+.-]*://([^\s/\"']*)@")


class Scrubber:
    """Masks these texts, as they are and as JSON, URLs and base64 have them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        # The longest first: one secret may be the beginning of another.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """The text without the secrets."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def scrubber(loaded: LoadedConfig) -> Scrubber:
    """One that knows the secrets of this configuration and of its data folder."""
    return Scrubber(secrets_in_force(loaded))


def secrets_in_force(loaded: LoadedConfig) -> list[str]:
    """The secrets of this configuration and of its data folder."""
    return [*secrets_of(loaded.sources, loaded.environ), *_own_secrets(loaded.config.agent.data_dir)]


def secrets_of(sources: Sources, environ: Mapping[str, str]) -> Iterator[str]:
    """Every secret text in a configuration, whether it can be used or not."""
    yield from _in_tree((), sources.data, Secrets(environ, sources.base))
    for name, value in environ.items():
        if is_secret_name(name):
            yield value


def _in_tree(path: KeyPath, value: Any, secrets: Secrets) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _in_tree((*path, str(name)), item, secrets)
    elif isinstance(value, list):
        for item in value:
            yield from _in_tree(path, item, secrets)
    elif isinstance(value, str):
        yield from _in_text(path, value, secrets)


def _in_text(path: KeyPath, value: str, secrets: Secrets) -> Iterator[str]:
    try:
        expanded, replaced = secrets.expand(value)
    except SecretError:  # what it was when it could be read is not known here
        return
    if replaced or is_secret(path):
        yield expanded
    if replaced:  # each by itself, too: who is given the whole may tell a part
        parts: dict[str, str] = {}
        secrets.carry(value, parts)
        yield from parts.values()
    for found in _URL_USER.finditer(expanded):
        user, _, password = found[1].partition(":")
        yield from (unquote(password or user), password or user)


def _own_secrets(data_dir: Path) -> Iterator[str]:
    for pattern in OWN_FILES:
        for path in data_dir.glob(pattern):
            try:
                yield path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue  # who cannot read it cannot give it away


def _forms(secret: str) -> set[str]:
    plain = {secret, secret.strip(), *(line for line in secret.splitlines() if len(line) >= SHORTEST)}
    written = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in plain for ascii_only in (True, False)}
    quoted = {quote(text, safe=safe) for text in plain for safe in ("", "/")}
    encoded = {base64.b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=") for text in plain}
    return {form for form in plain | written | quoted | encoded | {repr(secret)[1:-1]} if len(form) >= SHORTEST}
