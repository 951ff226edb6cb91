"""The plan: what a new configuration changes."""

from __future__ import annotations

from pathlib import Path

from agent.config import LoadedConfig, load_config
from agent.config.diff import plan


def load(folder: Path, text: str) -> LoadedConfig:
    (folder / "agent.toml").write_text(text)
    return load_config(folder / "agent.toml", (), {})


def test_the_plan_lists_each_changed_key_with_its_place(tmp_path: Path) -> None:
    old = load(tmp_path, "[cache]\nmemory = '1GiB'\nport = 1\n[plugins.a]\nx = 1\npassword = 'p'\n[plugins.b]\ny = 1\n")
    new = load(
        tmp_path, "[cache]\nmemory = '2GiB'\nport = 1\n[plugins.a]\nx = 2\npassword = 'q'\n[agent]\ninterval = '90s'\n"
    )
    changes = plan(old, new)
    file = tmp_path / "agent.toml"
    assert [str(change) for change in changes] == [
        f'agent.interval: "10s" → "1m30s" ({file}:8)',
        f'cache.memory: "1GiB" → "2GiB" ({file}:2)',
        f"plugins.a.x: 1 → 2 ({file}:5)",
        f"plugins.a.password: ******** → ******** ({file}:6)",
        "plugins.b.y: 1 → the default (no longer set)",
    ]


def test_secrets_are_masked_by_any_name_of_their_path_but_the_plugins(tmp_path: Path) -> None:
    old = load(tmp_path, "[plugins.my_token]\nx = 'abc'\nheaders = {a = 'abc'}\ncredentials = {user = 'abc'}\n")
    new = load(tmp_path, "[plugins.my_token]\nx = 'xyz'\nheaders = {a = 'xyz'}\ncredentials = {user = 'xyz'}\n")
    assert [str(change).partition(" (")[0] for change in plan(old, new)] == [
        'plugins.my_token.x: "abc" → "xyz"',
        "plugins.my_token.headers.a: ******** → ********",
        "plugins.my_token.credentials.user: ******** → ********",
    ]


def test_writing_out_a_default_changes_nothing(tmp_path: Path) -> None:
    changes = plan(load(tmp_path, ""), load(tmp_path, "[cache]\nport = 6379\nmemory = '1024MiB'\nunix_socket = ''\n"))
    assert changes == []


def test_what_a_reference_stands_for_is_not_shown(tmp_path: Path) -> None:
    old = load(tmp_path, "[agent]\ndata_dir = '/data'\n")
    (tmp_path / "agent.toml").write_text("[agent]\ndata_dir = '${env:FOLDER}'\n")
    new = load_config(tmp_path / "agent.toml", (), {"FOLDER": "/hidden"})
    assert new.config.agent.data_dir == Path("/hidden")
    assert [str(change) for change in plan(old, new)] == [
        f'agent.data_dir: "/data" → "${{env:FOLDER}}" ({tmp_path}/agent.toml:2)'
    ]
