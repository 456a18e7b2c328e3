"""What subcommands return beside ``handles``: small values that know how to look.

Each has ``_repr_html_`` where a notebook can show more than text, and ``_repr_pretty_`` for a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import render
from .stream import SHOWN

if TYPE_CHECKING:
    from ..events import Event
    from ..handles import Instance, Stats, Status


class _Shown:
    """Displays as :meth:`as_text`."""

    def as_text(self) -> str:
        """The plain text that a terminal shows."""
        raise NotImplementedError

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.as_text())


class Text(_Shown, str):
    """A string that displays as it is, without quotes, and not endlessly."""

    def as_text(self) -> str:
        """The text, its beginning left out where it is very long."""
        if len(self) <= SHOWN:
            return str(self).rstrip("\n")
        return f"[the first {len(self) - SHOWN} characters are not shown]\n{self[-SHOWN:]}".rstrip("\n")


class JsonText(Text):
    """JSON, as text: ``json.loads`` takes it."""


class Table(_Shown, list[dict[str, Any]]):
    """Rows of names and values that display as a table.

    Parameters
    ----------
    rows : iterable of mapping
    columns : mapping of str to str
        Key to heading, in order.
    links : sequence of str
        Keys whose values are URLs.
    nothing : str
        What to show where there are no rows.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: Mapping[str, str],
        *,
        links: Sequence[str] = (),
        nothing: str = "nothing",
    ) -> None:
        super().__init__(dict(row) for row in rows)
        self.columns = dict(columns)
        self.links = tuple(links)
        self.nothing = nothing

    def as_text(self) -> str:
        """A table with aligned columns."""
        if not self:
            return self.nothing
        return render.table_text(
            list(self.columns.values()), [[_cell(row.get(key)) for key in self.columns] for row in self]
        )

    def _repr_html_(self) -> str:
        if not self:
            return render.html(self.nothing)
        rows = [
            [
                render.link(str(row[key]), str(row[key])) if key in self.links and row.get(key) else _cell(row.get(key))
                for key in self.columns
            ]
            for row in self
        ]
        return render.table_html(list(self.columns.values()), rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


class Events(_Shown, list["Event"]):
    """What changed and who did it, the oldest first."""

    _HEADERS = ("Time", "What", "Name", "Change", "Who")

    def __init__(self, events: Iterable[Event] = (), none: str = "no events yet") -> None:
        super().__init__(events)
        self._none = none

    def _rows(self) -> list[list[str]]:
        return [
            [f"{event.time.astimezone():%H:%M:%S}", event.id or event.kind, event.name, event.what, event.who]
            for event in self
        ]

    def as_text(self) -> str:
        """A table with aligned columns."""
        return render.table_text(self._HEADERS, self._rows()) if self else self._none

    def _repr_html_(self) -> str:
        return render.table_html(self._HEADERS, self._rows()) if self else render.html(self._none)


class StatsList(_Shown, list["Stats"]):
    """The resource use of instances."""

    def as_text(self) -> str:
        """A table with aligned columns."""
        return render.table_text(render.STATS_HEADERS, render.stats_rows(self)) if self else "no running instances"

    def _repr_html_(self) -> str:
        return (
            render.table_html(render.STATS_HEADERS, render.stats_rows(self))
            if self
            else render.html("no running instances")
        )


@dataclasses.dataclass(frozen=True)
class Change:
    """What was done to one instance, or to a notebook, which has no id."""

    id: str
    name: str
    before: str
    after: str
    remark: str = ""

    def __str__(self) -> str:
        same = self.before == self.after.partition(" (")[0]  # "stopped (simulated)" is no other state
        what = f"{self.after} already" if same else f"{self.before} -> {self.after}"
        return f"{self.id} {self.name}".strip() + f": {self.remark or what}"


class Changes(_Shown, list[Change]):
    """What was done to several instances, one line each; ``instances`` are their handles."""

    def __init__(self, changes: Iterable[Change], instances: Sequence[Any]) -> None:
        super().__init__(changes)
        self.instances = instances

    def as_text(self) -> str:
        """One line for each instance."""
        return "\n".join(map(str, self)) or "nothing to do"


# Without a repr of its own: IPython would take that before _repr_pretty_ of the base.
@dataclasses.dataclass(frozen=True, repr=False)
class Overview(_Shown):
    """What ``%ec2`` alone shows."""

    status: Status
    instances: Sequence[Instance]
    next_step: str

    def _facts(self) -> list[tuple[str, object]]:
        return [
            fact
            for fact in render.status_facts(self.status)
            if fact[0] in {"control plane", "endpoint", "engine", "notice"}
        ]

    def as_text(self) -> str:
        """The facts, the instances and what to do next."""
        return "\n".join(
            [render.pairs_text("oblako", self._facts()), render.instances_text(self.instances), self.next_step]
        )

    def _repr_html_(self) -> str:
        card = render.pairs_html(render.Html("<strong>oblako</strong>"), self._facts(), kind="overview")
        return f"{card}{render.instances_html(self.instances)}<div>{render.html(self.next_step)}</div>"


class StackResult(_Shown, dict[str, Any]):
    """A CloudFormation stack: ``StackId``, ``StackStatus``, ``Outputs``, ``Resources``."""

    def _facts(self) -> list[tuple[str, object]]:
        return [
            ("status", self.get("StackStatus", "")),
            *((f"output {name}", value) for name, value in _named(self.get("Outputs"), "OutputKey", "OutputValue")),
            *(
                (f"resource {name}", value)
                for name, value in _named(self.get("Resources"), "LogicalResourceId", "PhysicalResourceId")
            ),
        ]

    def as_text(self) -> str:
        """Status, outputs and resources."""
        return render.pairs_text(str(self.get("StackName") or self.get("StackId", "stack")), self._facts())

    def _repr_html_(self) -> str:
        title = render.Html(f"<strong>{render.html(self.get('StackName') or self.get('StackId', 'stack'))}</strong>")
        return render.pairs_html(title, self._facts(), kind="stack")


def _named(things: Any, key: str, value: str) -> list[tuple[str, object]]:
    """Names and values, from a dict or from the list of dicts that AWS gives."""
    if isinstance(things, Mapping):
        return [(str(name), thing) for name, thing in things.items()]
    return [(str(thing.get(key, "")), thing.get(value, "")) for thing in things or () if isinstance(thing, Mapping)]


def to_plain(value: Any) -> Any:
    """A result as what JSON can hold, without what its ``repr`` leaves out: the way back to the cloud."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: to_plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.repr and field.name[0] != "_"
        }
        # A port's link is what a reader of the JSON wants of it.
        return {**fields, "url": value.url} if hasattr(value, "url") else fields
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def to_json(value: Any) -> JsonText:
    """A result as JSON text."""
    return JsonText(json.dumps(to_plain(value), indent=2, ensure_ascii=False))
