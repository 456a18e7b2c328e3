"""A control plane that runs elsewhere: for a program in an instance, the one of the cloud that it runs in.

``OBLAKO_ENDPOINT`` names it. It is found, never started and never stopped, and of its own API it lets an instance
ask for the instances alone (``guard.py``).
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from ..errors import ControlPlaneError
from ..settings import Settings
from .wire import PROTOCOL, NoAnswer, Runtime, call


def find(settings: Settings) -> Runtime | None:
    """The control plane at ``settings.endpoint``; None where it does not answer.

    Raises
    ------
    ControlPlaneError
        Where it speaks another version of the API.
    """
    parts = urlsplit(settings.endpoint)
    runtime = Runtime(0, parts.port or 80, "", PROTOCOL, parts.hostname or "", settings.endpoint_key)
    try:
        answer = call(runtime, "GET", "/hello", timeout=5)
    except NoAnswer:  # where it refuses or is something else, the error says more than silence
        return None
    if answer.get("protocol") != PROTOCOL:
        raise ControlPlaneError(
            f"the control plane at {settings.endpoint} is of another version ({answer.get('version')}) than what is "
            "installed here; build the notebook image again there: oblako image build notebook --force"
        )
    return replace(runtime, version=str(answer.get("version", "")))


def silent(settings: Settings) -> ControlPlaneError:
    """The error of one that does not answer."""
    return ControlPlaneError(
        f"the control plane at {settings.endpoint} (OBLAKO_ENDPOINT) does not answer; "
        "start it where it runs, outside of the instance, with: oblako up"
    )
