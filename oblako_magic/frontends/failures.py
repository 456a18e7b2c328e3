"""How an error looks in a notebook or a terminal: one line. Pure; no I/O.

The exception that leaves the magic is the original one, so ``except TargetError`` and nbclient see a real
error; only its traceback is rendered short, by the hook that IPython gives every exception for that.
"""

from __future__ import annotations

from ..errors import OblakoError


class InternalError(OblakoError):
    """Something failed that nobody foresaw; the sentence says where to look."""


class Interrupted(KeyboardInterrupt):
    """The user interrupted a wait; ``str`` says what goes on without it."""


def sentence(error: BaseException) -> str:
    """The error's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def one_line(error: BaseException) -> BaseException:
    """Make IPython render this exception as one line, and return it."""
    line = f"{type(error).__name__}: {sentence(error)}"
    # On the instance, not the class: the same exception out of the Python API keeps its traceback.
    vars(error)["_render_traceback_"] = lambda: [line]
    return error


def internal(error: Exception, log_file: str, debug_command: str) -> InternalError:
    """An unforeseen exception as a sentence."""
    what = f"{type(error).__name__}: {sentence(error)}"
    where = f"; the control plane's log is {log_file}" if log_file else ""
    return InternalError(f"internal error, {what}{where}; {debug_command} shows the traceback.")
