"""A command that runs on an instance in the background: ``%%ec2 exec --bg``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import OblakoError

if TYPE_CHECKING:
    from ..cloud import Ec2
    from ..handles import ExecResult, Instance

KEPT = 16 * 1024 * 1024


class _Tail:
    """The last :data:`KEPT` characters of a stream."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        with self._lock:
            self._parts.append(text)
            self._size += len(text)
            while self._size > KEPT and len(self._parts) > 1:
                self._size -= len(self._parts.pop(0))

    def text(self) -> str:
        with self._lock:
            return "".join(self._parts)


class Job:
    """The handle of a command in the background. It never writes into a cell by itself.

    Parameters
    ----------
    ec2 : Ec2
    instance : Instance
    command : str or sequence of str
    options : dict
        Further arguments of ``Ec2.exec``.
    finished : callable, optional
        Called with the job at its end, in the job's thread.
    """

    def __init__(
        self,
        ec2: Ec2,
        instance: Instance,
        command: str | Sequence[str],
        options: dict[str, Any],
        finished: Callable[[Job], None] | None = None,
    ) -> None:
        self.instance_id = instance.id
        self._label = f"{instance.id} {instance.name}".rstrip()
        self._out, self._err = _Tail(), _Tail()
        self._stop = threading.Event()
        self._result: ExecResult | None = None
        self._error: BaseException | None = None
        self._began, self._ended = time.monotonic(), 0.0

        def run() -> None:
            try:
                self._result = ec2.exec(
                    instance,
                    command,
                    on_stdout=self._out.add,
                    on_stderr=self._err.add,
                    interrupted=self._stop.is_set,
                    **options,
                )
            except BaseException as error:  # kept for wait(): a thread has nobody to raise it to
                self._error = error
            self._ended = time.monotonic()
            if finished is not None:
                finished(self)

        self._thread = threading.Thread(target=run, name=f"oblako-exec-{instance.id}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the command still runs."""
        return self._thread.is_alive()

    @property
    def output(self) -> str:
        """What the command wrote to standard output so far."""
        return self._out.text()

    @property
    def errors(self) -> str:
        """What the command wrote to standard error so far."""
        return self._err.text()

    @property
    def result(self) -> ExecResult | None:
        """The result; None while the command runs, and where it was stopped or failed."""
        return self._result

    def wait(self, timeout: float | None = None) -> ExecResult | None:
        """Wait for the end.

        Parameters
        ----------
        timeout : float, optional
            Seconds; for ever by default.

        Returns
        -------
        ExecResult or None
            None where the time ran out or the job was stopped.

        Raises
        ------
        OblakoError
            Where the command could not be run.
        """
        self._thread.join(timeout)
        if isinstance(self._error, Exception):
            if isinstance(self._error, OblakoError):
                raise self._error
            raise OblakoError(f"The command failed: {type(self._error).__name__}: {self._error}") from self._error
        return self._result

    def stop(self, timeout: float = 5.0) -> None:
        """Stop the command on the instance, if it still runs."""
        self._stop.set()
        self._thread.join(timeout)

    def __repr__(self) -> str:
        passed = (self._ended or time.monotonic()) - self._began
        if self.running:
            state = "stopping" if self._stop.is_set() else "running"
        elif self._stop.is_set() or isinstance(self._error, KeyboardInterrupt):
            state = "stopped"
        else:
            state = f"exit code {self._result.exit_code}" if self._result is not None else f"failed, {self._error}"
        return f"<Job on {self._label}: {state} ({passed:.0f} s)>"
