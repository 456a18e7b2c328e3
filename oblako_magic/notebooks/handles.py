"""Handles on notebook instances. Plain data and thin methods; no I/O of its own but the CSV file."""

from __future__ import annotations

import csv
import datetime
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OblakoError
from ..model import PortMapping

if TYPE_CHECKING:
    from ..handles import ExecResult
    from .client import Notebooks

DELETED = "Deleted"
"""The status of a handle whose notebook instance is gone; SageMaker has no word for it."""
LINK_MINUTES = 5
"""How long a presigned link lives, as AWS has it (CreatePresignedNotebookInstanceUrl)."""


@dataclass(frozen=True)
class NotebookLink:
    """A presigned link: it logs its first user in, once, within five minutes.

    Parameters
    ----------
    name : str
        The notebook instance.
    url : str
        CreatePresignedNotebookInstanceUrl's AuthorizedUrl; it holds no token.
    """

    name: str
    url: str

    def __str__(self) -> str:
        return self.url


@dataclass
class Notebook:
    """A handle on one notebook instance: a snapshot that ``refresh`` brings up to date in place.

    Parameters
    ----------
    name, arn, type, account, region : str
        As DescribeNotebookInstance has them; ``type`` is such as ``ml.t3.medium``.
    status : str
        ``Pending``, ``InService``, ``Stopping``, ``Stopped``, ``Failed``, ``Deleting``, ``Updating``, or ``Deleted``
        where it is gone.
    url : str
        JupyterLab's plain address, without a token; empty while there is none.
    machine, container : str
        The id of the EC2 instance behind it, and its container.
    image : str
        The container image.
    port : int
        The host port of JupyterLab; 0 while there is none.
    ports : list of PortMapping
        Further published ports.
    failure_reason, progress : str
        FailureReason; what takes long just now.
    created : datetime or None
    tags : dict of str to str
    lifecycle_config : str
    volume_size : int
        GiB.
    """

    name: str
    status: str = "Pending"
    arn: str = ""
    type: str = ""
    url: str = ""
    machine: str = ""
    container: str = ""
    image: str = ""
    port: int = 0
    ports: list[PortMapping] = field(default_factory=list)
    failure_reason: str = ""
    progress: str = ""
    created: datetime.datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    lifecycle_config: str = ""
    volume_size: int = 0
    account: str = ""
    region: str = ""
    client: Notebooks | None = field(default=None, repr=False, compare=False)

    @property
    def _client(self) -> Notebooks:
        if self.client is None:
            raise ValueError("this Notebook was not made by Ec2.notebooks")
        return self.client

    def refresh(self) -> Notebook:
        """Bring the snapshot up to date; one that is gone altogether is ``Deleted``."""
        return self._client.refresh([self])[0]

    def start(self, wait: bool = True, timeout: float | None = None) -> Notebook:
        """StartNotebookInstance; see ``Notebooks.change``."""
        return self._client.change("start", [self], wait=wait, timeout=timeout)[0]

    def stop(self, wait: bool = True, timeout: float | None = None) -> Notebook:
        """StopNotebookInstance; see ``Notebooks.change``."""
        return self._client.change("stop", [self], wait=wait, timeout=timeout)[0]

    def delete(self, wait: bool = True, timeout: float | None = None) -> Notebook:
        """Stop it where it runs, then DeleteNotebookInstance, the files in it too; see ``Notebooks.change``."""
        return self._client.change("terminate", [self], wait=wait, timeout=timeout)[0]

    terminate = delete

    def update(self, **changes: Any) -> Notebook:
        """UpdateNotebookInstance, of one that is stopped; see ``Notebooks.update``."""
        return self._client.update(self, **changes)

    def wait(self, status: str = "InService", timeout: float | None = None) -> Notebook:
        """Wait for a status; see ``Notebooks.wait``."""
        return self._client.wait([self], status, timeout=timeout)[0]

    def open_url(self) -> str:
        """A link that opens JupyterLab logged in, once, within five minutes; see ``Notebooks.link``."""
        return self._client.link(self).url

    def login_url(self) -> str:
        """JupyterLab's address with its token, which holds until the instance is deleted: a secret."""
        return self._client.login_url(self)

    def embed(self, height: int = 600) -> Any:
        """JupyterLab as a frame in the output of a cell.

        Parameters
        ----------
        height : int
            Pixels.
        """
        return Embedded(self._client.link(self), height)

    def exec(
        self,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Run a script (str) or an argv (list) in the notebook instance to its end; see ``Notebooks.exec``.

        Raises
        ------
        OblakoError
            With ``check``, also where the exit code is not 0.
        """
        result = self._client.exec(self, command, user=user, timeout=timeout)
        if check and not result.ok:
            last = (result.stderr or result.stdout).strip().splitlines()[-1:]
            raise OblakoError(f"the command in {self.name} ended with exit code {result.exit_code}: {''.join(last)}")
        return result

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return "<Notebook " + " ".join(filter(None, [self.name, self.status, self.type, self.url])) + ">"


@dataclass(frozen=True)
class Embedded:
    """JupyterLab as a frame; its link is good for one look, so that a saved notebook shows none.

    Parameters
    ----------
    link : NotebookLink
    height : int
        Pixels.
    """

    link: NotebookLink
    height: int = 600

    def __repr__(self) -> str:
        return f"<JupyterLab of {self.link.name} in a frame of {self.height} pixels>"


class NotebookList(list[Notebook]):
    """Several notebook instances, in the order that they were asked for."""

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [notebook.name for notebook in self]

    @property
    def statuses(self) -> list[str]:
        """Their statuses, as last seen."""
        return [notebook.status for notebook in self]

    def rows(self, *, login: bool = True) -> list[dict[str, str]]:
        """What ``to_csv`` writes, a dict for each."""
        found = []
        for notebook in self:
            row = {"name": notebook.name, "url": notebook.url}
            if login:
                row["login_url"] = notebook.login_url() if notebook.status == "InService" else ""
            found.append({**row, "status": notebook.status, "type": notebook.type, "machine": notebook.machine})
        return found

    def to_csv(self, path: str | os.PathLike[str] | None = None, *, login: bool = True) -> str:
        """The list as CSV: name, url, login_url, status, type, machine.

        Parameters
        ----------
        path : path, optional
            A file to write it to as well; only its owner can read it.
        login : bool
            Whether ``login_url`` is there: the address with the notebook's own token, which opens it as often as
            wanted until it is deleted. Give each student only theirs.

        Raises
        ------
        OSError
            Where the file can't be written.
        """
        columns = ["name", "url", *(["login_url"] if login else []), "status", "type", "machine"]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows(login=login))
        if path is not None:
            _write_private(Path(path), text.getvalue())
        return text.getvalue()


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, at once: a reader sees the old one or the new one."""
    work = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # Bytes, so that no system writes its own line ends: it is what is returned.
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        os.replace(work, path)
    except BaseException:
        work.unlink(missing_ok=True)
        raise


def fill(notebook: Notebook, row: dict[str, Any]) -> None:
    """Bring a handle up to date from the control plane's row (``GET /notebooks``)."""
    notebook.name, notebook.arn, notebook.status = row["name"], row["arn"], row["status"]
    notebook.account, notebook.region = row["account"], row["region"]
    notebook.type, notebook.image = row["instance_type"], row["image"] or ""
    notebook.machine, notebook.container = row["machine"] or "", row["container"] or ""
    notebook.port, notebook.url = int(row["port"] or 0), row["url"] or ""
    notebook.failure_reason, notebook.progress = row["failure_reason"] or "", row["progress"] or ""
    notebook.created, notebook.tags = _moment(row["created"]), dict(row["tags"] or {})
    notebook.lifecycle_config, notebook.volume_size = row["lifecycle_config"] or "", int(row["volume_size"] or 0)


def _moment(value: object) -> datetime.datetime | None:
    """A time as JSON may hold it: seconds since 1970, or ISO 8601."""
    try:
        if isinstance(value, (int, float)):
            return datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        found = datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)
