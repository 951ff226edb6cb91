"""docs/commands.md says exactly what the cache understands, and what of Redis it does not."""

from tests.core_cache.commands_page import FLAGS, NOTES, TITLES, Catalogue, missing, page
from tests.core_cache.compare import Pair
from tests.core_cache.raw_resp import Command
from tests.core_cache.redis_commands import REDIS_COMMANDS
from tests.servers import ROOT


def test_the_document_is_what_the_engine_says() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert text == page(), "run: python -m tests.core_cache.commands_page > docs/commands.md"


def test_every_command_is_in_a_group_and_every_note_is_used() -> None:
    catalogue = Catalogue()
    assert {catalogue.group(name) for name in catalogue.infos} <= TITLES.keys()
    assert TITLES.keys() == REDIS_COMMANDS.keys()
    assert NOTES.keys() <= catalogue.infos.keys()
    flags = {flag.decode() for info in catalogue.infos.values() for flag in info[2]}
    assert set(FLAGS) - {"blocking", "pubsub"} <= flags


def test_the_list_of_redis_commands_is_that_of_a_real_one(pair2: Pair) -> None:
    """COMMAND LIST of redis-server 7.0 with all subcommands, and the groups of COMMAND DOCS."""
    names: dict[bytes, str] = {}

    def walk(docs: list[object]) -> None:
        for name, doc in zip(docs[::2], docs[1::2], strict=True):
            assert isinstance(name, bytes)
            assert isinstance(doc, list)
            facts = dict(zip(doc[::2], doc[1::2], strict=True))
            names[name] = facts[b"group"].decode()
            walk(facts.get(b"subcommands", []))

    walk(pair2.redis.value(b"COMMAND", b"DOCS"))
    assert names.keys() == set(pair2.redis.value(b"COMMAND", b"LIST"))
    assert {name.encode(): group for group, listed in REDIS_COMMANDS.items() for name in listed} == names


def test_what_is_not_there_gets_the_error_of_an_unknown_command(pair2: Pair) -> None:
    """The same that redis-server gives for a name that it does not know."""
    for name in missing(Catalogue()):
        parts: Command = tuple(name.upper().encode().split(b"|"))
        ours = pair2.ours.command(*parts, b"argument")
        unknown = (*parts[:-1], b"X" * len(parts[-1]))
        theirs = pair2.redis.command(*unknown, b"argument")
        assert ours == theirs.replace(unknown[-1], parts[-1]), name
        assert b"unknown" in ours
