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
from agent.config.show import MASK

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
        """
    )
    return tmp_path / "agent.toml"


def test_secrets_are_found_by_name_by_reference_and_in_urls(config: Path) -> None:
    loaded = load_config(config, ["plugins.third.secret=from-set"], {"WHO": "from-environ", "MY_TOKEN": "exported"})
    assert set(secrets_of(loaded)) >= {
        "tenants-own", "in-a-url", "in%2Da-url", "only-a-user", "from-environ", "written-out", "from-a-file",
        "key-of-header", "team-of-header", "of-a-user", "first-key", "second-key", "from-set", "exported",
    }  # fmt: skip
    assert "no-secret" not in set(secrets_of(loaded))


def test_the_passwords_that_the_agent_made_are_secrets_too(config: Path) -> None:
    for name in ("cache.password", "http.token", "tenants/shop.password"):
        path = config.parent / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"made-for-{path.stem}\n")
    scrub = scrubber(load_config(config, (), {"WHO": "somebody"}))
    assert scrub.text("made-for-cache made-for-http made-for-shop") == f"{MASK} {MASK} {MASK}"
