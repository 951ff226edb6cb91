"""docs/commands.md says exactly what the cache understands."""

import re

from tests.servers import ROOT, Server


def test_the_document_lists_every_command_and_no_other(cache_server: Server) -> None:
    with cache_server.client() as client:
        names = client.command("COMMAND", "LIST")
    assert isinstance(names, list)
    understood = {name.decode() for name in names if isinstance(name, bytes)}
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| `")]
    listed = {name.lower().replace(" ", "|") for row in rows for name in re.findall(r"`([A-Z][A-Z_ -]*)`", row)}
    assert listed == {name for name in understood if "|" not in name}
