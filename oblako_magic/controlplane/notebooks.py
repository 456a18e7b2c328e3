"""Notebook instances: moto's SageMaker has the record, an EC2 instance of a service account is the machine (ADR 0008).

The status of a notebook instance is not kept: it follows from its machine and from whether its server answers. Nothing
here talks to an engine. Every function wants moto's lock held.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.sagemaker.exceptions import SagemakerClientError, ValidationError
from moto.sagemaker.models import sagemaker_backends

from .. import names
from ..model import parse_publish
from ..settings import Settings
from .records import backends, notebook_place
from .records import tags_of as machine_tags
from .semantics import backing

log = logging.getLogger(__name__)

NO_IMAGE = "none"
"""The value of OBLAKO_NOTEBOOK_IMAGE that makes notebook instances without containers."""
REPOSITORIES = "oblako_code_repositories"
"""Attribute of a SageMaker backend: code repositories by name."""
_FAILED = ("Server.InternalError", "Client.InternalError")
"""Reasons of an end that nobody asked for."""
_LIKE = {
    "p2.xlarge": "r4.xlarge",
    "p2.8xlarge": "r4.8xlarge",
    "p2.16xlarge": "r4.16xlarge",
    "p3.2xlarge": "r4.2xlarge",
    "p3.8xlarge": "r4.8xlarge",
    "p3.16xlarge": "r4.16xlarge",
}
"""Types that moto's EC2 does not have any more, and ones with as many vCPUs."""


class ResourceLimitExceeded(SagemakerClientError):
    """There is no room for it (SageMaker API reference, CreateNotebookInstance)."""

    code = "ResourceLimitExceeded"


@dataclass
class Extra:
    """What the control plane keeps of a notebook instance beside moto's own record; saved along with it.

    Parameters
    ----------
    machine : moto.ec2.models.instances.Instance or None
        None for a record from before there were machines.
    token : str
        Of its server.
    ready : tuple
        The start for which its server has answered.
    created : bool
        Whether it has been in service: OnCreate is done.
    failure : str
        Why it is Failed, where that is known better than from the machine.
    deleting, updating : bool
    restarting : bool
        Whether it is stopped only to be started again.
    interface : str
        Its network interface in the caller's subnet.
    platform, address_type : str
    metadata_service : dict or None
        InstanceMetadataServiceConfiguration.
    progress : str
        What it is at just now.
    started : float
        When it was last seen to go into service, in seconds since 1970.
    """

    machine: Any = None
    token: str = ""
    ready: tuple[Any, ...] = ()
    created: bool = False
    failure: str = ""
    deleting: bool = False
    updating: bool = False
    restarting: bool = False
    interface: str = ""
    platform: str = ""
    address_type: str = ""
    metadata_service: Any = None
    progress: str = ""
    started: float = 0.0


def extra(notebook: Any) -> Extra:
    """What the control plane keeps of it; made on first sight."""
    found = vars(notebook).get("oblako")
    if found is None:
        found = notebook.oblako = Extra()
    return found  # type: ignore[no-any-return]


def account_of(notebook: Any) -> str:
    """The account that it belongs to."""
    return str(notebook.arn).split(":")[4]


def tags_of(notebook: Any) -> dict[str, str]:
    """Its tags as a dictionary."""
    return {tag["Key"]: tag["Value"] for tag in notebook.tags or []}


def all_notebooks() -> Iterator[Any]:
    """Every notebook instance of every account and region."""
    for backend in backends(sagemaker_backends):
        yield from list(backend.notebook_instances.values())


def of_machine(instance: Any) -> Any | None:
    """The notebook instance whose machine this is; None where it is nobody's."""
    if str(instance.owner_id) != names.NOTEBOOK_ACCOUNT:
        return None
    account, region, name = notebook_place(machine_tags(instance))
    accounts = dict.get(sagemaker_backends, account)
    backend = dict.get(accounts, region) if accounts is not None else None
    found = backend.notebook_instances.get(name) if backend is not None else None
    return found if found is not None and extra(found).machine is instance else None


# -- status -----------------------------------------------------------------------------------------------


def start_of(machine: Any) -> tuple[Any, ...]:
    """Tells one start of a machine from another."""
    mine = backing(machine)
    return machine.id, mine.generation, mine.reboots, mine.engine_run


