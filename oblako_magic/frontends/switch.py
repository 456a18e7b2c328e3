"""Turns this kernel's AWS clients to the local cloud and back: the variables in ``os.environ``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ..environment import SERVICES

_SECRET = frozenset({"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})


class Switch:
    """Sets variables, remembers what was there, and puts it back.

    A variable that somebody changed in between is theirs and stays.
    """

    def __init__(self) -> None:
        self._set: dict[str, str] = {}
        self._before: dict[str, str | None] = {}
        self._session: Any = None
        self._replaced_session = False

    @property
    def is_on(self) -> bool:
        """Whether the variables are set by us."""
        return bool(self._set)

    @property
    def variables(self) -> dict[str, str]:
        """What is set now; secrets are masked."""
        return {name: "***" if name in _SECRET else value for name, value in self._set.items()}

    def on(self, variables: Mapping[str, str]) -> None:
        """Set the variables."""
        for name, value in variables.items():
            if name not in self._set:
                self._before[name] = os.environ.get(name)
            self._set[name] = os.environ[name] = value
        boto3: Any = sys.modules.get("boto3")
        # A session keeps the credentials that it once found; so does the lack of them.
        if boto3 is not None and "AWS_ACCESS_KEY_ID" in variables and not self._replaced_session:
            self._session, self._replaced_session = boto3.DEFAULT_SESSION, True
            boto3.DEFAULT_SESSION = None

    def off(self) -> None:
        """Put back what was there before."""
        ours = "AWS_ACCESS_KEY_ID" in self._set
        for name, value in self._set.items():
            if os.environ.get(name) != value:
                continue
            before = self._before[name]
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
        boto3: Any = sys.modules.get("boto3")
        if boto3 is not None and ours:
            boto3.DEFAULT_SESSION = self._session
        self._set, self._before = {}, {}
        self._session, self._replaced_session = None, False


def sentence(variables: Mapping[str, str]) -> str:
    """The one line that says what was done."""
    services = [service for service, name in SERVICES.items() if name in variables]
    endpoint = next((variables[name] for name in SERVICES.values() if name in variables), "")
    return (
        f"oblako_magic: boto3 and aws in this kernel now use {endpoint} for {', '.join(services)} "
        "(%ec2 env off undoes it)"
    )
