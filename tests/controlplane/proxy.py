"""A socket in front of an engine's that can be cut, so that an engine goes away without being stopped."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Proxy:
    """Forwards a unix socket of its own to another.

    Parameters
    ----------
    target : str
        ``unix://PATH`` of the engine.
    folder : Path
    """

    def __init__(self, target: str, folder: Path) -> None:
        self._target = target.removeprefix("unix://")
        self._path = folder / "engine.sock"
        self.url = f"unix://{self._path}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None

    def up(self) -> None:
        """Answer."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """Cut all connections and take no more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                engine.connect(self._target)
            except OSError:  # the engine itself is away
                engine.close()
                client.close()
                continue
            with self._lock:
                self._open |= {client, engine}
            if self._listener is not listener:  # cut meanwhile
                self.down()
            threads = [
                threading.Thread(target=self._pump, args=pair, daemon=True)
                for pair in ((client, engine), (engine, client))
            ]
            for thread in threads:
                thread.start()
            threading.Thread(target=self._close, args=(threads, client, engine), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _close(self, threads: list[threading.Thread], *connections: socket.socket) -> None:
        for thread in threads:
            thread.join()
        with self._lock:
            self._open -= set(connections)
        for connection in connections:
            connection.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy that answers; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="oblako-proxy-") as folder:
        one = Proxy(target, Path(folder))
        one.up()
        try:
            yield one
        finally:
            one.down()
