"""How the control plane's own API is spoken: where it listens, its headers, one call. No AWS, no files.

Imported by every front end, so that nothing heavy is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ControlPlaneError, ControlPlaneTimeout

PROTOCOL = 1
"""Raised when the control plane's own API (not AWS's) changes; both sides must agree on it."""
API = "/_oblako/v1"
HEADER = "X-Oblako"
"""Sent with every call of that API: a web page can't send it to a foreign server without being refused."""
MAX_BODY = 64 << 20
"""Bytes that a request may have."""
KEY_HEADER = "X-Oblako-Key"
"""With it goes the key of the runtime file, where one is asked for."""


class NoAnswer(ControlPlaneError):
    """Nothing listens there, or it hung up."""


@dataclass(frozen=True)
class Runtime:
    """Where a control plane listens; one that runs elsewhere has no process id here."""

    pid: int
    port: int
    version: str
    protocol: int
    host: str = "127.0.0.1"
    key: str = ""

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://{self.host}:{self.port}"


def call(
    runtime: Runtime,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    timeout: float = 10,
    agent: str = "",
    on_open: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Call the control plane's own API.

    Parameters
    ----------
    runtime : Runtime
    method, path : str
    body : dict, optional
    timeout : float
        Seconds.
    agent : str
        Who calls, for the log of events.
    on_open : callable, optional
        Gets the socket before the call waits for its answer: whoever shuts it down ends the wait.

    Raises
    ------
    ControlPlaneError
        Where it does not answer, or answers with an error.
    """
    # Here, not above: with ssl and email it is a third of what %load_ext takes, which calls nothing.
    import http.client

    connection = http.client.HTTPConnection(runtime.host, runtime.port, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body)
        headers = {HEADER: str(PROTOCOL), "Content-Type": "application/json"}
        if agent:
            headers["User-Agent"] = agent
        if runtime.key:
            headers[KEY_HEADER] = runtime.key
        connection.connect()
        if on_open is not None:
            on_open(connection.sock)
        connection.request(method, API + path, data, headers)
        response = connection.getresponse()
        raw = response.read()
    except TimeoutError as error:
        raise ControlPlaneTimeout(
            f"the control plane at {runtime.url} did not answer within {timeout:.0f} s."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        where = "" if runtime.pid else " (where it runs, not here)"
        raise NoAnswer(
            f"the control plane at {runtime.url} does not answer; start it with: oblako up{where}"
        ) from error
    finally:
        connection.close()
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ControlPlaneError(f"what listens at {runtime.url} is not a control plane of oblako_magic.")
    if response.status >= 400:
        raise ControlPlaneError(str(answer.get("error") or f"the control plane refused the call ({response.status})."))
    return answer
