"""The result of ``exec`` whose output was streamed already. Imports ``handles``: not part of loading the extension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..handles import ExecResult, Instance


@dataclass(frozen=True)
class Outcome(ExecResult):
    """An :class:`~oblako_magic.handles.ExecResult` that displays as its exit code, and as nothing where that is 0."""

    instance_id: str = ""

    @classmethod
    def of(cls, machine: Instance, result: ExecResult) -> Outcome:
        """The outcome of a command on an instance."""
        return cls(result.exit_code, result.stdout, result.stderr, machine.id)

    def __repr__(self) -> str:
        return f"exit code {self.exit_code}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def _ipython_display_(self) -> None:
        # A notebook shows no empty result then; a terminal has written "Out[1]:" already and gets the code.
        from IPython.core.getipython import get_ipython

        if not self.ok or getattr(get_ipython(), "kernel", None) is None:
            raise NotImplementedError
