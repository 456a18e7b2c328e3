"""The errors that the package raises on purpose. Pure; no I/O.

Every one of them carries a single sentence that says what went wrong and what to do next; front ends
show that sentence and nothing else.

    OblakoError
    +-- TargetError              no instance, or more than one, answers to a name
    +-- ControlPlaneError        the control plane can't be started, reached or understood
    |   +-- ControlPlaneTimeout
    +-- AwsError                 the AWS API refused a call; has ``code`` and ``operation``
    +-- WaitError                an instance ended in another state than the one waited for, or time ran out
    +-- EngineError              the container engine refused; ``transient`` says whether a retry can help
        +-- EngineUnavailable    no engine answers
        +-- ImageError           an image can't be had
        +-- PortTaken            a host port is in use
        +-- HalfStarted          the engine was ended amid a start and can't take it up again
        +-- NotFound             no such container, volume or file
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class OblakoError(Exception):
    """Base of all errors of the package; ``str(error)`` is one sentence for the user."""


class TargetError(OblakoError):
    """No instance, or more than one, answers to the name that was given."""


class ControlPlaneError(OblakoError):
    """The control plane can't be started, reached or understood."""


class ControlPlaneTimeout(ControlPlaneError):
    """The control plane did not answer in time."""


class AwsError(OblakoError):
    """The AWS API refused a call.

    Parameters
    ----------
    message : str
        The sentence to show.
    code : str
        AWS's error code, such as ``InvalidInstanceID.NotFound``.
    operation : str
        The API action that was refused, such as ``StopInstances``.
    """

    def __init__(self, message: str, code: str = "", operation: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.operation = operation


class WaitError(OblakoError):
    """An instance did not reach the state that was waited for.

    Attributes
    ----------
    instances : list
        The handles, up to date, so that nothing is lost by the failure.
    """

    instances: Sequence[Any] = ()

    @classmethod
    def of(cls, text: str, instances: Sequence[Any]) -> WaitError:
        """The error of a wait, with the handles; the sentence gets its full stop."""
        error = cls(text if text.endswith(".") else f"{text}.")
        error.instances = list(instances)
        return error


class EngineError(OblakoError):
    """The container engine refused or failed.

    Attributes
    ----------
    transient : bool
        True where the same call may work a little later, so that a retry makes sense.
    """

    transient = False

    def __init__(self, message: str, *, transient: bool | None = None) -> None:
        super().__init__(message)
        if transient is not None:
            self.transient = transient


class EngineUnavailable(EngineError):
    """No container engine answers."""

    transient = True


class ImageError(EngineError):
    """An image is not here and can't be had."""


class PortTaken(EngineError):
    """A host port that was asked for is in use."""


class HalfStarted(EngineError):
    """The engine was ended while it started a container, and neither starts nor ends that one any more."""


class NotFound(EngineError):
    """The engine has no such container, volume or file."""
