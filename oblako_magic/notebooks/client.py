"""``Ec2.notebooks``: start, stop, change, open and remove notebook instances."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ..errors import AwsError, ControlPlaneError, OblakoError
from ..handles import ExecResult, Instance
from . import terms
from .handles import DELETED, Notebook, NotebookLink, NotebookList
from .look import OnChange, each
from .make import Make

_FINAL = {"start": "InService", "stop": "Stopped"}
_UNDER_WAY = {"start": ("InService", "Pending"), "stop": ("Stopped", "Stopping")}
Action = Literal["start", "stop", "terminate"]


class Notebooks(Make):
    """The notebook instances of this account and region.

    Parameters
    ----------
    ec2 : Ec2
        The connection to use.

    Notes
    -----
    Every method raises ``OblakoError`` and its kin, one sentence each. May be used from several threads.
    """

    def change(
        self,
        action: Action,
        notebooks: Sequence[Notebook],
        *,
        wait: bool = True,
        timeout: float | None = None,
        on_change: OnChange | None = None,
    ) -> NotebookList:
        """Start, stop or terminate notebook instances and, by default, wait for the end of it.

        Parameters
        ----------
        action : {"start", "stop", "terminate"}
            ``terminate`` stops what runs first, for AWS deletes stopped ones only; its files go with it.
        notebooks : sequence of Notebook
        wait : bool
            ``terminate`` waits until it is stopped in any case.
        timeout : float, optional
            Seconds; 900 by default for a start, else 300.
        on_change : callable, optional

        Raises
        ------
        AwsError, WaitError
        """
        if timeout is None:
            timeout = 900.0 if action == "start" else 300.0
        if not notebooks:
            return NotebookList()
        if action == "terminate":
            return self._terminate(notebooks, wait, timeout, on_change)
        self.refresh(notebooks)
        final, operation = _FINAL[action], f"{action}_notebook_instance"
        # As with EC2: what is there already, or on its way, is no failure.
        open_ = [notebook for notebook in notebooks if notebook.status not in _UNDER_WAY[action]]
        failures = each(lambda notebook: self._aws(operation, NotebookInstanceName=notebook.name), open_)
        self.refresh(notebooks)
        if failures:
            raise failures[0]
        return self.wait(notebooks, final, timeout=timeout, on_change=on_change) if wait else NotebookList(notebooks)

    def _terminate(
        self, notebooks: Sequence[Notebook], wait: bool, timeout: float, on_change: OnChange | None
    ) -> NotebookList:
        asked: dict[tuple[str, str], str] = {}

        def step(notebook: Notebook) -> None:
            """What brings this one nearer to its end; each is asked once for each status."""
            status = notebook.status
            operation = {"InService": "stop", "Pending": "stop", "Stopped": "delete", "Failed": "delete"}.get(status)
            if operation is None or asked.get((notebook.name, operation)) == status:
                return
            asked[notebook.name, operation] = status
            try:
                self._aws(f"{operation}_notebook_instance", NotebookInstanceName=notebook.name)
            except AwsError:
                # One that is still Pending can't be stopped: its status will change. And one that changed meanwhile.
                before = notebook.status
                self._fill([notebook], self._rows()[1])
                if notebook.status == before != "Pending":
                    raise

        def over(notebook: Notebook) -> bool:
            return notebook.status == DELETED or (not wait and notebook.status == "Deleting")

        configs = {notebook.lifecycle_config for notebook in self.refresh(notebooks)}
        self._watch(notebooks, over, "gone", timeout, on_change, step=step)
        for config in configs:
            self._forget_config(config)
        self._seen = [name for name in self._seen if name not in {notebook.name for notebook in notebooks}]
        return NotebookList(notebooks)

    def update(
        self,
        notebook: Notebook,
        *,
        instance_type: str | None = None,
        volume_size: int | None = None,
        lifecycle: str | Path | None = None,
        git: str | Sequence[str] | None = None,
        role: str | None = None,
        root: bool | None = None,
        timeout: float = 60.0,
    ) -> Notebook:
        """Change a stopped notebook instance (UpdateNotebookInstance); the next start has what is new.

        Parameters
        ----------
        notebook : Notebook
        instance_type, volume_size, lifecycle, git, role, root
            As ``run``; what is None stays. An empty ``lifecycle`` or ``git`` takes it away.
        timeout : float
            Seconds to wait for the end of it.

        Raises
        ------
        AwsError, OblakoError
        """
        arguments = terms.optional(
            InstanceType=instance_type,
            VolumeSizeInGB=volume_size,
            RoleArn=role,
            RootAccess=None if root is None else "Enabled" if root else "Disabled",
        )
        if git is not None:
            repositories = terms.repositories(git)
            arguments.update(repositories)
            for field in ("DefaultCodeRepository", "AdditionalCodeRepositories"):
                if field not in repositories:
                    arguments[f"Disassociate{field}"] = True
        if lifecycle is not None and lifecycle != "":
            arguments["LifecycleConfigName"] = self._lifecycle(lifecycle)
        elif lifecycle is not None:
            arguments["DisassociateLifecycleConfig"] = True
        if not arguments:
            raise OblakoError("there is nothing to change; give a type, a volume size, a script or a repository.")
        notebook.refresh()
        before = notebook.lifecycle_config
        try:
            self._aws("update_notebook_instance", NotebookInstanceName=notebook.name, **arguments)
        except AwsError as error:
            self._forget_config(arguments.get("LifecycleConfigName", ""))
            if notebook.refresh().status not in ("Stopped", "Failed"):
                raise OblakoError(
                    f"{notebook.name} is {notebook.status} and can be changed when it is stopped; "
                    f"%ec2 notebook stop {notebook.name} stops it."
                ) from error
            raise
        self._watch([notebook], lambda n: n.status not in ("Updating", "Pending"), "updated", timeout, None)
        if "LifecycleConfigName" in arguments or "DisassociateLifecycleConfig" in arguments:
            self._forget_config(before)
        return self.refresh([notebook])[0]

    # -- opening --------------------------------------------------------------------------------------

    def link(self, notebook: Notebook) -> NotebookLink:
        """A link that opens JupyterLab logged in (CreatePresignedNotebookInstanceUrl).

        It holds no token and dies when it has been used, or after five minutes: it may be shown and saved.

        Parameters
        ----------
        notebook : Notebook

        Raises
        ------
        OblakoError
            Where the notebook is not in service.
        """
        try:
            answer = self._aws("create_presigned_notebook_instance_url", NotebookInstanceName=notebook.name)
        except AwsError as error:
            if notebook.refresh().status != "InService":
                raise OblakoError(terms.not_open(notebook)) from error
            raise
        return NotebookLink(notebook.name, str(answer["AuthorizedUrl"]))

    def login_url(self, notebook: Notebook) -> str:
        """JupyterLab's address with its own token: whoever has it has the notebook, until it is deleted.

        Parameters
        ----------
        notebook : Notebook

        Raises
        ------
        OblakoError
            Where the notebook is not in service.
        """
        link = self.link(notebook)
        parts = urlsplit(link.url)
        # Not urllib: it would follow the redirect, and the environment's proxies.
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=30)
        try:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            location = connection.getresponse().getheader("Location") or ""
        except (OSError, http.client.HTTPException) as error:
            raise ControlPlaneError("the control plane does not answer; start it with: oblako up") from error
        finally:
            connection.close()
        if not location:
            raise ControlPlaneError(f"the link of {notebook.name} led nowhere; ask for it again.")
        return location

    # -- inside ---------------------------------------------------------------------------------------

    def exec(
        self,
        notebook: Notebook,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
    ) -> ExecResult:
        """Run a command in a notebook instance, as ``Ec2.exec`` does in others: as root unless told otherwise.

        It has the environment that JupyterLab's kernels have, so that boto3 finds the cloud around it.

        Raises
        ------
        OblakoError
            Where the notebook is not in service; WaitError where time ran out.
        """
        from .. import remote
        from ..guest import notebook as guest

        if notebook.refresh().status != "InService":
            raise OblakoError(terms.not_open(notebook))
        # The service's machine, which DescribeInstances does not show to its users.
        machine = Instance(notebook.machine, state="running", name=notebook.name, container=notebook.container)
        engine = self._ec2.engine()
        return remote.execute(
            engine,
            machine,
            command,
            user=user,
            env={**guest.environment(engine, notebook.machine), **(env or {})},
            workdir=workdir,
            timeout=timeout,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )
