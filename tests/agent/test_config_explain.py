"""What a plugin's own model refuses is told in the same words as the agent's: the types that authors use."""

from __future__ import annotations

import enum
from datetime import date
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from agent.api import PluginConfig, Port
from agent.config import load_config


class Color(enum.StrEnum):
    red = "red"
    green = "green"


class Server(BaseModel, extra="forbid"):
    host: str
    port: Port = 1
    tags: list[str] = []


class Typical(PluginConfig):
    must: int = Field(description="how many there must be")
    names: tuple[str, ...] = ()
    color: Color = Color.red
    servers: tuple[Server, ...] = ()
    limits: dict[str, int] = Field({})
    both: int | str = 1
    address: IPv4Address | None = None
    pattern: Annotated[str, Field(pattern="^a+$")] = "a"
    ratio: float = Field(0.5, ge=0, le=1)
    positive: float = Field(0.5, gt=0)
    day: date | None = None
    modes: tuple[Literal["fast", "slow"], ...] = ()
    pair: tuple[int, int] = (1, 2)
    odd: int = 1
    token: SecretStr | None = None
    headers: dict[str, SecretStr] = Field({})

    @field_validator("odd")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("it must be odd")
        return value

    @model_validator(mode="after")
    def _fit(self) -> Typical:
        if len(self.names) > len(self.limits) + 2:
            raise ValueError("there are more names than limits")
        return self


def read(folder: Path, text: str) -> tuple[Typical | None, list[str]]:
    (folder / "agent.toml").write_text("[plugins.x]\n" + text)
    config, problems = load_config(folder / "agent.toml", (), {}).read_plugin("x", Typical)
    assert (config is None) == bool(problems)
    return config, [str(problem).removeprefix(f"{folder}/agent.toml:") for problem in problems]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'must = "x"',
            '2: plugins.x.must: "x" is not a whole number; write a number without quotes, it means: how many',
        ),
        ('names = ["a", 1]', "2: plugins.x.names[1]: 1 is not text; write it in quotes"),
        ('color = "gren"', '2: plugins.x.color: "gren" is not a choice; did you mean "green"? write "red" or "green"'),
        ("color = 1", '2: plugins.x.color: 1 is not a choice; write "red" or "green"'),
        ('modes = ["fast",\n"slwo"]', '3: plugins.x.modes[1]: "slwo" is not a choice; did you mean "slow"?'),
        ("limits = { a = 1.5 }", "2: plugins.x.limits.a: 1.5 is not a whole number; write a number without quotes"),
        ("both = true", "2: plugins.x.both: true is not a whole number or text; write a whole number or text"),
        ('address = "1.2.3"', '2: plugins.x.address: "1.2.3" is wrong: '),
        ('pattern = "b"', '2: plugins.x.pattern: "b" is wrong: '),
        ("ratio = 1.5", "2: plugins.x.ratio: 1.5 is out of range; write a number from 0 to 1"),
        ("positive = 0", "2: plugins.x.positive: 0 is out of range; write more than 0"),
        ("pair = [1]", "2: plugins.x.pair[1]: is missing; add it"),
        ("pair = 1", "2: plugins.x.pair: 1 is not a list; write pair = [ …, … ]"),
        ("odd = 2", "2: plugins.x.odd: 2 is wrong: it must be odd; for example odd = 1"),
        ("token = 5", '2: plugins.x.token: ******** is not text; write it in quotes: token = "…"'),
        ("headers = '{ a = hush }'", "2: plugins.x.headers: ******** is not a table; write "),
        ("headers = { a = 5 }", "2: plugins.x.headers.a: ******** is not text; write it in quotes"),
        ("servers = [{ host = 'h', prot = 1 }]", '2: plugins.x.servers[0].prot: unknown key; did you mean "port"?'),
        ("[[plugins.x.servers]]\nport = 1", "2: plugins.x.servers[0].host: is missing; add host = …"),
        (
            "servers = [\n{ host = 'h', port = 99999 }]",
            "3: plugins.x.servers[0].port: 99999 is out of range; write a num",
        ),
        ("must = 1\nnames = ['a', 'b', 'c']", "1: plugins.x: there are more names than limits"),
    ],
)
def test_a_plugins_model_is_explained(tmp_path: Path, text: str, told: str) -> None:
    # The key that must be there is told as well; a test of its own is about it.
    _, problems = read(tmp_path, text)
    wanted = [problem for problem in problems if "plugins.x.must: is missing" not in problem]
    assert len(wanted) == 1, problems
    assert wanted[0].startswith(told)


def test_a_key_that_must_be_there_is_asked_for_where_its_table_is(tmp_path: Path) -> None:
    _, problems = read(tmp_path, "odd = 1")
    assert problems == ["1: plugins.x.must: is missing; add must = … (how many there must be)"]


def test_toml_values_become_the_models_types(tmp_path: Path) -> None:
    config, problems = read(
        tmp_path,
        'must = 1\ncolor = "green"\nday = 1979-05-27\npair = [3, 4]\naddress = "10.0.0.1"\nratio = 1\nboth = "b"\n'
        'token = "t"\n[[plugins.x.servers]]\nhost = "a"\n[[plugins.x.servers]]\nhost = "b"\n',
    )
    assert problems == []
    assert config is not None
    assert (config.color, config.day, config.pair, config.ratio) == (Color.green, date(1979, 5, 27), (3, 4), 1.0)
    assert (str(config.address), config.both, [server.host for server in config.servers]) == (
        "10.0.0.1",
        "b",
        ["a", "b"],
    )
