"""Tenants: what each of them has, what is wrong with that, and the file that tells the cache process of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from core_cache.options import MIN_TENANT_QUOTA, TENANT_POLICIES
from core_cache.password import load_or_create

FILE_NAME = "cache.tenants.json"
FOLDER = "tenants"
MOST = 64
LONGEST_PREFIX = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_HASH = re.compile(r"[0-9a-f]{64}")


class Tenant(NamedTuple):
    """Who owns the keys that begin with `prefix`; in the order in which the engine takes it.

    quota: bytes. password_sha256: empty for one that is made, in data_dir/tenants/NAME.password. 0: no limit.
    """

    name: str
    prefix: str
    quota: int
    password_sha256: str = ""
    ops_per_second: int = 0
    cpu_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a tenant's `key` (of the tenants as a whole where there is no name), and the mend."""

    name: str
    key: str
    what: str
    mend: str

    def __str__(self) -> str:
        where = f"the tenant {self.name}: " if self.name else ""
        return f"{where}{self.what}: {self.mend}"


class TenantsError(ValueError):
    """There can be no such tenants; the message is a sentence for people."""


def hash_of(password: str) -> str:
    """A password as the cache keeps it."""
    return hashlib.sha256(password.encode()).hexdigest()


def find_wrong(tenants: Sequence[Tenant], memory: int, policy: str, auth: bool) -> Wrong | None:
    """The first thing that is wrong with them."""
    if not tenants:
        return None
    if len(tenants) > MOST:
        return Wrong("", "", f"{len(tenants)} tenants are too many", f"at most {MOST} are possible")
    if policy not in TENANT_POLICIES:
        allowed = " or ".join(f'"{name}"' for name in TENANT_POLICIES)
        what = f"the policy \"{policy}\" looks at all keys, so it may evict one tenant's for another's"
        return Wrong("", "", what, f"set the policy {allowed}")
    if not auth:
        what = "without passwords everyone may do everything, and tenants are not kept apart"
        return Wrong("", "", what, "do not switch off the password of the cache")
    for tenant in tenants:
        if wrong := _wrong_with(tenant):
            return wrong
    by_prefix = sorted(tenants, key=lambda tenant: tenant.prefix)
    for first, second in pairwise(by_prefix):
        if second.prefix.startswith(first.prefix):
            what = f'its prefix "{second.prefix}" begins with that of {first.name}, "{first.prefix}"'
            return Wrong(second.name, "prefix", what, f"then {first.name} could read its keys; choose another")
    names = [tenant.name for tenant in tenants]
    for name in names:
        if names.count(name) > 1:
            return Wrong(name, "name", "there are two of this name", "give each its own")
    total = sum(tenant.quota for tenant in tenants)
    if total > memory // 8 * 7:
        what = f"the quotas are {total} bytes together, more than 7/8 of the memory ({memory // 8 * 7} bytes)"
        return Wrong("", "", what, "the rest is for the index; lower them, or give the cache more memory")
    return None


def _wrong_with(tenant: Tenant) -> Wrong | None:
    def wrong(key: str, what: str, mend: str) -> Wrong:
        return Wrong(tenant.name, key, what, mend)

    if not _NAME.fullmatch(tenant.name):
        return wrong("name", "that is no name for a tenant", "write at most 63 letters, digits, hyphens, underscores")
    if tenant.name == "default":
        return wrong("name", "default is the user who may do everything", "choose another name")
    if not tenant.prefix:
        return wrong("prefix", "the prefix is empty", f'write for example "{tenant.name}:"')
    if len(tenant.prefix.encode()) > LONGEST_PREFIX or not all(c.isprintable() and c != " " for c in tenant.prefix):
        mend = f"write at most {LONGEST_PREFIX} bytes without spaces and control characters"
        return wrong("prefix", "that is no prefix of keys", mend)
    if tenant.quota < MIN_TENANT_QUOTA:
        return wrong("memory", f"{tenant.quota} bytes are too little", f"give it at least {MIN_TENANT_QUOTA} bytes")
    if tenant.password_sha256 and not _HASH.fullmatch(tenant.password_sha256):
        return wrong("password_sha256", "that is no SHA-256 of a password", "write 64 hexadecimal digits in lower case")
    if tenant.ops_per_second < 0:
        return wrong("ops_per_second", "it is negative", "write 0 for no limit")
    if not 0 <= tenant.cpu_share <= 1:
        return wrong("cpu_share", "that is no share of one processor", "write a number from 0 (no limit) to 1")
    return None


def to_json(tenants: Sequence[Tenant]) -> str:
    """The text of a file of tenants; it holds hashes of passwords."""
    return json.dumps({tenant.name: _without_name(tenant) for tenant in tenants}, indent=1) + "\n"


def _without_name(tenant: Tenant) -> dict[str, Any]:
    return {key: value for key, value in tenant._asdict().items() if key != "name" and value not in ("", 0)}


def read_tenants(path: Path, memory: int, policy: str, auth: bool, data_dir: Path) -> list[Tenant]:
    """The tenants of a file; passwords that are not given are made. Raises TenantsError."""
    tenants = _parse(path, _read_private(path))
    if wrong := find_wrong(tenants, memory, policy, auth):
        raise TenantsError(f"{path}: {wrong}")
    return [tenant if tenant.password_sha256 else _with_password(tenant, data_dir) for tenant in tenants]


def _with_password(tenant: Tenant, data_dir: Path) -> Tenant:
    return tenant._replace(password_sha256=hash_of(make_password(data_dir, tenant.name)))


def make_password(data_dir: Path, name: str) -> str:
    """The password in data_dir/tenants/NAME.password; made, with mode 0600, when there is none. Raises TenantsError."""
    folder = data_dir / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        return load_or_create(folder, f"{name}.password")[0]
    except OSError as error:
        raise TenantsError(
            f"the password file {folder / name}.password cannot be used: {(error.strerror or str(error)).lower()}"
        ) from None
    except ValueError as error:
        raise TenantsError(str(error)) from None


def _read_private(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, encoding="utf-8") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise TenantsError(f"the file of tenants {path} is no regular file")
            if status.st_mode & 0o077 or status.st_uid not in (os.geteuid(), 0):
                raise TenantsError(f"the file of tenants {path} can be used by others: make it private with chmod 600")
            return file.read()
    except UnicodeDecodeError:
        raise TenantsError(f"the file of tenants {path} is not UTF-8 text") from None
    except OSError as error:
        raise TenantsError(
            f"the file of tenants {path} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None


def _parse(path: Path, text: str) -> list[Tenant]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise TenantsError(f"the file of tenants {path} is no JSON: {error}") from None
    if not isinstance(document, dict) or not all(isinstance(table, dict) for table in document.values()):
        raise TenantsError(f'{path}: write an object of tenants, {{"NAME": {{"prefix": "NAME:", "quota": BYTES}}}}')
    return [_tenant(path, name, table) for name, table in document.items()]


def _tenant(path: Path, name: str, table: Mapping[str, Any]) -> Tenant:
    kinds: dict[str, type | tuple[type, ...]] = {
        "prefix": str,
        "quota": int,
        "password_sha256": str,
        "ops_per_second": int,
        "cpu_share": (int, float),
    }
    for key, value in table.items():
        if key not in kinds:
            raise TenantsError(f"{path}: the tenant {name} has a key {key}; known are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise TenantsError(f"{path}: the tenant {name}: {key} = {json.dumps(value)} is of the wrong kind")
    if missing := [key for key in ("prefix", "quota") if key not in table]:
        raise TenantsError(f"{path}: the tenant {name} has no {missing[0]}")
    return Tenant(name, **table)
