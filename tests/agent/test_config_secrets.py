"""References to secrets, and that no secret gets into a message, a repr or a plan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from agent.api import PluginConfig
from agent.config import LoadedConfig, load_config
from agent.config.diff import plan
from agent.errors import ConfigError


class BoxConfig(PluginConfig):
    password: SecretStr = SecretStr("")
    url: str = ""
    size: int = 0
    names: tuple[str, ...] = ()


def load(
    folder: Path, text: str, environ: dict[str, str] | None = None, overrides: tuple[str, ...] = ()
) -> LoadedConfig:
    (folder / "agent.toml").write_text(text)
    return load_config(folder / "agent.toml", overrides, environ or {})


def box(folder: Path, text: str, environ: dict[str, str] | None = None, overrides: tuple[str, ...] = ()) -> BoxConfig:
    config, problems = load(folder, "[plugins.box]\n" + text, environ, overrides).read_plugin("box", BoxConfig)
    assert config is not None, problems
    return config


def complaint(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    config, problems = load(folder, "[plugins.box]\n" + text, environ).read_plugin("box", BoxConfig)
    assert config is None
    assert [problem.line for problem in problems] == [2]
    return "\n".join(map(str, problems))


def test_secrets_come_from_environment_file_and_credential(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("from file\n")
    (tmp_path / "creds").mkdir()
    (tmp_path / "creds/box").write_text("from systemd")
    environ = {"WORD": "from env", "CREDENTIALS_DIRECTORY": str(tmp_path / "creds")}
    for reference, secret in (
        ("${env:WORD}", "from env"),
        ("${file:word}", "from file"),
        (f"${{file:{tmp_path}/word}}", "from file"),
        ("${credential:box}", "from systemd"),
        ("<${env:WORD}, ${file:word}>", "<from env, from file>"),
        ("$${env:WORD}", "${env:WORD}"),
        ("$5 {x}", "$5 {x}"),
    ):
        assert box(tmp_path, f'password = "{reference}"', environ).password.get_secret_value() == secret


def test_what_a_secret_brings_in_is_plain_text(tmp_path: Path) -> None:
    tricky = '"\nsize = 7 # ${env:HOME} ${file:/etc/passwd}'
    config = box(tmp_path, 'password = "${env:WORD}"', {"WORD": tricky, "HOME": "/"})
    assert config.password.get_secret_value() == tricky
    assert config.size == 0


def test_references_work_in_lists_and_for_numbers(tmp_path: Path) -> None:
    config = box(tmp_path, 'names = ["a", "${env:B}"]\nsize = "${env:N}"', {"B": "b", "N": "12"})
    assert (config.names, config.size) == (("a", "b"), 12)
    assert load(tmp_path, '[cache]\nport = "${env:N}"', {"N": "12"}).config.cache.port == 12


def test_a_password_of_digits_stays_text(tmp_path: Path) -> None:
    assert box(tmp_path, "", {"PREDIS__PLUGINS__BOX__PASSWORD": "1_0"}).password.get_secret_value() == "1_0"
    assert box(tmp_path, "", overrides=("plugins.box.password=007",)).password.get_secret_value() == "007"
    assert box(tmp_path, 'password = "${env:P}"', {"P": "1e3"}).password.get_secret_value() == "1e3"


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("${env:ABSENT}", "environment variable ABSENT is not set; set ABSENT"),
        ("${file:absent}", "absent: No such file"),
        ("${file:a\\u0000b}", "cannot read file"),
        ("${file:.}", "is not a regular file"),
        ("${file:pipe}", "is not a regular file"),
        ("${file:binary}", "is not UTF-8"),
        ("${file:big}", "over 1 MiB"),
        ("${credential:box}", "CREDENTIALS_DIRECTORY is not set; start the agent by systemd with LoadCredential=box:"),
        ("${HOME}", "unknown reference"),
        ("${HOME}", "${env:HOME}"),
        ("${vault:x}", "${env:NAME}, ${file:PATH} or ${credential:NAME}"),
        ("${env:}", "unknown reference"),
        ("${}", "unknown reference"),
        ("${env:HOME", 'without "}"'),
    ],
)
def test_a_reference_that_leads_nowhere_is_told(tmp_path: Path, reference: str, told: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "big").write_bytes(b"x" * ((1 << 20) + 1))
    assert told in complaint(tmp_path, f'password = "{reference}"', {"HOME": "/"})


def test_a_credential_cannot_leave_its_folder(tmp_path: Path) -> None:
    (tmp_path / "creds").mkdir()
    (tmp_path / "word").write_text("secret")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "creds")}
    assert "plain name" in complaint(tmp_path, 'password = "${credential:../word}"', environ)


def test_a_core_reference_that_leads_nowhere_stops_loading(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.toml:2: cache\.host: environment variable ABSENT is not set"):
        load(tmp_path, '[cache]\nhost = "${env:ABSENT}"')


def test_no_message_repr_or_plan_shows_a_secret(tmp_path: Path) -> None:
    secret = "hunter2-do-not-show"
    environ = {"S": secret}
    loaded = load(tmp_path, '[plugins.box]\npassword = "${env:S}"\nurl = "redis://u:pw-do-not-show@h"', environ)
    literal = load(tmp_path, f'[plugins.box]\npassword = "{secret}"')
    config, _ = loaded.read_plugin("box", BoxConfig)
    shown = [
        repr(loaded),
        repr(literal),
        repr(config),
        str(config),
        str(list(map(str, plan(loaded, literal)))),
        str(list(map(str, plan(literal, loaded)))),
    ]
    # and each way to be wrong about it
    wrong = (
        f'password = ["{secret}"]',
        'size = "${env:S}"',
        'nmaes = "${env:S}"',
        f'pasword = ["{secret}"]',
        'names = "${env:S}"',
        'interval = "${env:S}"',
        'size = { a = ["${env:S}"] }',
        'size = { password = "hunter2-do-not-show" }',
        'size = "redis://u:pw-do-not-show@h"',
    )
    shown += [complaint(tmp_path, text, environ) for text in wrong]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"[plugins.box]\npassword = {secret}")
    shown.append(str(caught.value))
    for text in shown:
        assert "do-not-show" not in text


@pytest.mark.parametrize("scheme", ["redis://", "redis:/", ""])
@pytest.mark.parametrize("password", ["p4ss", "p4ss/x", "p4ss@x", "p4ss:x"])
def test_a_password_in_a_wrong_url_is_not_shown(tmp_path: Path, scheme: str, password: str) -> None:
    url = f"{scheme}:{password}@host:99999/0"
    (tmp_path / "agent.toml").write_text(f'[plugins.redis_metrics]\nurls = ["{url}"]\n')
    for given in (["--config", str(tmp_path / "agent.toml")], ["--set", f'plugins.redis_metrics.urls=["{url}"]']):
        told = subprocess.run(
            [Path(sys.executable).with_name("predis-agent"), "check-config", *given],
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 78
        assert "p4ss" not in told.stdout + told.stderr
        assert "is no server's URL" in told.stderr
