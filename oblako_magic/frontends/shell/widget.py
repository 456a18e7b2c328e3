"""A shell as a widget: messages between the browser's terminal and the instance's (ADR 0010).

What the browser says arrives in the kernel's thread, or a subshell's, and goes into a queue; two threads of each shell
read and write. Output is sent from a thread, so that it comes also while a cell runs.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anywidget
from traitlets import Bool, Unicode

from ...errors import OblakoError
from .bundle import script, style
from .flow import Flow

if TYPE_CHECKING:
    from ...cloud import Ec2
    from ...handles import Instance
    from ...shells import Shell

_ONCE_MORE = (0.6, 2.5)
"""Seconds after which the output so far is sent to a browser that was not heard yet: a running cell may keep the
kernel from hearing it."""
_UNSEEN = 60.0
"""Seconds that a shell lives on when the last view of it has gone."""
_open: weakref.WeakSet[ShellView] = weakref.WeakSet()


def close_all() -> None:
    """End every shell of this kernel."""
    for one in list(_open):
        one.close()


class ShellView(anywidget.AnyWidget):
    """A login shell on an instance, in the notebook.

    Parameters
    ----------
    ec2 : Ec2
    instance : Instance
    user : str
        The image's own by default.

    Raises
    ------
    OblakoError
        Where the instance does not run.
    """

    _esm = script()
    _css = style()
    title = Unicode().tag(sync=True)
    ending = Unicode().tag(sync=True)
    """Why there is no shell any more; empty while there is one."""
    again = Bool(True).tag(sync=True)
    """Whether another one may be opened."""

    def __init__(self, ec2: Ec2, instance: Instance, *, user: str = "") -> None:
        self._ec2 = ec2
        self._instance = instance
        self._user = user
        self._size = (24, 80)
        self._lock = threading.RLock()
        self._shell: Shell | None = None
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._views: set[str] = set()
        self._heard_of = False
        self._over = False
        self._timers: list[threading.Timer] = []
        shell = ec2.open_shell(instance, user=user, size=self._size)
        self._flow = Flow(self._out)
        super().__init__(title=instance.label)
        self.on_msg(self._heard)
        _open.add(self)
        self._begin(shell)
        threading.Thread(target=self._obey, name="oblako-shell-in", daemon=True).start()
        for seconds in _ONCE_MORE:
            self._later(seconds, self._unasked)

    # -- the shell ----------------------------------------------------------------------------------

    def _begin(self, shell: Shell) -> None:
        with self._lock:
            self._shell = shell
            self.ending = ""
        threading.Thread(
            target=self._read, args=(shell,), name=f"oblako-shell-{shell.instance.id}", daemon=True
        ).start()

    def _read(self, shell: Shell) -> None:
        while data := shell.read():
            self._flow.take(data)
        self._flow.drain()
        sentence = shell.ending()
        with self._lock:
            if self._shell is shell and not self._over:
                self._shell, self.ending = None, sentence
        shell.close()

    def _obey(self) -> None:
        """Do what was asked for, in order, and not in the kernel's thread."""
        while (order := self._orders.get()) is not None:
            try:
                order()
            except OblakoError as error:
                with self._lock:
                    if self._shell is None and not self._over:
                        self.ending = f"{str(error)[:1].upper()}{str(error)[1:]}"

    def _type(self, data: bytes) -> None:
        shell = self._shell
        if shell is not None:
            shell.write(data)

    def _resize(self, rows: int, columns: int) -> None:
        self._size = (rows, columns)
        shell = self._shell
        if shell is not None:
            shell.resize(rows, columns)

    def _open_again(self, rows: int, columns: int) -> None:
        self._size = (rows, columns)
        if self._shell is None and not self._over:
            (instance,) = self._ec2.refresh([self._instance])
            self._begin(self._ec2.open_shell(instance, user=self._user, size=self._size))

    def _hang_up(self, why: str) -> None:
        with self._lock:
            shell, self._shell = self._shell, None
            if shell is not None:
                self.ending = why
        if shell is not None:
            shell.close()

    # -- to the browser -----------------------------------------------------------------------------

    def _out(self, start: int, data: bytes) -> None:
        self._say({"kind": "out", "start": start, "end": start + len(data)}, [data])

    def _replay(self) -> None:
        start, data = self._flow.past()
        self._say({"kind": "replay", "start": start, "end": start + len(data)}, [data])

    def _unasked(self) -> None:
        if not self._heard_of:
            self._replay()

    def _say(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        if not self._over:
            self.send(content, buffers)

    # -- from the browser ---------------------------------------------------------------------------

    def _heard(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        """Take a message: nothing is done here that takes time."""
        kind, view = content.get("kind"), str(content.get("view", ""))
        if kind == "ack":
            self._flow.seen(int(content["at"]))
            return
        if kind == "unseen":
            self._views.discard(view)
            if not self._views:
                self._later(_UNSEEN, self._forgotten)
            return
        self._views.add(view)
        self._heard_of = True
        self._say({"kind": "heard", "view": view, "n": content.get("n", 0)})
        order = self._order(kind, content)
        if order is not None:
            self._orders.put(order)

    def _order(self, kind: Any, content: dict[str, Any]) -> Callable[[], None] | None:
        if kind == "hello":
            return self._replay
        if kind == "in":
            data = str(content["text"]).encode("utf-8", "replace")
            return lambda: self._type(data)
        if kind == "bytes":
            data = bytes(int(code) & 255 for code in content["codes"])
            return lambda: self._type(data)
        if kind == "close":
            return lambda: self._hang_up("The shell was closed.")
        if kind in ("size", "again"):
            rows, columns = int(content["rows"]), int(content["columns"])
            act = self._resize if kind == "size" else self._open_again
            return lambda: act(rows, columns)
        return None

    def _forgotten(self) -> None:
        if not self._views:
            self._hang_up("The shell was closed: nobody looked at it for a minute.")

    def _later(self, seconds: float, act: Callable[[], Any]) -> None:
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()
        self._timers = [*(one for one in self._timers if one.is_alive()), timer]

    # -- life ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the shell and the widget; a second time changes nothing."""
        if not self._over:
            self._hang_up("The shell was closed.")
            self.again = False
            self._over = True
            _open.discard(self)
            for timer in self._timers:
                timer.cancel()
            self._orders.put(None)
            self._flow.close()
        super().close()

    def __repr__(self) -> str:
        return f"<a shell on {self.title}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        data["text/plain"] = f"a shell on {self.title}; it is there only while its kernel runs"
        return data, metadata


@atexit.register
def _at_exit() -> None:
    with contextlib.suppress(Exception):  # the engine may be gone before us
        close_all()
