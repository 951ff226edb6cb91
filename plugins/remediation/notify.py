"""notify: a message to people, by Apprise (https://github.com/caronc/apprise), which knows over a hundred services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from agent.api import Outcome, PredisError, Task
from plugins.remediation.action import Action, Params, must_have, pick
from plugins.remediation.config import Channel
from plugins.remediation.notes import Notes


class NotifyParams(Params):
    """notify. title and body: in place of what the rule says of itself."""

    channel: str = Field(examples=["oncall"])
    title: str = Field(default="", max_length=500)
    body: str = Field(default="", max_length=20_000)
    severity: Literal["info", "success", "warning", "failure"] = "warning"


class Notify(Action):
    """Sends to each URL of a channel once: who has got it is noted, and does not get it again after a crash."""

    name = "notify"
    help = "Sends a message to people: chat, mail, pager and others, by Apprise."
    Params = NotifyParams
    changes_state = False
    deadline = 60.0

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels

    def target(self, params: NotifyParams) -> str:
        return f"channel:{params.channel}"

    def check(self, params: NotifyParams) -> None:
        must_have("channel", "channel", "channels", self._channels, params.channel)

    def plan(self, params: NotifyParams, task: Task) -> str:
        services = [server.service_name for server in self._open(params)]
        return f"would send “{_title(params, task)}” to {params.channel} ({', '.join(map(str, services))})"

    def run(self, params: NotifyParams, task: Task) -> Outcome:
        notes = Notes(task.host.data_dir)
        reached = set((notes.read(task.intent) or {}).get("reached", []))
        servers = self._open(params)
        failed = []
        for number, server in enumerate(servers):
            if number in reached:
                continue
            if task.cancelled():
                raise PredisError(f"nobody waits for it any more: {len(reached)} of {len(servers)} have got it")
            if _sent(server, _title(params, task), _body(params, task), params.severity):
                reached.add(number)
                notes.write(task.intent, {"reached": sorted(reached), "of": len(servers)})
            else:
                failed.append(str(server.service_name))
        if failed:
            raise PredisError(
                f"{len(reached)} of {len(servers)} in the channel {params.channel} were reached; not "
                f"{', '.join(failed)}: the agent's log has why"
            )
        return Outcome(True, f"sent to {params.channel}: {len(reached)} of {len(servers)} were reached")

    def done_before(self, params: NotifyParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return Outcome(False, "nobody was reached, as far as is known")
        reached, of = len(noted["reached"]), int(noted["of"])
        return Outcome(reached >= of, f"sent to {params.channel}: {reached} of {of} were reached")

    def _open(self, params: NotifyParams) -> list[Any]:
        """Apprise's objects, one for each URL. Raises PredisError, without the URL."""
        try:
            import apprise
        except ImportError:
            raise PredisError("apprise is not installed: pip install 'predis-agent[notify]'") from None
        channel = pick("channel", "channels", self._channels, params.channel)
        servers = []
        for number, url in enumerate(channel.secret_urls, 1):
            server = apprise.Apprise.instantiate(url.get_secret_value(), suppress_exceptions=True)
            if server is None:
                raise PredisError(f"URL {number} of the channel {params.channel} is none that Apprise knows")
            servers.append(server)
        return servers


def _sent(server: Any, title: str, body: str, severity: str) -> bool:
    try:
        return bool(server.notify(title=title, body=body, notify_type=severity))
    except Exception:  # noqa: BLE001 - a service's own mistakes must not keep the others from being told
        return False


def _title(params: NotifyParams, task: Task) -> str:
    return params.title or (f"Predis: {task.rule}" if task.rule else "Predis")


def _body(params: NotifyParams, task: Task) -> str:
    said = params.body or task.event or "A rule fired."
    about = "".join(f"\n{name}: {value}" for name, value in task.attributes.items())
    return f"{said}{about}"
