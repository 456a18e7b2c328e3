"""TCP forwarding: what connects to a listener on the host is carried on to where its target is just now.

Knows neither moto nor engines: whoever opens a listener says where its connections go. One event loop in a
thread of its own; every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
import sys
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from ..errors import OblakoError, PortTaken

log = logging.getLogger(__name__)

Key = tuple[str, int]
"""Whose listener it is: (instance id, port of the instance)."""
Target = tuple[str, int]
"""Where to carry a connection on to: (address, TCP port)."""

_BACKLOG = 512
_DIAL_TIMEOUT = 10.0
"""Seconds: an address that nobody has any more does not refuse, it is silent."""
_CALL_TIMEOUT = 10.0
_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
T = TypeVar("T")


class _Side(asyncio.Protocol):
    """One of the two ends of a forwarded connection; what comes in here goes out at the other."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self.ended = False
        """Whether this end has said that it sends no more."""

    @property
    def _way_out(self) -> asyncio.Transport | None:
        return self._link.other(self).transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # A container that is gone without a goodbye is found out in the end.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._link.made(self)

    def data_received(self, data: bytes) -> None:
        if self._way_out is not None:
            self._way_out.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        self._link.ended(self)
        return True  # the way back stays open: a client that sends no more still gets its answer

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost(self)

    def pause_writing(self) -> None:
        # This end takes no more for now: nothing more is read from the other, which holds its sender back.
        if self._way_out is not None:
            self._way_out.pause_reading()

    def resume_writing(self) -> None:
        if self._way_out is not None:
            self._way_out.resume_reading()


class _Link:
    """One forwarded connection: the client's end is near, the instance's is far."""

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self.near = _Side(self)
        self.far = _Side(self)
        self._over = False
        self._dialing: asyncio.Task[None] | None = None

    def other(self, side: _Side) -> _Side:
        return self.far if side is self.near else self.near

    def made(self, side: _Side) -> None:
        if self._over:
            _cut(side)
        elif side is self.near:
            assert side.transport is not None
            side.transport.pause_reading()
            self._listener.links.add(self)
            self._dialing = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        target = self._listener.target
        if target is None:
            self.reset()
            return
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.create_connection(lambda: self.far, *target), _DIAL_TIMEOUT)
        except (OSError, asyncio.TimeoutError):
            # Nobody listens there (yet): the client is told as a refused connection would tell it.
            self.reset()
            return
        if self.near.transport is not None:
            self.near.transport.resume_reading()

    def ended(self, side: _Side) -> None:
        """One end sends no more: tell the other one, and close when neither does."""
        other = self.other(side)
        if other.transport is None:
            return
        if not other.transport.is_closing():
            with contextlib.suppress(OSError):
                other.transport.write_eof()
        if other.ended:
            for one in (side, other):
                if one.transport is not None:
                    one.transport.close()

    def lost(self, side: _Side) -> None:
        """One end is gone. Where both had not come to their end, the other one is cut off, too."""
        if not (side.ended and self.other(side).ended):
            self.reset()
        self._over = True
        self._listener.links.discard(self)

    def reset(self) -> None:
        """Cut both ends off, so that they see it as what it is: no orderly end."""
        if self._over:
            return
        self._over = True
        self._listener.links.discard(self)
        if self._dialing is not None and self._dialing is not asyncio.current_task():
            self._dialing.cancel()
        for side in (self.near, self.far):
            _cut(side)


def _cut(side: _Side) -> None:
    if side.transport is not None:
        with contextlib.suppress(OSError):
            side.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        side.transport.abort()


@dataclass(eq=False)
class _Listener:
    """A port on the host, where its connections go, and those that there are."""

    target: Target | None
    server: asyncio.Server | None = None
    links: set[_Link] = field(default_factory=set)

    def cut(self) -> None:
        for link in list(self.links):
            link.reset()


class Forwarder:
    """The listeners of one control plane."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._listeners: dict[Key, _Listener] = {}
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        _more_files()
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def stop(self) -> None:
        """Close every listener, cut every connection, end the thread."""
        if not self._thread.is_alive():
            return
        self._call(self._close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_TIMEOUT)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT)

    def open(self, key: Key, host: str, port: int, target: Target | None) -> None:
        """Listen; whatever the key had before is closed first.

        Parameters
        ----------
        key : (str, int)
        host : str
            Address on the host.
        port : int
            TCP port on the host.
        target : (str, int) or None
            None: nobody is there yet, connections are reset.

        Raises
        ------
        PortTaken
            Where the port is in use.
        OblakoError
            Where it can't be listened on for another reason.
        """
        self._call(self._open(key, host, port, target))

    async def _open(self, key: Key, host: str, port: int, target: Target | None) -> None:
        self._close(key)
        listener = _Listener(target)
        again = sys.platform != "win32" or None  # there it would let two listen on the same port
        try:
            listener.server = await self._loop.create_server(
                lambda: _Link(listener).near, host, port, backlog=_BACKLOG, reuse_address=again
            )
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)):
                raise PortTaken(f"port {port} on {host} is in use; free it or publish {key[1]} on another.") from error
            reason = error.strerror or str(error)
            raise OblakoError(f"port {port} on {host} can't be listened on ({reason}); choose another.") from error
        self._listeners[key] = listener

    def lead(self, key: Key, target: Target | None) -> None:
        """Say where new connections go; those that went elsewhere are cut."""
        self._call(self._lead(key, target))

    async def _lead(self, key: Key, target: Target | None) -> None:
        listener = self._listeners.get(key)
        if listener is not None and listener.target != target:
            listener.target = target
            listener.cut()

    def close(self, key: Key) -> None:
        """Listen no more and cut the connections; one that does not listen is left as it is."""
        self._call(self._close_one(key))

    async def _close_one(self, key: Key) -> None:
        self._close(key)

    def _close(self, key: Key) -> None:
        listener = self._listeners.pop(key, None)
        if listener is not None:
            if listener.server is not None:
                listener.server.close()
            listener.cut()

    async def _close_all(self) -> None:
        for key in list(self._listeners):
            self._close(key)

    def connections(self, key: Key) -> int:
        """How many connections go through now."""

        async def count() -> int:
            listener = self._listeners.get(key)
            return len(listener.links) if listener is not None else 0

        return self._call(count())


def _more_files() -> None:
    """Every connection takes two files; where the user may have more than the usual 1024, have them."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
