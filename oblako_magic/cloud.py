"""Ec2: the one service that the magics, the panel, the command line and Python programs call.

It speaks AWS to the control plane like any other client, and goes to the engine only for what AWS has no
fast call for. Every method raises ``OblakoError`` and its kin, one sentence each.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlencode

from . import names
from .errors import AwsError, OblakoError, WaitError
from .events import Event, EventList
from .handles import Check, ExecResult, Instance, InstanceList, Orphan, Report, Stats, Status
from .ports import Ports
from .watching import Watching

if TYPE_CHECKING:
    from .notebooks import Notebooks

__all__ = ["Check", "Ec2", "ExecResult", "Instance", "InstanceList", "Orphan", "Report", "Stats", "Status"]


class Ec2(Watching, Ports):
    """The local EC2 of this user.

    Parameters
    ----------
    settings : Settings, optional
        ``Settings.from_env()`` by default.
    region : str, optional
        The AWS region; by default the environment's or the AWS configuration's, else us-east-1.

    Notes
    -----
    The control plane is started on first need (design, "The way data flows"). May be used from several threads.
    """

    @functools.cached_property
    def notebooks(self) -> Notebooks:
        """Notebook instances: JupyterLab in instances of their own (SageMaker's API)."""
        from .notebooks import Notebooks

        return Notebooks(self)

    def images(self) -> list[dict[str, Any]]:
        """The AMIs that stand for container images: the catalog's and the user's own.

        Returns
        -------
        list of dict
            ``image_id``, ``name``, ``image``, ``local`` (whether the engine has the image), ``description``.
        """
        from . import catalog
        from .engine import images as engine_images

        here, stale = set[str](), ""
        notebook = self.settings.notebook_image or names.NOTEBOOK_IMAGE
        with contextlib.suppress(OblakoError):
            here = set(engine_images.names_here(self.engine()))
            found = engine_images.local(self.engine(), notebook)
            missing = notebook == names.NOTEBOOK_IMAGE and found is None
            stale = (
                f"build it with: {engine_images.build_command('notebook')}" if missing else found.stale if found else ""
            )
        rows = []
        default = self.settings.image or names.DEFAULT_IMAGE
        rows.append(
            {
                "image_id": "",
                "name": "(default)",
                "image": default,
                "description": "what %ec2 run takes without --image",
            }
        )
        use = "what notebook instances take"
        rows.append(
            {
                "image_id": "",
                "name": "(notebook)",
                "image": notebook,
                "description": f"{use}; {stale}" if stale else use,
            }
        )
        for ami in catalog.AMIS:
            rows.append({"image_id": ami.ami_id, "name": ami.name, "image": ami.image, "description": ami.description})
        for raw in self._aws("describe_images", Owners=["self"])["Images"]:
            location = raw.get("ImageLocation") or ""
            rows.append(
                {
                    "image_id": raw["ImageId"],
                    "name": raw.get("Name", ""),
                    "image": location,
                    "description": raw.get("Description", ""),
                }
            )
        return [{**row, "local": _tagged(row["image"]) in here} for row in rows]

    def deploy(
        self,
        stack_name: str,
        template: str,
        *,
        parameters: dict[str, str] | None = None,
        timeout: float = 900,
        on_event: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Create or update a CloudFormation stack and wait for it.

        Parameters
        ----------
        stack_name, template : str
        parameters : dict of str to str, optional
        timeout : float
            Seconds.
        on_event : callable, optional
            Gets the stack's status whenever it has changed.

        Returns
        -------
        dict
            ``StackId``, ``StackStatus``, ``Outputs`` (dict), ``Resources`` (logical id to physical id).

        Raises
        ------
        AwsError, WaitError
        """
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in (parameters or {}).items()]
        arguments = {
            "StackName": stack_name,
            "TemplateBody": template,
            "Parameters": given,
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
        }
        try:
            self._aws("describe_stacks", service="cloudformation", StackName=stack_name)
            operation = "update_stack"
        except AwsError as error:
            if error.code != "ValidationError":
                raise
            operation = "create_stack"
        self._aws(operation, service="cloudformation", **arguments)
        end, last, revision = time.monotonic() + timeout, "", 0
        while True:
            stack = self._aws("describe_stacks", service="cloudformation", StackName=stack_name)["Stacks"][0]
            status = stack["StackStatus"]
            if status != last and on_event is not None:
                on_event(status)
            last = status
            if not status.endswith("_IN_PROGRESS"):
                break
            if time.monotonic() > end:
                raise WaitError(
                    f"the stack {stack_name} is still {status} after {timeout:g} s; %ec2 ls shows its instances."
                )
            revision, _ = self._rows(revision, 1.0)
        if status.endswith("FAILED") or "ROLLBACK" in status:
            raise WaitError(f"the stack {stack_name} is {status}: {self._stack_failure(stack_name)}")
        resources = self._aws("describe_stack_resources", service="cloudformation", StackName=stack_name)[
            "StackResources"
        ]
        if nameless := sum("LogicalResourceId" not in item for item in resources):  # so moto lists what it can't make
            raise WaitError(
                f"the stack {stack_name} is {status}, but {nameless} of its resources could not be made: their types "
                "are misspelt or not known to moto; correct them in the template and deploy it again."
            )
        return {
            "StackId": stack["StackId"],
            "StackStatus": status,
            "Outputs": {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs") or []},
            "Resources": {item["LogicalResourceId"]: item.get("PhysicalResourceId", "") for item in resources},
        }

    def _stack_failure(self, stack_name: str) -> str:
        """Why a stack failed: the first reason that one of its events has."""
        events = self._aws("describe_stack_events", service="cloudformation", StackName=stack_name)["StackEvents"]
        failed = (event for event in reversed(events) if event.get("ResourceStatus", "").endswith("FAILED"))
        return next(
            (event["ResourceStatusReason"] for event in failed if event.get("ResourceStatusReason")), "no reason"
        )

    def panel(self, instances: Sequence[Instance] | None = None) -> Any:
        """A live table of instances for a notebook, with buttons for all that can be done to them.

        Parameters
        ----------
        instances : sequence of Instance, optional
            Those alone; by default all that there are and will be, with a dashboard and a launch form.

        Returns
        -------
        oblako_magic.frontends.panel.widget.Panel
            ``close()`` ends it with its threads and connections.
        """
        # By name: this layer knows no front end, and a program without a notebook loads no widgets.
        return import_module(".frontends.panel.widget", __package__).Panel(self, instances)

    def map(self, instances: Sequence[Instance] | None = None) -> Any:
        """A picture of the region: VPCs, subnets, instances, security groups and published ports.

        Parameters
        ----------
        instances : sequence of Instance, optional
            Only these, with what they are in; by default all that are not terminated.

        Returns
        -------
        oblako_magic.frontends.topology.Topology
            ``svg()`` gives it as text, ``save(path)`` writes it.

        Raises
        ------
        OblakoError
        """
        return import_module(".frontends.gather", __package__).topology(self, instances)

    def shell(self, instance: Instance, *, user: str = "") -> Any:
        """A shell on an instance, for a notebook.

        Parameters
        ----------
        instance : Instance
        user : str
            By default the image's own.

        Returns
        -------
        oblako_magic.frontends.shell.widget.ShellView
            ``close()`` ends it.

        Raises
        ------
        OblakoError
            Where the instance does not run.
        """
        return import_module(".frontends.shell.widget", __package__).ShellView(self, instance, user=user)

    @overload
    def events(self, *, since: int = ..., log: str = ..., timeout: float = ...) -> EventList: ...

    @overload
    def events(
        self, *, since: int = ..., log: str = ..., timeout: float = ..., follow: Literal[True]
    ) -> Iterator[Event]: ...

    def events(
        self, *, since: int = 0, log: str = "", timeout: float = 0.0, follow: bool = False
    ) -> EventList | Iterator[Event]:
        """What changed and who did it: the last thousand events since the control plane was started.

        Parameters
        ----------
        since : int
            Only the events after this number, such as ``last`` of an earlier answer.
        log : str
            The ``log`` of that answer: after a new start of the control plane all of its events are new.
        timeout : float
            Seconds to wait for an event where there is none; at most 60.
        follow : bool
            Give them one by one and go on with those that come, without an end.

        Returns
        -------
        EventList or iterator of Event

        Raises
        ------
        ControlPlaneError
        """
        if follow:
            return self._follow_events(since, log)
        timeout = max(0.0, min(timeout, 60.0))
        query = urlencode({"since": int(since), "log": log, "timeout": f"{timeout:g}"})
        answer = self._call("GET", f"/events?{query}", timeout=30 + timeout)
        return EventList(map(Event.read, answer["events"]), answer["revision"], answer["log"], answer["missed"])

    def _follow_events(self, since: int, log: str) -> Iterator[Event]:
        while True:
            # Not for long: on Windows an interrupt waits for the end of the wait.
            news = self.events(since=since, log=log, timeout=5.0)
            yield from news
            since, log = news.last, news.log

    def doctor(self) -> Report:
        """Look at the control plane, the engine, the image and what lies about, each with its next step."""
        from . import health

        return health.report(self)

    def orphans(self) -> list[Orphan]:
        """Containers and volumes with our labels and without a record.

        Raises
        ------
        EngineUnavailable, ControlPlaneError
        """
        return [Orphan(**row) for row in self._call("GET", "/orphans", timeout=60)["orphans"]]

    def adopt(self, orphan: Orphan) -> Instance:
        """Make an orphaned container an instance again, by its labels."""
        return self.get(self._call("POST", "/adopt", {"kind": orphan.kind, "name": orphan.name})["id"])

    def remove(self, orphan: Orphan) -> None:
        """Remove an orphaned container, or volume with the data in it."""
        self._call("POST", "/remove", {"kind": orphan.kind, "name": orphan.name})


def _tagged(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"
