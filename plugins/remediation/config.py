"""`[plugins.remediation]`: what actions may work on beyond the hosted cache, each by a name that rules use.

It is the list of what is allowed: a rule names an entry and cannot bring a host, a program or a credential of its own.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from agent.api import ConfigPath, Duration, OrDefault, PluginConfig, Section, Size, duration_between, size_between

Timeout = Annotated[Duration, duration_between("10ms", "10m")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
OptionalPath = Annotated[ConfigPath | None, OrDefault]
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Server(Section):
    """A Redis-compatible server: redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH."""

    url: SecretStr
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: OptionalPath = None
    timeout: Timeout = 5.0

    @field_validator("url")
    @classmethod
    def _is_a_server(cls, url: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            fits = parts.scheme in ("redis", "rediss", "unix") and (
                parts.path if parts.scheme == "unix" else parts.hostname
            )
        except ValueError:
            fits = False
        if not fits:
            raise ValueError("that is no server's URL; write redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH")
        return url


class Command(Section):
    """A program and its arguments, in which {NAME} stands for a value that a rule gives; `arguments` has a regular
    expression for each, which all of the value must match. `repeatable`: it may run again when nobody knows whether it
    ran to its end."""

    argv: tuple[str, ...] = Field(min_length=1)
    arguments: dict[str, str] = Field(default={})
    environment: dict[Name, SecretStr] = Field(default={})
    folder: OptionalPath = None
    timeout: Timeout = 60.0
    output: Annotated[Size, size_between("0B", "1MiB")] = 4096
    repeatable: bool = False

    @field_validator("argv")
    @classmethod
    def _program_is_fixed(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        if not argv[0].startswith("/") or PLACEHOLDER.search(argv[0]):
            raise ValueError("the program comes first, by its whole path and without {…}")
        if any("\0" in part for part in argv):
            raise ValueError("an argument has a NUL in it")
        return argv

    @field_validator("environment")
    @classmethod
    def _variables_have_names(cls, environment: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in environment:
            if not _VARIABLE.fullmatch(name) or name.startswith("LD_"):
                raise ValueError(f"{name} is no variable that may be set")
        return environment

    @model_validator(mode="after")
    def _placeholders_have_patterns(self) -> Self:
        used = {name for part in self.argv for name in PLACEHOLDER.findall(part)}
        if used != self.arguments.keys():
            odd = ", ".join(sorted(used ^ self.arguments.keys()))
            raise ValueError(f"argv and arguments do not fit: {odd}; write a pattern in arguments for each {{NAME}}")
        for name, pattern in self.arguments.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"the pattern of {name} is no regular expression: {error}") from None
        return self


class Webhook(Section):
    """Where JSON is posted to. `secret` signs it; `headers` are secrets, too."""

    url: SecretStr
    secret: SecretStr = SecretStr("")
    headers: dict[str, SecretStr] = Field(default={})
    ca_file: OptionalPath = None
    timeout: Timeout = 10.0

    @field_validator("url")
    @classmethod
    def _is_https(cls, url: SecretStr) -> SecretStr:
        return _checked(url)

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            text = value.get_secret_value()
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not text.isprintable() or not text.isascii():
                raise ValueError(f"{name} is no header that can be sent")
        return headers


class Cluster(Section):
    """A Kubernetes API server. All empty: the one of the cluster that the agent runs in, by its pod's service account.

    The token is read from its file for each request, since Kubernetes renews it.
    """

    url: str = ""
    token: SecretStr = SecretStr("")
    token_file: OptionalPath = None
    ca_file: OptionalPath = None
    timeout: Timeout = 10.0

    @field_validator("url")
    @classmethod
    def _is_https(cls, url: str) -> str:
        return _checked(SecretStr(url)).get_secret_value().rstrip("/") if url else url

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token.get_secret_value() and self.token_file is not None:
            raise ValueError("write either `token` or `token_file`")
        return self


class Aws(Section):
    """Where AWS is: empty for what its SDK knows. Credentials come from the SDK's chain, never from here."""

    region: str = Field(default="", pattern=r"^[a-z0-9-]*$")
    endpoint: str = ""
    ca_file: OptionalPath = None
    timeout: Timeout = 10.0

    @field_validator("endpoint")
    @classmethod
    def _is_https(cls, endpoint: str) -> str:
        return _checked(SecretStr(endpoint)).get_secret_value() if endpoint else endpoint


class Channel(Section):
    """Where messages go: URLs of Apprise, which hold tokens."""

    secret_urls: tuple[SecretStr, ...] = Field(min_length=1)


class RemediationConfig(PluginConfig):
    """`[plugins.remediation]`"""

    servers: dict[Name, Server] = Field(default={})
    commands: dict[Name, Command] = Field(default={})
    webhooks: dict[Name, Webhook] = Field(default={})
    channels: dict[Name, Channel] = Field(default={})
    clusters: dict[Name, Cluster] = Field(default={"here": Cluster()})
    aws: Aws = Aws()


def _checked(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None or parts.fragment:
        raise ValueError("write https://HOST:PORT/PATH; credentials do not belong into it")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("without TLS everyone on the way reads it: write https:// (http:// is for this machine alone)")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(url: str) -> str:
    """Host and port of a URL, which may be shown; its path may hold a token."""
    parts: Any = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port}" if parts.port else str(host or parts.path)
