"""``publish_notebook``: the link to any notebook-style server in an instance, once it answers.

JupyterLab, code-server, RStudio, MLflow, Streamlit: whatever serves HTTP on a port. See docs/notebook-servers.md.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from .errors import OblakoError, WaitError
from .handles import Instance
from .model import ContainerState, PortMapping

if TYPE_CHECKING:
    from .cloud import Ec2

_ASK_TIMEOUT = 5.0
_PAUSE = 0.1
_LOOK = 1.0
"""Seconds between two looks at whether the instance still runs."""
_LOST = {"stopping", "stopped", "shutting-down", "terminated"}


@dataclass(frozen=True)
class Frame:
    """The page of a server inside a notebook's output."""

    server: NotebookServer
    height: int

    def _repr_html_(self) -> str:
        return (
            f'<iframe class="oblako-frame" src="{escape(self.server.open_url)}" width="100%" '
            f'height="{int(self.height)}" style="border: 1px solid var(--jp-border-color2, #e0e0e0);" '
            'referrerpolicy="no-referrer"></iframe>'
        )

    def __str__(self) -> str:
        return self.server.url


@dataclass(frozen=True)
class NotebookServer:
    """A server in an instance that answers at a link on this machine.

    Parameters
    ----------
    url : str
        The page to open; without the token.
    instance_id : str
    port : PortMapping
    """

    url: str
    instance_id: str
    port: PortMapping
    _link: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    @property
    def open_url(self) -> str:
        """A link that also logs in, where a token was given: a new one each time.

        It works once, within five minutes, and has no token in it. Only that of a container without a control plane is
        another: it has the token, and works as long as that.
        """
        return self._link() if self._link is not None else self.url

    def embed(self, height: int = 600) -> Frame:
        """The page in a frame of the notebook's output; a server that forbids frames stays empty in it.

        Parameters
        ----------
        height : int
            Pixels.
        """
        return Frame(self, height)

    def __str__(self) -> str:
        return self.url

    def _repr_html_(self) -> str:
        shown = _anchor(self.url, self.url)
        # Not where the link would have the token in it, which a saved notebook must not keep.
        return f"{shown} ({_anchor(self.open_url, 'log in')})" if isinstance(self._link, _Once) else shown


def _anchor(url: str, text: str) -> str:
    return f'<a href="{escape(url)}" target="_blank" rel="noopener noreferrer">{escape(text)}</a>'


@dataclass(frozen=True)
class _Once:
    """Asks the control plane for a link that opens a page once."""

    ec2: Ec2
    instance_id: str
    port: int
    path: str
    token: str = field(repr=False)

    def __call__(self) -> str:
        return self.ec2.page_link(self.instance_id, self.port, self.path, self.token)


def publish_notebook(
    instance: Instance | ContainerState,
    port: int = 8888,
    *,
    path: str = "/",
    ready: str = "/api",
    token: str | None = None,
    timeout: float = 120.0,
) -> NotebookServer:
    """Publish the port of a notebook-style server, if it is not yet, and wait until the server answers.

    Parameters
    ----------
    instance : Instance or ContainerState
        A handle (``Ec2.run``, ``Ec2.find_one``), or what ``Ec2.start_instance_container`` returned; the latter's ports
        are those of its ``published_ports``.
    port : int
        TCP port that the server listens on in the instance, on all addresses.
    path : str
        The page that the link opens, such as ``/lab``.
    ready : str
        Path at which the server answers once it is ready: with any status but 404 and those from 500 on.
        JupyterLab's is ``/api``, others' ``/healthz`` or ``/health``.
    token : str, optional
        Goes along as ``Authorization: token ...`` and into ``open_url``; never into what is shown.
    timeout : float
        Seconds to wait for the server.

    Returns
    -------
    NotebookServer

    Raises
    ------
    WaitError
        Where it does not answer in time; the port stays published.
    OblakoError
        Where the port can't be published, or the instance ends while it is waited for.
    """
    mapping = _published(instance, port)
    instance_id = instance.id if isinstance(instance, Instance) else instance.instance_id
    link = _opener(instance, port, mapping.url, _rooted(path), token) if token else None
    server = NotebookServer(mapping.url + _rooted(path), instance_id, mapping, link)
    end = look = time.monotonic()
    end += timeout
    while True:
        answer = ask(mapping, _rooted(ready), token)
        if answer.isdecimal() and answer != "404" and int(answer) < 500:
            return server
        now = time.monotonic()
        if isinstance(instance, Instance) and now - look > _LOOK:
            look = now
            if instance.refresh().state in _LOST:
                raise OblakoError(f"{instance.label} is {instance.state}: its server can't answer any more.")
        if now > end:
            said = f"status {answer}" if answer.isdecimal() else answer
            hint = f" %ec2 logs {instance_id} may say more." if isinstance(instance, Instance) else ""
            raise WaitError(
                f"port {port} of {instance_id} is published at {mapping.url}, but {_rooted(ready)} was not ready there "
                f"within {timeout:g} s ({said}); does the server run, listen on 0.0.0.0, and have that path "
                f"(ready=...)?{hint}"
            )
        time.sleep(_PAUSE)


def _opener(instance: Instance | ContainerState, port: int, url: str, path: str, token: str) -> Callable[[], str]:
    if isinstance(instance, Instance) and instance.ec2 is not None:
        return _Once(instance.ec2, instance.id, port, path, token)
    mark = "&" if "?" in path else "?"
    return lambda: f"{url}{path}{mark}{urlencode({'token': token})}"


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _published(instance: Instance | ContainerState, port: int) -> PortMapping:
    there = next((mapping for mapping in instance.ports if mapping.container_port == port and mapping.host_port), None)
    if there is not None:
        return there
    if isinstance(instance, Instance):
        if instance.ec2 is None:
            raise OblakoError(f"{instance.id} was not made by an Ec2, which is what publishes its port.")
        return instance.ec2.publish(instance, port)
    raise OblakoError(
        f"port {port} of {instance.instance_id} is not published, and only the control plane's instances can have one "
        f"published later; start it with published_ports=['{port}']."
    )


def ask(mapping: PortMapping, path: str, token: str | None = None, timeout: float = _ASK_TIMEOUT) -> str:
    """Ask a published port for a path: the HTTP status, or in words why there is none.

    Parameters
    ----------
    mapping : PortMapping
    path : str
    token : str, optional
    timeout : float
        Seconds.
    """
    address = urlsplit(mapping.url)
    # Loopback: a proxy of the environment must not be asked, and is not.
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Authorization": f"token {token}"} if token else {})
        return str(connection.getresponse().status)
    except TimeoutError:
        return "no answer"
    except OSError:
        return "nothing listens"
    except (http.client.HTTPException, ValueError):
        return "what answers is no HTTP"
    finally:
        connection.close()
