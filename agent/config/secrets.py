"""``${env:NAME}``, ``${file:PATH}`` and ``${credential:NAME}`` in strings of the configuration.

References are replaced after parsing, so what they bring in is never read as TOML, and never looked at again, so a
secret may contain ``${``. ``$${`` stands for a literal ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.config.locate import KeyPath

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_LARGEST = 1 << 20  # bytes of a secret's file


class SecretError(Exception):
    """A reference that cannot be replaced: ``what`` is wrong and the ``mend``."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend


class Secrets:
    """Finds what references stand for. Relative paths count from ``base``."""

    def __init__(self, environ: Mapping[str, str], base: Path) -> None:
        self._environ = environ
        self._base = base

    def expand_tree(
        self, value: Any, path: KeyPath, on_error: Callable[[KeyPath, SecretError], None], found: set[KeyPath]
    ) -> Any:
        """A copy of ``value`` with all references replaced; ``found`` gets the paths of the strings that had any."""
        if isinstance(value, dict):
            return {key: self.expand_tree(item, (*path, key), on_error, found) for key, item in value.items()}
        if isinstance(value, list):
            return [self.expand_tree(item, (*path, index), on_error, found) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            expanded, replaced = self.expand(value)
        except SecretError as error:
            on_error(path, error)
            return value
        if replaced:
            found.add(path)
        return expanded

    def carry(self, value: Any, into: dict[str, str]) -> Any:
        """A copy of ``value`` in which every reference is one to an environment variable in ``into``, which gets them.

        So what references stand for can be given to somebody who has neither the files nor the environment, and it
        still is known what is secret. Raises SecretError.
        """
        if isinstance(value, dict):
            return {key: self.carry(item, into) for key, item in value.items()}
        if isinstance(value, list):
            return [self.carry(item, into) for item in value]
        if not isinstance(value, str):
            return value

        def replacement(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return match[0]
            name = f"V{len(into)}"
            into[name] = self._lookup(match)
            return f"${{env:{name}}}"

        return _REFERENCE.sub(replacement, value)

    def expand(self, text: str) -> tuple[str, bool]:
        """The text with its references replaced, and whether there were any. Raises SecretError."""
        replaced = False

        def replacement(match: re.Match[str]) -> str:
            nonlocal replaced
            if match[0] == "$${":
                return "${"
            replaced = True
            return self._lookup(match)

        return _REFERENCE.sub(replacement, text), replaced

    def _lookup(self, match: re.Match[str]) -> str:
        scheme, colon, name = match[1].partition(":")
        if not match[2]:
            raise SecretError('"${" without "}"', 'close the reference, or write "$${" for a literal "${"')
        if scheme == "env" and name:
            value = self._environ.get(name)
            if value is None:
                raise SecretError(f"environment variable {name} is not set", f"set {name} for the agent")
            return value
        if scheme == "file" and name:
            return self._read(self._base / name, "file")
        if scheme == "credential" and name:
            folder = self._environ.get("CREDENTIALS_DIRECTORY")
            if folder is None:
                raise SecretError(
                    f"no credential {name}: CREDENTIALS_DIRECTORY is not set",
                    f"start the agent by systemd with LoadCredential={name}:PATH, or write ${{file:PATH}}",
                )
            if "/" in name or name in (".", ".."):
                raise SecretError(f"{name} is not the name of a credential", "write a plain name without slashes")
            return self._read(Path(folder, name), "credential")
        mend = "write ${env:NAME}, ${file:PATH} or ${credential:NAME}"
        if not colon and re.fullmatch(r"\w+", scheme):
            mend = f"write ${{env:{scheme}}} for the environment variable"
        raise SecretError(f'unknown reference "{match[0]}"', mend + ', or "$${" for a literal "${"')

    @staticmethod
    def _read(path: Path, kind: str) -> str:
        try:
            if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
                raise SecretError(f"{kind} {path} is not a regular file", "name a file")
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise SecretError(f"{kind} {path} is over 1 MiB", "that is no secret: name the right file")
            return content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise SecretError(f"{kind} {path} is not UTF-8 text", "name the right file") from None
        except (OSError, ValueError) as error:  # ValueError: the name has a NUL in it
            reason = error.strerror if isinstance(error, OSError) else error
            raise SecretError(f"cannot read {kind} {path}: {reason}", "mend the path or the file's mode") from None
