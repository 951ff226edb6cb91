"""What leaves the agent holds no secret: whatever form it has, wherever in the configuration it stands."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.load import load_config
from agent.config.scrub import SHORTEST, Scrubber, scrubber, secrets_of
from agent.config.show import MASK, mask, show
from agent.errors import ConfigError
from agent.logs import MOST_SECRETS, AgentLog

SECRETS = st.text(min_size=SHORTEST, max_size=40).filter(lambda text: len(text.strip()) >= SHORTEST)


@given(SECRETS, st.text(max_size=20), st.text(max_size=20))
def test_a_secret_is_found_in_every_form(secret: str, before: str, after: str) -> None:
    scrub = Scrubber([secret])
    forms = [secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]]
    if secret.isprintable():
        forms += [quote(secret), quote(secret, safe=""), base64.b64encode(secret.encode()).decode()]
    for form in forms:
        assert form not in scrub.text(before + form + after).replace(MASK, "") or form in before + after


@given(st.lists(SECRETS, max_size=5), st.text())
def test_a_text_without_secrets_stays_as_it_is(secrets: list[str], text: str) -> None:
    scrub = Scrubber(secrets)
    if scrub.text(text) != text:
        assert MASK in scrub.text(text)
    assert Scrubber().text(text) == text


def test_of_two_secrets_the_longer_one_is_masked_whole() -> None:
    assert Scrubber(["abcdef", "abcdef-ghi"]).text("x abcdef-ghi y") == f"x {MASK} y"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("from-a-file\n")
    (tmp_path / "agent.toml").write_text(
        """
        [agent]
        data_dir = "data"
        [cache.tenants.shop]
        prefix = "shop:"
        memory = "16MiB"
        password = "tenants-own"
        [plugins.redis_metrics]
        urls = ["redis://alice:in%2Da-url@127.0.0.1:1", "redis://only-a-user@127.0.0.1:2"]
        username = "${env:WHO}"
        password = "written-out"
        [plugins.other]
        headers = {authorization = "${file:token}", "x-api-key" = "key-of-header", "x-team" = "team-of-header"}
        user_key = "of-a-user"
        nested = [{api_keys = ["first-key", "second-key"]}]
        plain = "no-secret"
        credentials = {user = "below-credentials"}
        [plugins.vault_token]
        plain = "no-secret-either"
        """
    )
    return tmp_path / "agent.toml"


def test_secrets_are_found_by_name_by_reference_and_in_urls(config: Path) -> None:
    loaded = load_config(config, ["plugins.third.secret=from-set"], {"WHO": "from-environ", "MY_TOKEN": "exported"})
    found = set(secrets_of(loaded.sources, loaded.environ))
    assert found >= {
        "tenants-own", "in-a-url", "in%2Da-url", "only-a-user", "from-environ", "written-out", "from-a-file",
        "key-of-header", "team-of-header", "of-a-user", "first-key", "second-key", "below-credentials",
        "from-set", "exported",
    }  # fmt: skip
    assert found.isdisjoint({"no-secret", "no-secret-either"})


def test_the_passwords_that_the_agent_made_are_secrets_too(config: Path) -> None:
    for name in ("cache.password", "http.token", "tenants/shop.password"):
        path = config.parent / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"made-for-{path.stem}\n")
    scrub = scrubber(load_config(config, (), {"WHO": "somebody"}))
    assert scrub.text("made-for-cache made-for-http made-for-shop") == f"{MASK} {MASK} {MASK}"


def test_what_stands_below_a_secrets_name_or_in_headers_is_shown_nowhere() -> None:
    value = {"headers": {"x-team": "abc"}, "credentials": {"user": "abc"}, "tokens": ["abc"], "user": "me"}
    assert "abc" not in show(value, 1000)
    assert "me" in show(value, 1000)
    assert mask("table", value) == {
        "headers": {"x-team": MASK}, "credentials": {"user": MASK}, "tokens": [MASK], "user": "me",
    }  # fmt: skip


def test_the_log_learns_the_secrets_of_what_is_refused_and_forgets_none_of_before(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[plugins.a]\npassword = 'the-old-one'\n")
    loaded = load_config(tmp_path / "agent.toml", (), {})
    log = AgentLog()
    log.use(loaded)
    (tmp_path / "agent.toml").write_text("[plugins.a]\npassword = 'the-new-one'\n[cache]\nport = 'many'\n")
    with pytest.raises(ConfigError):
        loaded.reload(log.learn)
    assert log.scrubber.text("the-old-one the-new-one") == f"{MASK} {MASK}"
    (tmp_path / "agent.toml").write_text("")
    log.use(loaded.reload(log.learn))
    assert log.scrubber.text("the-old-one") == MASK, "what was stopped may still tell it"


def test_there_is_an_end_to_the_secrets_that_are_remembered(tmp_path: Path) -> None:
    log = AgentLog()
    for number in range(0, MOST_SECRETS + 100, 100):
        (tmp_path / "agent.toml").write_text(
            "".join(f"[plugins.p{each}]\npassword = 'secret-{each:06}'\n" for each in range(number, number + 100))
        )
        load_config(tmp_path / "agent.toml", (), {}, log.learn)
    texts = [f"secret-{each:06}" for each in (0, 99, 100, MOST_SECRETS + 99)]
    assert [log.scrubber.text(text) for text in texts] == ["secret-000000", "secret-000099", MASK, MASK]
