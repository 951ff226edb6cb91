"""The password of the cache, in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

FILE_NAME = "cache.password"


def load_or_create(data_dir: Path, name: str = FILE_NAME) -> tuple[str, bool]:
    """The password in data_dir, and whether it was made just now. Raises OSError, and ValueError for an empty file."""
    path = data_dir / name
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        try:
            password = path.read_text().strip()
        except UnicodeDecodeError:
            raise ValueError(f"{path} holds something that is no text: remove it to have a password made") from None
        if not password:
            raise ValueError(f"{path} is empty: write a password into it, or remove it to have one made") from None
        return password, False
    password = secrets.token_urlsafe(32)
    with os.fdopen(handle, "w") as file:
        file.write(password + "\n")
    return password, True
