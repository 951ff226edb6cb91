"""Asks the running agent over its HTTP API. The standard library's client is all this needs."""

from __future__ import annotations

import http.client
import ipaddress
import json
from typing import Any

from agent.config.models import Config, is_loopback
from agent.errors import AgentUnreachable, PredisError

_TIMEOUT = 5.0  # seconds; the agent answers from memory


def get_json(config: Config, path: str, patience: float = _TIMEOUT, *, with_token: bool = False) -> dict[str, Any]:
    """The JSON object at ``path``, for which it waits ``patience`` seconds at most; some paths need the token.

    Raises AgentUnreachable when no agent answers at the configured address, PredisError with an answer's own reason.
    """
    return _ask(config, "GET", path, patience, with_token)


def post_json(config: Config, path: str) -> dict[str, Any]:
    """Asks the agent to do something; gives its answer. Raises PredisError with its reason when it does not."""
    return _ask(config, "POST", path)


def _ask(config: Config, method: str, path: str, patience: float = _TIMEOUT, with_token: bool = True) -> dict[str, Any]:
    host, port = _reachable(config.http.host), config.http.port
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    open_to_all = not with_token and is_loopback(config.http.host)
    headers = {} if open_to_all else {"Authorization": f"Bearer {_token(config)}"}
    connection = http.client.HTTPConnection(host, port, timeout=patience)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read()
    except ConnectionRefusedError:
        raise AgentUnreachable(
            f"no agent runs at {where}; start one with `predis-agent run`, or name its configuration with --config"
        ) from None
    except TimeoutError:
        raise AgentUnreachable(f"{where} does not answer within {patience:g} s") from None
    except http.client.HTTPException:
        raise AgentUnreachable(f"{where} does not speak HTTP: another program has the port") from None
    except OSError as error:
        raise AgentUnreachable(f"cannot reach {where}: {error.strerror or error}") from None
    finally:
        connection.close()
    if response.status in (401, 403):
        raise PredisError(f"{where} refuses the token in {config.agent.data_dir / 'http.token'}")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if response.status in (400, 404, 409) and isinstance(answer, dict) and isinstance(answer.get("error"), str):
        raise PredisError(answer["error"])
    if response.status not in (200, 202) or not isinstance(answer, dict):
        raise AgentUnreachable(f"{where}{path} is not Predis' (HTTP status {response.status}): another program's port?")
    return answer


def _reachable(host: str) -> str:
    """The address to connect to for an agent that is bound to ``host``."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "::1" if address.version == 6 else "127.0.0.1"
    return host


def _token(config: Config) -> str:
    path = config.agent.data_dir / "http.token"
    try:
        return path.read_text().strip()
    except OSError as error:
        reason = error.strerror or error
        raise PredisError(f"cannot read the API token {path}: {reason}; run this as the agent's user") from None