def is_ready(notebook: Any) -> bool:
    """Whether its server has answered since the machine's last start."""
    mine = extra(notebook)
    return mine.machine is not None and (not backing(mine.machine).backed or mine.ready == start_of(mine.machine))


def _lost(machine: Any) -> bool:
    """Whether it counts as running and has no container any more."""
    mine = backing(machine)
    return bool(mine.backed and mine.impaired and not mine.container_id and mine.started >= mine.generation)


def status(notebook: Any) -> str:
    """NotebookInstanceStatus (SageMaker API reference, DescribeNotebookInstance)."""
    mine = extra(notebook)
    if mine.deleting:
        return "Deleting"
    if mine.updating:
        return "Updating"
    machine = mine.machine
    if machine is None:
        return str(vars(notebook).get("status", "Stopped"))
    if machine.state == "running":
        if _lost(machine):
            return "Failed"
        return "InService" if is_ready(notebook) else "Pending"
    if machine.state in ("pending", "stopping"):
        return str(machine.state).capitalize()
    if unexplained(notebook):
        return "Pending"  # for a blink: whoever reads Failed reads the reason, too
    if machine.state == "stopped" and not mine.failure and machine.state_reason.code not in _FAILED:
        return "Stopped"
    return "Failed"


def unexplained(notebook: Any) -> bool:
    """Whether its machine ended by itself and nobody has looked yet why."""
    mine = extra(notebook)
    machine = mine.machine
    if machine is None or mine.failure or mine.deleting or not backing(machine).backed:
        return False
    if machine.state == "stopped":
        return machine.state_reason.code in _FAILED
    return machine.state in ("shutting-down", "terminated")


def failure_reason(notebook: Any) -> str:
    """Why it is Failed; empty where it is not."""
    mine = extra(notebook)
    if status(notebook) != "Failed" or mine.machine is None:
        return ""
    if mine.failure:
        return mine.failure
    return machine_reason(notebook)


def machine_reason(notebook: Any) -> str:
    """Why its machine does not run, as the machine itself knows it."""
    mine = extra(notebook)
    if mine.machine.state == "running":
        return backing(mine.machine).impaired
    return str(mine.machine.state_reason.message or "").removeprefix(f"{mine.machine.state_reason.code}: ")


def demand(notebook: Any, into: str, *allowed: str) -> None:
    """Refuse a transition that its status does not allow, in the words of SageMaker."""
    now = status(notebook)
    if now not in allowed:
        raise ValidationError(
            message=f"Status ({now}) not in ([{', '.join(allowed)}]). Unable to transition to ({into}) for Notebook "
            f"Instance ({notebook.arn})."
        )


# -- the machine ------------------------------------------------------------------------------------------


def machine_type(instance_type: str) -> str:
    """The EC2 instance type whose vCPUs and memory a notebook instance type has."""
    kind = instance_type.removeprefix("ml.")
    return _LIKE.get(kind, kind)


def image_of(notebook: Any, settings: Settings) -> str:
    """The container image; ``none`` for one without a container."""
    return tags_of(notebook).get(names.TAG_IMAGE) or settings.notebook_image or names.NOTEBOOK_IMAGE


def publish_of(tags: dict[str, str]) -> str:
    """What the machine publishes: its server's port, and what its tags ask for.

    Raises
    ------
    ValueError
        With a sentence for the user.
    """
    asked = tags.get(names.TAG_PUBLISH, "")
    if any(mapping.container_port == names.NOTEBOOK_PORT for mapping in parse_publish(asked)):
        return asked
    return ",".join(filter(None, [str(names.NOTEBOOK_PORT), asked]))


def launch(notebook: Any, settings: Settings) -> None:
    """Launch its machine, as RunInstances of the service account does.

    Raises
    ------
    SagemakerClientError
        Where there is no room; nothing is made then.
    """
    account, region = account_of(notebook), notebook.region_name
    backend: Any = ec2_backends[names.NOTEBOOK_ACCOUNT][region]
    tags, image = tags_of(notebook), image_of(notebook, settings)
    simulated = image == NO_IMAGE or tags.get(names.TAG_BACKED, "").lower() == "false"
    kind = machine_type(notebook.instance_type)
    machine_tags = {
        "Name": notebook.notebook_instance_name,
        names.TAG_NOTEBOOK: f"{account}/{region}/{notebook.notebook_instance_name}",
        names.TAG_PUBLISH: publish_of(tags),
        names.TAG_IMAGE: image,
    }
    if simulated:
        machine_tags[names.TAG_BACKED] = "false"
    with _in_its_words():
        reservation = backend.run_instances(
            image_id=image,
            count=1,
            user_data=None,
            security_group_names=[],
            instance_type=kind,
            is_instance_type_default=kind not in INSTANCE_TYPES,
            region_name=region,
            instance_initiated_shutdown_behavior="stop",
            tags={"instance": machine_tags},
        )
    mine = extra(notebook)
    mine.machine, mine.failure, mine.progress, mine.ready = reservation.instances[0], "", "", ()
    mine.token = mine.token or secrets.token_urlsafe(32)


