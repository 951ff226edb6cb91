"""SHUTDOWN ends the process as a signal does: what has arrived is answered, the data are there for the next start."""

import signal
from pathlib import Path

import pytest

from core_cache.resp_client import ConnectionFailed
from tests import servers
from tests.core_cache.raw_resp import RawClient, encode, words
from tests.waiting import wait_until


@pytest.mark.parametrize("options", ["", " NOSAVE", " SAVE", " NOW FORCE", " now save now"])
def test_shutdown_ends_the_process_and_keeps_the_data(tmp_path: Path, options: str) -> None:
    server = servers.start_cache(tmp_path, "--no-auth")
    client, other = RawClient(server.port), RawClient(server.port)
    assert other.command(b"PING") == b"+PONG\r\n"
    client.send_all([words("SET before 1"), words(f"SHUTDOWN{options}"), words("SET after 1")])
    assert client.reply() == b"+OK\r\n"
    assert client.read_to_end() == b"", "SHUTDOWN has no reply, and nothing behind it is run"
    assert other.read_to_end() == b""
    assert server.process.wait(20) == 0
    assert "SHUTDOWN" in server.log_text()
    again = servers.start_cache(tmp_path, "--no-auth")
    with again.client() as reader:
        assert reader.command("KEYS", "*") == [b"before"]
    assert again.stop() == 0


def test_what_other_clients_have_sent_is_answered_first(tmp_path: Path) -> None:
    server = servers.start_cache(tmp_path, "--no-auth")
    client, busy = RawClient(server.port), RawClient(server.port)
    busy.command(b"PING")
    server.process.send_signal(signal.SIGSTOP)  # so that both have sent before the server looks
    busy.send(b"".join(encode(words(f"SET k{number} v")) for number in range(1000)))
    client.send(encode(words("SHUTDOWN")))
    server.process.send_signal(signal.SIGCONT)
    assert busy.read_to_end() == b"+OK\r\n" * 1000
    assert server.process.wait(20) == 0


def test_an_agent_starts_the_cache_again(running_agent: servers.Server) -> None:
    def pid() -> int:
        return int((running_agent.data_dir / "cache.pid").read_text())

    first = pid()
    with running_agent.client() as client:
        client.command("SET", "k", "v")
        with pytest.raises(ConnectionFailed):  # the connection ends instead of a reply
            client.command("SHUTDOWN")

    def back() -> bool:
        try:
            return pid() != first and running_agent.answers()
        except (OSError, ValueError):
            return False

    wait_until(back, 30, "the cache's restart")
    with running_agent.client() as client:
        assert client.command("GET", "k") == b"v"
