"""Make moto's record of a notebook instance anew from what its machine's container carries."""

from __future__ import annotations

import datetime
from typing import Any

from moto.sagemaker.models import FakeSagemakerNotebookInstance, sagemaker_backends

from ..errors import OblakoError
from .notebooks import extra
from .records import notebook_place, tags_of


def check(kept: dict[str, Any]) -> None:
    """Refuse the machine of a notebook instance whose name another one has by now.

    Raises
    ------
    OblakoError
    """
    account, region, name = notebook_place(kept.get("tags") or {})
    if name and name in sagemaker_backends[account][region].notebook_instances:
        raise OblakoError(f"there is a notebook instance {name} already; delete it, or remove this one.")


def restore(machine: Any, kept: dict[str, Any] | None) -> None:
    """Register the notebook instance of a machine; its token is in the container and read from there later.

    Parameters
    ----------
    machine : moto.ec2.models.instances.Instance
    kept : dict or None
        As ``notebook_view.record`` has written it; None for an instance that is no notebook's.
    """
    account, region, name = notebook_place(tags_of(machine))
    if not kept or not name:
        return
    default, *additional = kept.get("repositories") or [None]
    make: Any = FakeSagemakerNotebookInstance
    notebook = make(
        account_id=account,
        region_name=region,
        notebook_instance_name=name,
        instance_type=kept["instance_type"],
        role_arn=kept["role_arn"],
        subnet_id=None,
        security_group_ids=None,
        kms_key_id=None,
        tags=[{"Key": key, "Value": value} for key, value in (kept.get("tags") or {}).items()],
        # The scripts of a lifecycle configuration are lost with the state file.
        lifecycle_config_name=None,
        direct_internet_access=kept.get("internet") or "Enabled",
        volume_size_in_gb=kept.get("volume_size") or 5,
        accelerator_types=None,
        default_code_repository=default,
        additional_code_repositories=additional,
        root_access=kept.get("root_access") or "Enabled",
    )
    if kept.get("created"):
        notebook.creation_time = datetime.datetime.fromisoformat(kept["created"])
    mine = extra(notebook)
    mine.machine, mine.created = machine, True
    mine.platform, mine.address_type = kept.get("platform", ""), "ipv4"
    sagemaker_backends[account][region].notebook_instances[name] = notebook