class _in_its_words:
    """EC2's lack of room in SageMaker's words."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, EC2ClientError):
            raise ResourceLimitExceeded(str(error.message)) from error


def start(notebook: Any, settings: Settings) -> None:
    """StartNotebookInstance."""
    demand(notebook, "Pending", "Stopped", "Failed")
    mine = extra(notebook)
    if mine.machine is None or mine.machine.state in ("shutting-down", "terminated"):
        launch(notebook, settings)
    else:
        with _in_its_words():
            mine.machine.ec2_backend.start_instances([mine.machine.id])
        backing(mine.machine).impaired = ""  # of the container that is made anew
    mine.failure, mine.progress = "", ""


def stop(notebook: Any) -> None:
    """StopNotebookInstance."""
    demand(notebook, "Stopping", "InService")
    _halt(notebook)


def _halt(notebook: Any) -> None:
    machine = extra(notebook).machine
    if machine is None:
        vars(notebook)["status"] = "Stopped"
    else:
        machine.ec2_backend.stop_instances([machine.id])


def restart(notebook: Any) -> None:
    """Stop it, to be started again with what has changed."""
    extra(notebook).restarting = True
    if extra(notebook).machine.state != "pending":
        _halt(notebook)


def drop(notebook: Any) -> None:
    """Forget it at once; its machine and volume go."""
    mine = extra(notebook)
    if mine.machine is not None and mine.machine.state not in ("shutting-down", "terminated"):
        mine.machine.terminate()
    backend: Any = sagemaker_backends[account_of(notebook)][notebook.region_name]
    if backend.notebook_instances.get(notebook.notebook_instance_name) is notebook:
        del backend.notebook_instances[notebook.notebook_instance_name]
    _drop_interface(notebook)


def fail(notebook: Any, reason: str) -> None:
    """Stop it as Failed."""
    extra(notebook).failure = reason
    if extra(notebook).machine.state == "running":
        _halt(notebook)


def delete(notebook: Any) -> None:
    """DeleteNotebookInstance: it goes when its machine and volume are gone."""
    demand(notebook, "Deleting", "Stopped", "Failed")
    mine = extra(notebook)
    mine.deleting, mine.progress = True, ""
    if mine.machine is not None and mine.machine.state not in ("shutting-down", "terminated"):
        mine.machine.ec2_backend.terminate_instances([mine.machine.id])


def _is_gone(machine: Any) -> bool:
    """Whether it is terminated in the engine as well; moto says so as soon as it is asked."""
    return bool(machine.state == "terminated" and backing(machine).written == "terminated")


def tidy() -> bool:
    """Forget the notebook instances that are deleted and whose machines are gone; whether there was one."""
    gone = [
        notebook
        for notebook in all_notebooks()
        if extra(notebook).deleting and (extra(notebook).machine is None or _is_gone(extra(notebook).machine))
    ]
    for notebook in gone:
        drop(notebook)
    return bool(gone)


def _drop_interface(notebook: Any) -> None:
    backend: Any = ec2_backends[account_of(notebook)][notebook.region_name]
    interface = extra(notebook).interface
    if interface in backend.enis:
        backend.delete_network_interface(interface)


def moving() -> bool:
    """Whether any is on its way to another status."""
    return any(status(one) in ("Pending", "Stopping", "Deleting", "Updating") for one in all_notebooks())


# -- small things ----------------------------------------------------------------------------------------


def changed(notebook: Any) -> None:
    """Note that a client has changed it (LastModifiedTime)."""
    notebook.last_modified_time = utcnow()


def seconds_of(notebook: Any, tag: str) -> float | None:
    """Of a tag that is a time; None where it is not set."""
    try:
        return float(tags_of(notebook)[tag])
    except (KeyError, ValueError):
        return None
