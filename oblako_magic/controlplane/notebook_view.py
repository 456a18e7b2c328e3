"""What the machine of a notebook instance gets, and what is told of a notebook instance. Wants moto's lock held."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from moto.sagemaker.models import sagemaker_backends

from .. import names
from ..guest import notebook as guest
from ..guest import user_data
from ..model import ContainerSpec
from .notebooks import REPOSITORIES, account_of, extra, failure_reason, of_machine, status, tags_of
from .semantics import backing

log = logging.getLogger(__name__)


def shaped(instance: Any, spec: ContainerSpec) -> ContainerSpec:
    """The spec of an instance's container with what is a notebook's own."""
    notebook = of_machine(instance)
    if notebook is None:
        return spec
    return replace(
        spec,
        command=guest.COMMAND,
        replace_entrypoint=True,
        user="0:0",  # the start script is root's; the server is not
        also_mounted_at=(names.NOTEBOOK_MOUNT,),
        internet=notebook.direct_internet_access != "Disabled",
    )


def hooks_of(notebook: Any) -> dict[str, bytes]:
    """The lifecycle scripts that a start has to run."""
    backend = sagemaker_backends[account_of(notebook)][notebook.region_name]
    config = backend.notebook_instance_lifecycle_configurations.get(notebook.lifecycle_config_name)
    if config is None:
        return {}
    found = {}
    for hook, given in (("OnCreate", config.on_create), ("OnStart", config.on_start)):
        text = next((entry.get("Content") for entry in given or []), None)
        if text and not (hook == "OnCreate" and extra(notebook).created):
            found[hook] = user_data.decode(text)
    return found


def repositories_of(notebook: Any) -> tuple[tuple[str, str], ...]:
    """The URLs and branches of its code repositories, the default one first; no branch is the repository's own."""
    backend = sagemaker_backends[account_of(notebook)][notebook.region_name]
    known = vars(backend).get(REPOSITORIES, {})
    given = [notebook.default_code_repository, *(notebook.additional_code_repositories or [])]
    return tuple((known[one].url, known[one].branch) if one in known else (one, "") for one in given if one)


def url_path(notebook: Any) -> str:
    """Where the lab opens: in the default repository, as on AWS."""
    repository = repositories_of(notebook)[0][0] if notebook.default_code_repository else ""
    if not repository:
        return "/lab"
    return "/lab/tree/" + repository.rstrip("/").rpartition("/")[2].removesuffix(".git")


def server_url(notebook: Any) -> str:
    """``http://127.0.0.1:PORT`` of its server; empty while it has no port."""
    machine = extra(notebook).machine
    ports = backing(machine).ports if machine is not None else ()
    return next((port.url for port in ports if port.container_port == names.NOTEBOOK_PORT), "")


def row(notebook: Any) -> dict[str, Any]:
    """What the control plane's own API tells of it; no secrets."""
    mine, now = extra(notebook), status(notebook)
    machine = mine.machine
    backed = backing(machine) if machine is not None else None
    url = server_url(notebook)
    return {
        "name": notebook.notebook_instance_name,
        "account": account_of(notebook),
        "region": notebook.region_name,
        "arn": notebook.arn,
        "status": now,
        "failure_reason": failure_reason(notebook),
        "instance_type": notebook.instance_type,
        "machine": machine.id if machine is not None else "",
        "container": names.container_name(machine.id) if backed and backed.container_id else "",
        "port": int(url.rpartition(":")[2]) if url else 0,
        "url": f"{url}/lab" if url and now == "InService" else "",
        "image": backed.image if backed else "",
        "progress": (mine.progress or (backed.progress if backed else "")) if now == "Pending" else "",
        "created": notebook.creation_time.timestamp(),
        "tags": tags_of(notebook),
        "lifecycle_config": notebook.lifecycle_config_name or "",
        "volume_size": notebook.volume_size_in_gb,
    }


def record(instance: Any) -> dict[str, Any] | None:
    """What the machine's container carries, so that the notebook instance can be made anew without the state file."""
    notebook = of_machine(instance)
    if notebook is None:
        return None
    return {
        "instance_type": notebook.instance_type,
        "role_arn": notebook.role_arn,
        "volume_size": notebook.volume_size_in_gb,
        "lifecycle_config": notebook.lifecycle_config_name,
        "repositories": [notebook.default_code_repository, *(notebook.additional_code_repositories or [])],
        "root_access": notebook.root_access,
        "internet": notebook.direct_internet_access,
        "created": notebook.creation_time.isoformat(),
        "tags": {key: value for key, value in tags_of(notebook).items() if key != names.TAG_ENV},
    }


def environment_of(notebook: Any) -> dict[str, str]:
    """The variables that its tags ask for; what can't be used was refused when the tag was set."""
    text = tags_of(notebook).get(names.TAG_ENV, "")
    try:
        return guest.valid_environment(text) if text else {}
    except ValueError as error:
        log.warning("%s: %s", notebook.notebook_instance_name, error)
        return {}
