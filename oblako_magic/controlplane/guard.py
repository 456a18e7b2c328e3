"""Who may call the endpoint: requests with an expected Host, no foreign Origin, no browser navigation.

Pure; no I/O. A web page can make a browser send requests to loopback. It can't set Host, Origin,
Sec-Fetch-Site or, without being asked first, Authorization.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from .. import names
from . import peers
from .process import API, HEADER, KEY_HEADER

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", names.HOST_ALIAS, "host.containers.internal"})
_UNSIGNED = re.compile(rb"(?:^|&)Action=AssumeRoleWith(?:SAML|WebIdentity)(?:&|$)")
_ROLE_THERE = re.compile(rb"Action=AssumeRole\b.*(?::|%3A){2}" + names.NOTEBOOK_ACCOUNT.encode())
_ACCESS_KEY = re.compile(r"Credential=([^/,\s]+)/")
_HEADER, _KEY_HEADER = (f"HTTP_{name.upper().replace('-', '_')}" for name in (HEADER, KEY_HEADER))
FOR_INSTANCES = frozenset({("GET", "/hello"), ("GET", "/instances"), ("GET", "/notebooks")})
"""What instances may call of the own API: what says no more than Describe actions do, and changes nothing."""
OPEN = "/_oblako/open/"
"""Links that open a notebook instance."""
PEER = "oblako.peer"
"""In a request's environment: whose the other end of its connection is (``peers.Peer``)."""


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
    user : int or None
        The one user who may call, beside root; None where the system tells no users or all may call.
    key : str
        The only access key that may be used; empty: any may.
    """

    def __init__(self, allow_reset: bool = False, user: int | None = None, key: str = "") -> None:
        self._allow_reset = allow_reset
        self._user = user
        self._key = key
        self._hosts = set(LOCAL_HOSTS)

    def allow_hosts(self, hosts: Iterable[str]) -> None:
        """Expect these Host names, too: the engine's bridge."""
        self._hosts.update(host.lower() for host in hosts)

    def stranger(self, environ: Mapping[str, Any]) -> str:
        """Why whoever is at the other end of the connection is refused; empty where they may ask."""
        if self._user is None:
            return ""
        peer = environ.get(PEER, peers.UNKNOWN)
        if peer in (0, self._user):
            return ""
        if peer == peers.INSTANCE:
            path = environ.get("PATH_INFO", "")
            call = (environ.get("REQUEST_METHOD"), path.removeprefix(API))
            if path.startswith(OPEN) or (path.startswith(API) and call not in FOR_INSTANCES):
                return "an instance may not ask this of the control plane; do it outside, where the control plane runs."
            return ""
        who = "a program that can't be told" if peer == peers.UNKNOWN else f"user {peer}"
        return (
            f"the control plane is user {self._user}'s and this is {who}; its user lets others in with "
            "OBLAKO_ALLOW_OTHER_USERS=on."
        )

    def _has_key(self, environ: Mapping[str, Any]) -> bool:
        if not self._key:
            return True
        given = environ.get(_KEY_HEADER) or ""
        if not given:
            match = _ACCESS_KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
            given = match.group(1) if match else ""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._key.encode())

    @staticmethod
    def _asks_for_service_account(environ: Mapping[str, Any], body: bytes) -> bool:
        """Whether a request wants to act in the account that no user has; moto takes an account for an access key."""
        match = _ACCESS_KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
        chosen = (match.group(1) if match else "", environ.get("HTTP_X_MOTO_ACCOUNT_ID", ""))
        return names.NOTEBOOK_ACCOUNT in chosen or bool(_ROLE_THERE.search(body))

    def refusal(self, environ: Mapping[str, Any], body: bytes) -> str:
        """Why the request is refused; empty where it may pass."""
        host = host_name(environ.get("HTTP_HOST", ""))
        if host.lower() not in self._hosts:
            given = environ.get("HTTP_HOST", "")
            return f"the Host header {given!r} is not one of this endpoint's; use 127.0.0.1 or localhost."
        if environ.get("PATH_INFO", "").startswith(OPEN):
            # A click in a notebook is another site's doing. What it opens is a secret of 256 bits, used once.
            return "" if environ.get("REQUEST_METHOD") == "GET" else "a link is opened with GET."
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin != f"http://{environ.get('HTTP_HOST')}":
            return f"requests from the origin {origin!r} are not allowed."
        if environ.get("HTTP_SEC_FETCH_SITE") not in (None, "none", "same-origin"):
            return "requests that another site makes a browser send are not allowed."
        if not self._has_key(environ):
            return "the access key is not this control plane's; use the one that oblako env prints."
        if self._asks_for_service_account(environ, body):
            return f"the account {names.NOTEBOOK_ACCOUNT} has the machines of notebook instances and is not to be used."
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
