"""See notebook instances as they are, and wait until they are otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import OblakoError, TargetError, WaitError
from ..model import PortMapping
from . import terms
from .handles import DELETED, Notebook, NotebookList, fill

if TYPE_CHECKING:
    from ..inside import Inside
    from .client import Notebooks

_AT_ONCE = 8
_LOST = {
    "InService": {"Failed", "Stopped", "Deleting", DELETED},
    "Stopped": {"Failed", "Deleting", DELETED},
}
"""Statuses from which the one that is waited for is not reached any more."""
OnChange = Callable[[list[Notebook]], None]
T = TypeVar("T")


class Look:
    """The notebook instances of an account and region, without changing any.

    Parameters
    ----------
    ec2 : Ec2
        The connection to use.
    """

    def __init__(self, ec2: Inside) -> None:
        self._ec2 = ec2
        self._seen: list[str] = []

    def _aws(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self._ec2._aws(operation, service="sagemaker", **arguments)

    def _rows(self, since: int | None = None, timeout: float = 0) -> tuple[int, dict[str, dict[str, Any]]]:
        answer = self._ec2._look("/notebooks", since, timeout)
        return int(answer["revision"]), {row["arn"]: row for row in answer["notebooks"]}

    def all(self, *, status: str | None = None) -> NotebookList:
        """The notebook instances of this account and region (ListNotebookInstances), by name.

        Parameters
        ----------
        status : str, optional
            Those in this status only.
        """
        _, rows = self._rows()
        found = NotebookList()
        arguments: dict[str, Any] = {"SortBy": "Name", "SortOrder": "Ascending", "MaxResults": 100}
        if status:
            arguments["StatusEquals"] = status
        while True:
            answer = self._aws("list_notebook_instances", **arguments)
            for raw in answer["NotebookInstances"]:
                row = rows.get(raw["NotebookInstanceArn"])
                if row is not None:
                    notebook = Notebook(raw["NotebookInstanceName"], client=cast("Notebooks", self))
                    fill(notebook, row)
                    found.append(notebook)
            if not answer.get("NextToken"):
                break
            arguments["NextToken"] = answer["NextToken"]
        self._add_ports(found)
        self._seen = found.names
        return found

    def refresh(self, notebooks: Sequence[Notebook]) -> NotebookList:
        """Bring handles up to date in place; one that is gone is ``Deleted``."""
        self._fill(notebooks, self._rows()[1])
        self._add_ports(notebooks)
        return NotebookList(notebooks)

    def _fill(self, notebooks: Iterable[Notebook], rows: Mapping[str, dict[str, Any]]) -> None:
        for notebook in notebooks:
            row = rows.get(notebook.arn)
            if row is not None:
                fill(notebook, row)
            else:
                notebook.status, notebook.url, notebook.port, notebook.progress = DELETED, "", 0, ""

    def _add_ports(self, notebooks: Iterable[Notebook]) -> None:
        """Further published ports are the machine's."""
        _, machines = self._ec2._rows()
        for notebook in notebooks:
            row = machines.get(notebook.machine) or {"ports": []}
            mappings = [PortMapping(p["container_port"], p["host_port"], p["host"]) for p in row["ports"]]
            notebook.ports = [mapping for mapping in mappings if mapping.host_port != notebook.port]

    def get(self, name: str) -> Notebook:
        """One notebook instance by its name (DescribeNotebookInstance).

        Raises
        ------
        TargetError
        """
        found = self.find([name])
        if len(found) > 1:
            raise TargetError(f"{name!r} means {len(found)} notebooks, and one is wanted: {terms.listed(found.names)}.")
        return found[0]

    def find(self, targets: Sequence[str]) -> NotebookList:
        """The notebook instances that a person means: names, patterns such as ``class-*``, ``@last``.

        Raises
        ------
        TargetError
            One sentence with the candidates.
        """
        pool = self.all()
        found: dict[str, Notebook] = {}
        for target in targets:
            for notebook in terms.match(target, pool):
                found.setdefault(notebook.name, notebook)
        return NotebookList(found.values())

    def cached(self) -> list[str]:
        """The names last seen, for completion: nothing is asked."""
        return [*self._seen]

    def wait(
        self,
        notebooks: Sequence[Notebook],
        status: str = "InService",
        *,
        timeout: float | None = None,
        on_change: OnChange | None = None,
    ) -> NotebookList:
        """Wait until all notebook instances are in a status.

        Parameters
        ----------
        notebooks : sequence of Notebook
            Brought up to date in place.
        status : str
            ``InService`` or ``Stopped``.
        timeout : float, optional
            Seconds; 900 by default.
        on_change : callable, optional
            Gets the notebooks whenever one of them has changed.

        Raises
        ------
        WaitError
            Where one can't reach the status any more or time runs out; has ``instances``.
        """
        lost = _LOST.get(status, set())
        self._watch(
            notebooks,
            lambda notebook: notebook.status == status or notebook.status in lost,
            status,
            900.0 if timeout is None else timeout,
            on_change,
        )
        missed = [notebook for notebook in notebooks if notebook.status != status]
        if missed:
            raise WaitError.of(terms.ended(missed, status), notebooks)
        return self.refresh(notebooks)

    def _watch(
        self,
        notebooks: Sequence[Notebook],
        over: Callable[[Notebook], bool],
        status: str,
        timeout: float,
        on_change: OnChange | None,
        step: Callable[[Notebook], None] | None = None,
    ) -> None:
        """Follow the rows until it is over for every notebook, and take each a step further in between."""
        end, shown = time.monotonic() + timeout, ""
        revision, rows = self._rows()
        while True:
            self._fill(notebooks, rows)
            now = " ".join(f"{notebook.status} {notebook.progress}" for notebook in notebooks)
            if now != shown and on_change is not None:
                on_change(list(notebooks))
            shown = now
            open_ = [notebook for notebook in notebooks if not over(notebook)]
            if step is not None and open_:
                failures = each(step, open_)
                if failures:
                    raise failures[0]
                open_ = [notebook for notebook in notebooks if not over(notebook)]
            if not open_:
                return
            left = end - time.monotonic()
            if left <= 0:
                stuck = ", ".join(f"{n.name} is {n.status}" for n in open_[:4])
                more = f": {open_[0].progress}" if open_[0].progress else ""
                raise WaitError.of(
                    f"not {status} within {timeout:g} s: {stuck}{more.rstrip('.')}; it goes on, "
                    "and %ec2 notebook ls shows how it stands",
                    notebooks,
                )
            revision, rows = self._rows(revision, max(0.05, min(left, 20.0)))


def each(work: Callable[[T], object], things: Sequence[T]) -> list[OblakoError]:
    """Do the work for all of them, some at a time; what failed."""

    def attempt(thing: T) -> OblakoError | None:
        try:
            work(thing)
        except OblakoError as error:
            return error
        return None

    if len(things) < 2:
        return [error for error in map(attempt, things) if error is not None]
    with ThreadPoolExecutor(min(_AT_ONCE, len(things)), thread_name_prefix="notebooks") as pool:
        return [error for error in pool.map(attempt, things) if error is not None]
