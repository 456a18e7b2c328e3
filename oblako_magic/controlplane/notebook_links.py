"""Links that open a notebook instance once: what CreatePresignedNotebookInstanceUrl gives out.

The link holds no token of the server's, so that it may stand in a saved notebook; it leads there by a redirect. The
same for any server behind a published port whose token somebody knows (``publish_notebook``).
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from ..model import PortMapping
from .guard import OPEN, host_name
from .records import all_instances
from .semantics import backing

PATH = OPEN
LIFE = 300.0
"""Seconds that a link may be used (SageMaker API reference, CreatePresignedNotebookInstanceUrl)."""
_MOST = 10_000


@dataclass(frozen=True)
class _Link:
    arn: str
    start: object
    expires: float


@dataclass(frozen=True)
class Page:
    """A page of a server behind a published port, and the token that it wants.

    Parameters
    ----------
    instance_id : str
    port : int
        The instance's.
    path : str
        Begins with a slash.
    token : str
    """

    instance_id: str
    port: int
    path: str
    token: str

    def mapping(self) -> PortMapping | None:
        """Where the port is published now; None where it is not. Call with moto's lock held."""
        found = (backing(one) for one in all_instances() if one.id == self.instance_id)
        ports = (port for mine in found for port in (*mine.ports, *mine.live))
        return next((port for port in ports if port.container_port == self.port and port.host_port), None)

    def location(self) -> str:
        """Where the page is, with its token; empty where the port is not published any more."""
        mapping = self.mapping()
        mark = "&" if "?" in self.path else "?"
        return f"{mapping.url}{self.path}{mark}{urlencode({'token': self.token})}" if mapping is not None else ""


class Links:
    """The links that were given out and not used yet; they end with the process.

    Parameters
    ----------
    clock : callable
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._links: dict[str, _Link] = {}
        self._lock = threading.Lock()

    def make(self, arn: str, start: object) -> str:
        """A new link's path.

        Parameters
        ----------
        arn : str
            Of the notebook instance; empty for another server's page.
        start : object
            The start of it that the link is for, or the page.
        """
        nonce = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            for key in [key for key, link in self._links.items() if link.expires <= now]:
                del self._links[key]
            while len(self._links) >= _MOST:
                del self._links[next(iter(self._links))]
            self._links[_digest(nonce)] = _Link(arn, start, now + LIFE)
        return PATH + nonce

    def use(self, path: str) -> tuple[str, object] | None:
        """The notebook instance's ARN and start; None for a link that was used, has expired or never was."""
        with self._lock:
            link = self._links.pop(_digest(path.removeprefix(PATH)), None)
        return (link.arn, link.start) if link is not None and link.expires > self._clock() else None


def _digest(nonce: str) -> str:
    return hashlib.sha256(nonce.encode("utf-8", "replace")).hexdigest()


links = Links()
"""Of this process."""


def page(text: str) -> bytes:
    """The page that is shown in place of a notebook instance."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Notebook instance</title>"
        f"<body style='font-family:sans-serif;margin:4em'><p>{text}</p></body></html>"
    ).encode()


def at_host(location: str, host: str) -> str:
    """Where a link leads for a browser that came by this Host.

    One that came by ``localhost`` is led on by it: to a page at localhost a frame at 127.0.0.1 is another site, and a
    browser takes no cookie there.
    """
    return location.replace("//127.0.0.1:", "//localhost:", 1) if host_name(host) == "localhost" else location


def follow(path: str) -> tuple[str, str]:
    """Use a link: (what to say, where it leads or nothing). Call with moto's lock held."""
    from . import notebook_view, notebooks

    again = "ask for a new one: <code>%ec2 notebook open</code>, or CreatePresignedNotebookInstanceUrl."
    found = links.use(path)
    if found is None:
        return f"This link was used already, or has expired; {again}", ""
    arn, start = found
    if isinstance(start, Page):
        where = start.location()
        return ("The page opens." if where else "The port of this link is not published any more."), where
    notebook = next((one for one in notebooks.all_notebooks() if one.arn == arn), None)
    if notebook is None or notebooks.status(notebook) != "InService":
        return f"The notebook instance of this link is not in service; start it, then {again}", ""
    mine = notebooks.extra(notebook)
    if notebooks.start_of(mine.machine) != start:
        return f"The notebook instance was started again since; {again}", ""
    where = f"{notebook_view.server_url(notebook)}{notebook_view.url_path(notebook)}?token={mine.token}"
    return "The notebook instance opens.", where
