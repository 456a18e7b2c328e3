"""What changed and who did it, as the Python API hands it out. Plain data; no I/O."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Event:
    """One change.

    Parameters
    ----------
    number : int
        Counts up from 1 in each run of the control plane.
    time : datetime.datetime
        In UTC.
    account, region : str
        Empty where nobody knows.
    kind : str
        ``instance``, ``notebook``, ``engine``, or the AWS service of a call that changed something else, such as
        ``ec2`` or ``cloudformation``.
    id, name : str
        Of the thing.
    what : str
        ``running -> stopping``, ``launched (t3.micro)``, ``tag Name=web``, or the API action.
    who : str
        Who did it, as far as it can be told: the program by its own word (User-Agent), the user by the system.
    """

    number: int
    time: datetime.datetime
    account: str
    region: str
    kind: str
    id: str
    name: str
    what: str
    who: str

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Event:
        """The event of a row of the control plane's answer."""
        when = datetime.datetime.fromtimestamp(float(row["time"]), datetime.timezone.utc)
        return cls(**{**row, "time": when})

    def concerns(self, target: str) -> bool:
        """Whether it is about what a person calls so: by id, its beginning, name, pattern, or kind."""
        if target in (self.id, self.name, self.kind):
            return True
        if any(sign in target for sign in "*?["):
            return any(thing and fnmatchcase(thing, target) for thing in (self.id, self.name))
        return bool(target) and self.id.startswith((target, f"i-{target}"))

    def __str__(self) -> str:
        thing = f"{self.id} {self.name}".strip() or self.kind
        return f"{self.time.astimezone():%H:%M:%S}  {thing}: {self.what} ({self.who})"


class EventList(list[Event]):
    """Events, the oldest first.

    Parameters
    ----------
    events : iterable of Event
    last : int
        The number of the newest one that the control plane has; where to go on.
    log : str
        The run of the control plane that counts them.
    missed : bool
        Whether older ones were asked for that the control plane has no more.
    """

    def __init__(self, events: Iterable[Event] = (), last: int = 0, log: str = "", missed: bool = False) -> None:
        super().__init__(events)
        self.last = last
        self.log = log
        self.missed = missed
