"""Ports of running instances on this machine: the part of ``Ec2`` that publishes and unpublishes them."""

from __future__ import annotations

from . import notebook_server
from .handles import Instance
from .inside import Inside
from .model import ContainerState, PortMapping
from .notebook_server import NotebookServer

_PUBLISH_TIMEOUT = 960
"""Seconds: where a relay is needed its image may have to be pulled first (``OBLAKO_PULL_TIMEOUT``)."""


class Ports(Inside):
    """Publish ports while instances run."""

    def publish(self, instance: Instance, port: int, host_port: int | None = None) -> PortMapping:
        """Make a TCP port of an instance reachable on this machine, at once and until it is unpublished.

        The port is the instance's from then on: it is back after stop and start, and after a restart of the control
        plane. Nothing in the instance is changed or restarted (ADR 0007).

        Parameters
        ----------
        instance : Instance
            One that runs; of a stopped one the port answers once it is started.
        port : int
            TCP port that something in the instance listens on, now or later, on more than its own loopback.
        host_port : int, optional
            TCP port on this machine; by default one of ``OBLAKO_PUBLISH_PORTS``.

        Returns
        -------
        PortMapping
            With ``url``; the one that there is, where the port is published already.

        Raises
        ------
        ControlPlaneError
            Where the host port is in use, the instance has ended or is simulated, or its port is published on another
            host port already.
        """
        body = {"id": instance.id, "port": port, "host_port": host_port or 0}
        answer = self._call("POST", "/publish", body, timeout=_PUBLISH_TIMEOUT)
        mapping = PortMapping(port, int(answer["host_port"]), str(answer["host"]), bool(answer["live"]))
        instance.ports = [*(there for there in instance.ports if there.container_port != port), mapping]
        return mapping

    def unpublish(self, instance: Instance, port: int) -> None:
        """Take a port off this machine that ``publish`` has put there; connections through it are cut.

        Parameters
        ----------
        instance : Instance
        port : int
            The instance's port. One that is not published is fine.

        Raises
        ------
        ControlPlaneError
            Where the port was published at launch: the engine holds it until the instance is terminated.
        """
        self._call("POST", "/unpublish", {"id": instance.id, "port": port}, timeout=60)
        instance.ports = [there for there in instance.ports if there.container_port != port]

    def page_link(self, instance_id: str, port: int, path: str, token: str) -> str:
        """A link that opens a page of a server behind a published port once, within five minutes, with its token.

        Parameters
        ----------
        instance_id : str
        port : int
            The instance's.
        path : str
            Begins with a slash.
        token : str
            The server's; the link does not have it.

        Raises
        ------
        ControlPlaneError
            Where the port is not published.
        """
        body = {"id": instance_id, "port": port, "path": path, "token": token}
        return str(self._call("POST", "/link", body)["url"])

    def publish_notebook(
        self,
        instance: Instance | ContainerState,
        port: int = 8888,
        *,
        path: str = "/",
        ready: str = "/api",
        token: str | None = None,
        timeout: float = 120.0,
    ) -> NotebookServer:
        """Publish the port of a notebook-style server and wait until it answers; ``publish_notebook`` has the contract.

        Raises
        ------
        WaitError, OblakoError
        """
        return notebook_server.publish_notebook(instance, port, path=path, ready=ready, token=token, timeout=timeout)
