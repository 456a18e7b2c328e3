"""A local EC2 that a notebook drives.

``%load_ext oblako_magic`` gives the ``%ec2`` magics; :class:`~oblako_magic.cloud.Ec2` is the same from Python.
The public names are looked up on first use, so that importing the package imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .cloud import Ec2
    from .errors import AwsError, ControlPlaneError, EngineError, OblakoError, TargetError, WaitError
    from .handles import ExecResult, Instance, InstanceList
    from .notebook_server import NotebookServer, publish_notebook

__version__ = "0.1.0"

__all__ = [
    "AwsError",
    "ControlPlaneError",
    "Ec2",
    "EngineError",
    "ExecResult",
    "Instance",
    "InstanceList",
    "NotebookServer",
    "OblakoError",
    "TargetError",
    "WaitError",
    "__version__",
    "load_ipython_extension",
    "publish_notebook",
    "unload_ipython_extension",
]

_MODULES = {
    "Ec2": ".cloud",
    "ExecResult": ".handles",
    "Instance": ".handles",
    "InstanceList": ".handles",
    "NotebookServer": ".notebook_server",
    "publish_notebook": ".notebook_server",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, ".errors"), __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%ec2`` and ``%%ec2``; called by ``%load_ext oblako_magic``."""
    from .frontends import extension

    extension.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Put everything back; called by ``%unload_ext oblako_magic``."""
    from .frontends import extension

    extension.unload(shell)
