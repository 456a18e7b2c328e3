"""Make notebook instances, and what they need for it: a role, a lifecycle configuration."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import AwsError, OblakoError, WaitError
from ..model import parse_publish
from . import terms
from .handles import Notebook, NotebookList
from .look import Look, OnChange, each
from .terms import DEFAULT_TYPE

if TYPE_CHECKING:
    from .client import Notebooks

ROLE = "AmazonSageMaker-ExecutionRole-oblako"
CONFIG_PREFIX = "oblako-"
"""Lifecycle configurations that were made here of a script; they go with the last notebook that uses them."""
_CONFIG_LIMIT = 16384
"""Characters that a script may have in base64 (NotebookInstanceLifecycleConfigContent)."""
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Make(Look):
    """New notebook instances."""

    def run(
        self,
        name: str | Sequence[str],
        *,
        count: int | None = None,
        instance_type: str = DEFAULT_TYPE,
        image: str | None = None,
        volume_size: int = 5,
        lifecycle: str | Path | None = None,
        git: str | Sequence[str] = (),
        publish: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        lifetime: float | None = None,
        idle: float | None = None,
        role: str | None = None,
        subnet: str | None = None,
        root: bool = True,
        internet: bool = True,
        tags: Mapping[str, str] | None = None,
        wait: bool = True,
        timeout: float | None = None,
        on_change: OnChange | None = None,
    ) -> NotebookList:
        """Create notebook instances and, by default, wait until JupyterLab answers (CreateNotebookInstance).

        Parameters
        ----------
        name : str, or sequence of str
            One name, or one for each.
        count : int, optional
            So many, called NAME-01, NAME-02 and so on, each with its own token and volume.
        instance_type : str
            It limits CPU and memory.
        image : str, optional
            The container image; by default the one of ``oblako image build notebook``.
        volume_size : int
            GiB of /home/ec2-user/SageMaker, from 5.
        lifecycle : str or Path, optional
            A script that runs as root at each start: its file, or its text where it begins with ``#!``; or the name
            of a lifecycle configuration.
        git : str or sequence of str
            Repositories to clone: https addresses or names of code repositories; the first is the default one.
        publish : sequence of str
            Further ports, ``PORT`` or ``HOST_PORT:PORT`` each, on loopback.
        env : mapping of str to str, optional
            Further environment of JupyterLab and its kernels.
        lifetime, idle : float, optional
            Seconds after which it is stopped: since its start, and without activity.
        role : str, optional
            ARN of its IAM role; by default one that is made on first need.
        subnet : str, optional
        root, internet : bool
            RootAccess and DirectInternetAccess.
        tags : mapping of str to str, optional
        wait : bool
        timeout : float, optional
            Seconds to wait; 900 by default, a pull may take its time.
        on_change : callable, optional
            Gets the notebooks whenever one of them has changed.

        Returns
        -------
        NotebookList

        Raises
        ------
        AwsError, WaitError, OblakoError
            A ``WaitError`` has the notebooks as ``instances``.
        """
        wanted = terms.names(name, count)
        if not instance_type.startswith("ml."):
            raise OblakoError(
                f"{instance_type!r} is no type of a notebook instance; theirs begin with ml., such as {DEFAULT_TYPE}."
            )
        arguments = terms.optional(
            InstanceType=instance_type,
            VolumeSizeInGB=volume_size,
            SubnetId=subnet,
            RootAccess=None if root else "Disabled",
            DirectInternetAccess=None if internet else "Disabled",
            **terms.repositories(git),
        )
        labels = {**(tags or {}), **terms.extras(image, publish, env, lifetime, idle)}
        if len(wanted) > 1 and any(mapping.host_port for text in publish for mapping in parse_publish(text)):
            raise OblakoError(
                "several notebooks can't share a host port; leave the host port out to have one chosen for each."
            )
        if labels:
            arguments["Tags"] = [{"Key": key, "Value": value} for key, value in labels.items()]
        there = {notebook.name for notebook in self.all()} & set(wanted)
        if there:
            raise OblakoError(
                f"{terms.listed(sorted(there))} {'is' if len(there) == 1 else 'are'} there already; "
                f"%ec2 notebook open {min(there)} opens it, %ec2 notebook terminate {min(there)} removes it."
            )
        arguments["RoleArn"] = role or self.role()
        if lifecycle is not None:
            arguments["LifecycleConfigName"] = self._lifecycle(lifecycle)
        return self._create(wanted, arguments, wait, 900.0 if timeout is None else timeout, on_change)

    def _create(
        self, wanted: Sequence[str], arguments: dict[str, Any], wait: bool, timeout: float, on_change: OnChange | None
    ) -> NotebookList:
        made: dict[str, Notebook] = {}

        def create(name: str) -> None:
            answer = self._aws("create_notebook_instance", NotebookInstanceName=name, **arguments)
            made[name] = Notebook(
                name, arn=answer["NotebookInstanceArn"], type=arguments["InstanceType"], client=cast("Notebooks", self)
            )

        # What one is refused for all are: the first one alone, so that nothing is made of what can't work.
        try:
            create(wanted[0])
        except OblakoError:
            self._forget_config(arguments.get("LifecycleConfigName", ""))
            raise
        failures = each(create, wanted[1:])
        notebooks = NotebookList(made[name] for name in wanted if name in made)
        self.refresh(notebooks)
        if failures:
            missing = terms.listed([name for name in wanted if name not in made])
            raise WaitError.of(
                f"{len(notebooks)} of {len(wanted)} notebooks were made, without {missing}: "
                f"{str(failures[0]).rstrip('.')}; %ec2 notebook ls shows them",
                notebooks,
            )
        return self.wait(notebooks, "InService", timeout=timeout, on_change=on_change) if wait else notebooks

    def role(self) -> str:
        """The ARN of the IAM role that notebooks get where none is named; made on first need.

        Returns
        -------
        str
        """
        try:
            answer = self._ec2._aws("get_role", service="iam", RoleName=ROLE)
        except AwsError as error:
            if error.code not in ("NoSuchEntity", "NoSuchEntityException"):
                raise
            try:
                answer = self._ec2._aws(
                    "create_role",
                    service="iam",
                    RoleName=ROLE,
                    Path="/service-role/",
                    AssumeRolePolicyDocument=json.dumps(_TRUST),
                    Description="What notebook instances of oblako_magic may do, where none other was named.",
                )
                self._ec2._aws(
                    "put_role_policy", service="iam", RoleName=ROLE, PolicyName="all", PolicyDocument=json.dumps(_ALL)
                )
            except AwsError as made:
                if made.code not in ("EntityAlreadyExists", "EntityAlreadyExistsException"):
                    raise
                answer = self._ec2._aws("get_role", service="iam", RoleName=ROLE)
        return str(answer["Role"]["Arn"])

    def _lifecycle(self, lifecycle: str | Path) -> str:
        """The name of the lifecycle configuration that is meant; of a script one is made, named by its content."""
        if isinstance(lifecycle, str) and not lifecycle.startswith("#!"):
            return lifecycle
        script = lifecycle if isinstance(lifecycle, str) else terms.read(lifecycle)
        content = base64.b64encode(script.encode()).decode()
        if len(content) > _CONFIG_LIMIT:
            raise OblakoError(
                f"the lifecycle script is {len(script.encode())} bytes long and may have {_CONFIG_LIMIT * 3 // 4}; "
                "let it fetch the rest from a repository."
            )
        name = f"{CONFIG_PREFIX}{hashlib.sha256(script.encode()).hexdigest()[:16]}"
        try:
            self._aws("describe_notebook_instance_lifecycle_config", NotebookInstanceLifecycleConfigName=name)
            return name
        except AwsError as error:
            if error.code not in ("ValidationException", "ResourceNotFound"):
                raise
        self._aws(
            "create_notebook_instance_lifecycle_config",
            NotebookInstanceLifecycleConfigName=name,
            OnStart=[{"Content": content}],
        )
        return name

    def _forget_config(self, name: str) -> None:
        """Remove a lifecycle configuration that was made here and that no notebook uses any more."""
        if not name.startswith(CONFIG_PREFIX) or any(n.lifecycle_config == name for n in self.all()):
            return
        with contextlib.suppress(AwsError):  # another one has just begun to use it, or it is gone
            self._aws("delete_notebook_instance_lifecycle_config", NotebookInstanceLifecycleConfigName=name)
