"""A program on a terminal (TTY) of its own in an instance: bytes in, bytes out, a size."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from .. import names
from ..errors import EngineError, EngineUnavailable
from .client import Engine
from .translate import FOREIGN, translated

_PIECE = 1 << 16
# What comes with the answer's head may get lost in the client's buffer, and a size can be set only on what runs: so
# nothing is written, and the program not begun, before the first line arrives.
_WAIT = 'read -r _ && exec "$@"'
_ECHO = b"\r\n"


class Terminal:
    """One program with its terminal.

    Parameters
    ----------
    engine : Engine
    instance_id : str
    argv : sequence of str
    user : str
        The image's own by default.
    env : mapping of str to str, optional
    size : tuple of int
        Rows and columns.

    Raises
    ------
    EngineError
        Where it can't be started.
    """

    def __init__(
        self,
        engine: Engine,
        instance_id: str,
        argv: Sequence[str],
        *,
        user: str = "",
        env: Mapping[str, str] | None = None,
        size: tuple[int, int] = (24, 80),
    ) -> None:
        self._engine = engine
        self._echo = _ECHO
        what = f"open a shell on {instance_id}"
        with translated(what):
            made = engine.api.exec_create(
                names.container_name(instance_id),
                ["/bin/sh", "-c", _WAIT, "sh", *argv],
                stdin=True,
                tty=True,
                user=user,
                environment=dict(env or {}),
            )
        self.id = str(made["Id"])
        self._client = engine.stream_client()
        try:
            with translated(what):
                self._held = self._client.exec_start(self.id, tty=True, socket=True)
        except BaseException:
            self._client.close()
            raise
        # Of a Unix or TCP socket docker-py gives the file over it; a named pipe and SSH are as they are.
        self._socket: Any = getattr(self._held, "_sock", self._held)
        self.resize(*size)
        self.write(b"\n")

    def read(self) -> bytes:
        """The next piece of output; empty at the end."""
        while True:
            try:
                data = bytes(self._socket.recv(_PIECE))
            except (OSError, ValueError):  # closed meanwhile, by us or by the engine
                return b""
            if not data:
                return b""
            if self._echo:  # the terminal's own of the line that begins it
                data, self._echo = _without(data, self._echo)
            if data:
                return data

    def write(self, data: bytes) -> None:
        """Type.

        Raises
        ------
        EngineUnavailable
            Where the program has ended, or the engine has gone away.
        """
        try:
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            raise EngineUnavailable("the shell has ended.") from error

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its size; of one that has ended it is nobody's."""
        with contextlib.suppress(EngineError), translated("resize a terminal"):
            self._engine.api.exec_resize(self.id, height=max(1, min(rows, 1000)), width=max(1, min(columns, 1000)))

    def close(self) -> None:
        """Give up the connection; the program does not notice, and goes on."""
        with contextlib.suppress(*FOREIGN, AttributeError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(*FOREIGN):
            self._held.close()
        self._client.close()


def _without(data: bytes, echo: bytes) -> tuple[bytes, bytes]:
    """The data without the echo at its front, and what of the echo is still to come."""
    for count in range(min(len(data), len(echo)), 0, -1):
        if data[:count] == echo[:count]:
            return data[count:], echo[count:] if count == len(data) else b""
    return data, b""
