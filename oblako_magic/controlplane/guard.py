"""Who may call the endpoint: requests with an expected Host, no foreign Origin, no browser navigation.

Pure; no I/O. A web page can make a browser send requests to loopback. It can't set Host, Origin,
Sec-Fetch-Site or, without being asked first, Authorization.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from .. import names
from .process import API, HEADER

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", names.HOST_ALIAS, "host.containers.internal"})
_UNSIGNED = re.compile(rb"(?:^|&)Action=AssumeRoleWith(?:SAML|WebIdentity)(?:&|$)")
_HEADER = "HTTP_" + HEADER.upper().replace("-", "_")


def host_name(value: str) -> str:
    """The host part of a Host header or an origin's netloc, without port and brackets."""
    try:
        return (urlsplit(f"//{value}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class Guard:
    """Decides on one request at a time.

    Parameters
    ----------
    allow_reset : bool
        Whether moto's own ``/moto-api`` may be called.
    """

    def __init__(self, allow_reset: bool = False) -> None:
        self._allow_reset = allow_reset
        self._hosts = set(LOCAL_HOSTS)

    def allow_hosts(self, hosts: Iterable[str]) -> None:
        """Expect these Host names, too: the engine's bridge."""
        self._hosts.update(host.lower() for host in hosts)

    def refusal(self, environ: Mapping[str, Any], body: bytes) -> str:
        """Why the request is refused; empty where it may pass."""
        host = host_name(environ.get("HTTP_HOST", ""))
        if host.lower() not in self._hosts:
            given = environ.get("HTTP_HOST", "")
            return f"the Host header {given!r} is not one of this endpoint's; use 127.0.0.1 or localhost."
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin != f"http://{environ.get('HTTP_HOST')}":
            return f"requests from the origin {origin!r} are not allowed."
        if environ.get("HTTP_SEC_FETCH_SITE") not in (None, "none", "same-origin"):
            return "requests that another site makes a browser send are not allowed."
        path = environ.get("PATH_INFO", "")
        if path.startswith(API):
            return "" if environ.get(_HEADER) else f"this API wants the header {HEADER}."
        if path.startswith("/moto-api"):
            return "" if self._allow_reset else "moto's own API is switched off; OBLAKO_ALLOW_RESET=on allows it."
        if path.startswith("/latest/"):
            return "the endpoint is no instance metadata service."
        if environ.get("HTTP_AUTHORIZATION") or _UNSIGNED.search(body):
            return ""
        return "the request is not signed; any access key will do (oblako env prints one)."
