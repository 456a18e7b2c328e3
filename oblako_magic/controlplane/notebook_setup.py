"""What a notebook instance's machine is to find when it starts, from moto's records."""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.utilities.utils import get_partition

from .. import names
from ..environment import TEST_KEY
from ..guest.notebook import Setup
from ..settings import Settings
from . import notebook_view, notebooks
from .notebooks import extra


def of(instance: Any, settings: Settings, port: int, key: str) -> tuple[Setup, bool] | None:
    """Call with moto's lock held.

    Parameters
    ----------
    instance : moto.ec2.models.instances.Instance
    settings : Settings
    port : int
        Of the endpoint.
    key : str
        The access key that the endpoint wants; empty: any will do.

    Returns
    -------
    (Setup, bool) or None
        And whether it is kept from the internet; None for an instance that is no notebook's.
    """
    notebook = notebooks.of_machine(instance)
    if notebook is None:
        return None
    endpoint = f"http://{names.HOST_ALIAS}:{port}"
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        **_credentials(notebook, key),
        "AWS_DEFAULT_REGION": notebook.region_name,
        "AWS_REGION": notebook.region_name,
        "OBLAKO_ENDPOINT": endpoint,
        **notebook_view.environment_of(notebook),
    }
    setup = Setup(
        token=extra(notebook).token,
        environment=environment,
        hooks=notebook_view.hooks_of(notebook),
        repositories=notebook_view.repositories_of(notebook),
        root_access=notebook.root_access != "Disabled",
        any_host=not _loopback(settings.publish_host),
    )
    return setup, notebook.direct_internet_access == "Disabled"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(notebook: Any, key: str) -> dict[str, str]:
    """Keys of the notebook instance's own account; those of its role where that account is not the usual one."""
    account = notebooks.account_of(notebook)
    if key or account == DEFAULT_ACCOUNT_ID:
        return {"AWS_ACCESS_KEY_ID": key or TEST_KEY, "AWS_SECRET_ACCESS_KEY": TEST_KEY}
    backend: Any = iam_backends[account][get_partition(notebook.region_name)]
    made = backend.create_temp_access_key()
    made.role_arn = notebook.role_arn
    return {
        "AWS_ACCESS_KEY_ID": made.access_key_id,
        "AWS_SECRET_ACCESS_KEY": made.secret_access_key,
        "AWS_SESSION_TOKEN": made.session_token or "",
    }
