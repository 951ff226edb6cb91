"""[cache.tenants]: what check-config says of it, and how the cache process learns of tenants."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cache.settings import CacheSettings, command_line
from agent.config import load_config
from agent.config.diff import plan
from agent.errors import ConfigError
from core_cache.resp_client import RespClient
from core_cache.tenants import hash_of
from tests.agent.supervised import Cache, cache, pid_of

__all__ = ["cache"]

SHOP = '[cache.tenants.shop]\nprefix = "shop:"\nmemory = "8MiB"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "key", "sentence"),
    [
        ('[cache.tenants.shop]\nmemory = "8MiB"', "cache.tenants.shop", "prefix"),
        ('[cache.tenants.shop]\nprefix = ""\nmemory = "8MiB"', "cache.tenants.shop.prefix", "the prefix is empty"),
        (SHOP + '[cache.tenants.b]\nprefix = "shop:b"\nmemory = "8MiB"', "cache.tenants.b.prefix", "begins with that"),
        ('[cache.tenants.shop]\nprefix = "s:"\nmemory = "1GiB"', "cache.tenants", "more than 7/8 of the memory"),
        ('[cache.tenants."a b"]\nprefix = "s:"\nmemory = "8MiB"', "cache.tenants", "no name for a tenant"),
        ('[cache]\npolicy = "lru"\n' + SHOP, "cache.tenants", "looks at all keys"),
        ("[cache]\nauth = false\n" + SHOP, "cache.tenants", "without passwords everyone may do everything"),
        (SHOP + "cpu_share = 2.0", "cache.tenants.shop.cpu_share", "1"),
        (SHOP + 'pasword = "x"', "cache.tenants.shop.pasword", "password"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(tmp_path: Path, text: str, key: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(written(tmp_path, text), (), {})
    (problem,) = refused.value.problems
    assert problem.key.startswith(key)
    assert sentence in f"{problem.what} {problem.mend}"
    assert problem.line is not None


def test_no_password_is_shown_or_written(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "secret").write_text("very-secret\n")
    loaded = load_config(written(tmp_path, SHOP + 'password = "${file:secret}"'), (), {})
    settings = CacheSettings.of(loaded.config)
    assert json.loads(settings.tenants) == {
        "shop": {"prefix": "shop:", "quota": 8 << 20, "password_sha256": hash_of("very-secret")}
    }
    cache.files.write_tenants(settings)
    assert cache.files.tenants.stat().st_mode & 0o777 == 0o600
    shown = [repr(loaded.config), repr(settings), str(command_line(settings, cache.files))]
    (tmp_path / "secret").write_text("other-secret\n")
    other = load_config(written(tmp_path, SHOP + 'password = "${file:secret}"'), (), {})
    shown += map(str, plan(loaded, other))
    shown.append(cache.files.tenants.read_text())
    assert not any("very-secret" in text for text in shown)
    assert hash_of("very-secret") not in "".join(shown[:-1])
    cache.files.write_tenants(replace(settings, tenants=""))
    assert not cache.files.tenants.exists()


def test_a_plan_names_tenants_that_come_go_and_change(tmp_path: Path) -> None:
    none = load_config(written(tmp_path, ""), (), {})
    one = load_config(written(tmp_path, SHOP), (), {})
    more = load_config(written(tmp_path, SHOP.replace("8MiB", "9MiB")), (), {})
    assert [(change.key, change.new) for change in plan(none, one)] == [("cache.tenants.shop", "new")]
    assert [(change.key, change.new) for change in plan(one, none)] == [("cache.tenants.shop", "gone")]
    assert [change.key for change in plan(one, more)] == ["cache.tenants.shop.memory"]


def test_a_reload_brings_tenants_by_a_warm_restart(cache: Cache) -> None:
    settings = replace(cache.settings, memory=32 << 20)
    supervisor = cache.running(settings)
    first = pid_of(supervisor)
    text = '{"shop": {"prefix": "shop:", "quota": 8388608}}'
    assert supervisor.apply(replace(settings, tenants=text)).result(30) == "restarted"
    assert pid_of(supervisor) != first
    password = (cache.files.data_dir / "tenants" / "shop.password").read_text().strip()
    with RespClient(Path(settings.unix_socket), None) as client:
        client.command("AUTH", "shop", password)
        assert client.command("SET", "shop:1", "x") == "OK"
        assert client.command("DBSIZE") == 1
