"""Ec2: the one service that the magics, the panel, the command line and Python programs call.

It speaks AWS to the control plane like any other client, and goes to the engine only for what AWS has no
fast call for. Every method raises ``OblakoError`` and its kin, one sentence each.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import environment, names, targets
from .controlplane import process
from .controlplane.process import Runtime
from .errors import (
    AwsError,
    ControlPlaneError,
    ControlPlaneTimeout,
    EngineUnavailable,
    OblakoError,
    TargetError,
    WaitError,
)
from .handles import Check, ExecResult, Instance, InstanceList, Orphan, Report, Stats, Status, fill, fill_extra
from .model import ContainerState, parse_publish
from .settings import Settings

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Check", "Ec2", "ExecResult", "Instance", "InstanceList", "Orphan", "Report", "Stats", "Status"]

DEFAULT_TYPE = "t3.micro"
DEFAULT_AMI = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
"""What RunInstances is asked for where no image is named: the latest Amazon Linux 2023."""
_FINAL = {"start": "running", "stop": "stopped", "terminate": "terminated", "reboot": "running"}
_LOST = {"running": {"terminated", "shutting-down", "stopped"}, "stopped": {"terminated", "shutting-down"}}
"""States from which the one that is waited for is not reached any more."""
Action = Literal["start", "stop", "reboot", "terminate"]
OnChange = Callable[[list[Instance]], None]


class Ec2:
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

    def __init__(self, settings: Settings | None = None, *, region: str | None = None) -> None:
        self.settings = settings if settings is not None else Settings.from_env()
        self._region = region
        self._lock = threading.RLock()
        self._runtime: Runtime | None = None
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._engine: Engine | None = None
        self._seen: list[tuple[str, str]] = []
        self._prepared: set[str] = set()

    # -- control plane ------------------------------------------------------------------------------

    @property
    def endpoint_url(self) -> str:
        """Where AWS clients go; known before anything answers there."""
        with self._lock:
            runtime = self._runtime or process.read_runtime(self.settings)
        return runtime.url if runtime else f"http://127.0.0.1:{process.planned_port(self.settings)}"

    @property
    def region(self) -> str:
        """The AWS region that calls go to."""
        if self._region is None:
            self._region = environment.region() or self._configured_region()
        return self._region

    def _configured_region(self) -> str:
        import botocore.session

        return str(botocore.session.get_session().get_config_variable("region") or environment.DEFAULT_REGION)

    def start(self, wait: bool = True) -> None:
        """Find the control plane or start it.

        Parameters
        ----------
        wait : bool
            False returns at once; the first call then waits for its answer.

        Raises
        ------
        ControlPlaneError
        """
        if wait:
            self._connect()
        elif process.find(self.settings) is None and not process.locked(self.settings):
            process.start(self.settings)

    def stop(self) -> None:
        """Stop the control plane; the instances keep running and are there again after the next start."""
        process.stop(self.settings)
        self._forget()

    def wait_ready(self, timeout: float = 30) -> None:
        """Wait until the control plane answers.

        Raises
        ------
        ControlPlaneTimeout
        """
        with self._lock:
            self._runtime = process.wait(self.settings, timeout)

    def status(self) -> Status:
        """The control plane and the engine as they are; starts nothing."""
        state_dir, log_file = str(self.settings.state_dir), str(self.settings.log_file)
        runtime = process.find(self.settings)
        if runtime is None:
            return Status(False, self.endpoint_url, state_dir=state_dir, log_file=log_file)
        answer = process.call(runtime, "GET", "/status", timeout=30)
        return Status(
            True,
            runtime.url,
            runtime.pid,
            runtime.version,
            engine=answer["engine"],
            engine_error=answer["engine_error"],
            counts=answer["counts"],
            notices=answer["notices"],
            state_dir=state_dir,
            log_file=log_file,
        )

    def _connect(self) -> Runtime:
        with self._lock:
            if self._runtime is None:
                self._runtime = process.ensure(self.settings)
            return self._runtime

    def _forget(self) -> None:
        with self._lock:
            self._runtime, self._engine = None, None
            self._clients.clear()

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = 30
    ) -> dict[str, Any]:
        """Call the control plane's own API; one that has gone away is started again, once."""
        try:
            return process.call(self._connect(), method, path, body, timeout=timeout)
        except ControlPlaneTimeout:
            raise
        except ControlPlaneError:
            if process.find(self.settings) is not None:
                raise
        self._forget()
        return process.call(self._connect(), method, path, body, timeout=timeout)

    # -- AWS ----------------------------------------------------------------------------------------

    def get_client(self, service: str = "ec2", *, region: str | None = None) -> Any:
        """A boto3 client of the local endpoint.

        Parameters
        ----------
        service : str
            Such as ``ec2``, ``autoscaling`` or ``cloudformation``.
        region : str, optional

        Raises
        ------
        OblakoError
            Where boto3 knows no such service.
        """
        return self._client(self._connect().url, service, region or self.region)

    def _client(self, url: str, service: str, region: str) -> Any:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        with self._lock:
            key = (url, service, region)
            if key not in self._clients:
                # Loopback: a proxy of the environment must not be asked, and a lost server is not a slow one.
                config = Config(proxies={}, connect_timeout=5, read_timeout=300, retries={"total_max_attempts": 1})
                try:
                    self._clients[key] = boto3.session.Session().client(
                        service,
                        endpoint_url=url,
                        region_name=region,
                        aws_access_key_id=environment.TEST_KEY,
                        aws_secret_access_key=environment.TEST_KEY,
                        config=config,
                    )
                except (BotoCoreError, ValueError) as error:
                    raise OblakoError(f"there is no AWS service client {service!r}: {error}") from error
            return self._clients[key]

    def _aws(self, operation: str, *, service: str = "ec2", **arguments: Any) -> dict[str, Any]:
        """One API call by its method's name; where the control plane has gone away it is started and asked again."""
        from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

        for attempt in (1, 2):
            client = self.get_client(service)
            try:
                return getattr(client, operation)(**arguments)  # type: ignore[no-any-return]
            except ClientError as error:
                raise _aws_error(error) from error
            except EndpointConnectionError as error:
                # Refused before anything was sent, so that asking again can't do a thing twice.
                if attempt == 2:
                    raise ControlPlaneError("the control plane does not answer; start it with: oblako up") from error
                self._forget()
            except BotoCoreError as error:
                raise AwsError(f"{error} ({operation})", operation=operation) from error
        raise AssertionError("unreachable")

    def environment(self) -> dict[str, str]:
        """What ``oblako env`` exports: endpoints, and test keys and a region only where none are configured."""
        return environment.variables(self.endpoint_url)

    # -- launch -------------------------------------------------------------------------------------

    def run_instance(
        self, image_id: str | None = None, instance_type: str = DEFAULT_TYPE, *, backed: bool = True, **kwargs: Any
    ) -> str:
        """Launch one instance and return its id at once (RunInstances).

        Parameters
        ----------
        image_id : str, optional
            AMI id or the name of a container image; by default the latest Amazon Linux 2023.
        instance_type : str
        backed : bool
            False: the control plane alone, without a container.
        **kwargs
            Further parameters of boto3's ``run_instances``.

        Returns
        -------
        str
            The instance id.

        Raises
        ------
        AwsError
        """
        if not backed:
            _add_tags(kwargs, {names.TAG_BACKED: "false"})
        arguments = {
            "ImageId": image_id or DEFAULT_AMI,
            "InstanceType": instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            **kwargs,
        }
        answer = self._aws("run_instances", **arguments)
        return str(answer["Instances"][0]["InstanceId"])

    def run(
        self,
        *,
        image: str | None = None,
        instance_type: str = DEFAULT_TYPE,
        name: str | None = None,
        count: int = 1,
        publish: Sequence[str] = (),
        key: str | None = None,
        security_groups: Sequence[str] = (),
        subnet: str | None = None,
        profile: str | None = None,
        tags: dict[str, str] | None = None,
        user_data: str | None = None,
        backed: bool = True,
        wait: bool = True,
        timeout: float | None = None,
        on_change: OnChange | None = None,
    ) -> InstanceList:
        """Launch instances and, by default, wait until they run.

        Parameters
        ----------
        image, instance_type, backed
            As ``run_instance``.
        name : str, optional
            The Name tag.
        count : int
        publish : sequence of str
            ``PORT`` or ``HOST_PORT:PORT`` each, on loopback.
        key, subnet, profile : str, optional
            Key pair, subnet id, IAM instance profile.
        security_groups : sequence of str
            Ids or names.
        tags : dict of str to str, optional
        user_data : str, optional
        wait : bool
        timeout : float, optional
            Seconds to wait; 900 by default, a pull may take its time.
        on_change : callable, optional
            Gets the instances whenever one of them has changed.

        Returns
        -------
        InstanceList

        Raises
        ------
        AwsError, WaitError, OblakoError
            A ``WaitError`` has the instances as ``instances``.
        """
        if not 1 <= count <= 1000:
            raise OblakoError(f"can't launch {count} instances at once; give a count from 1 to 1000.")
        labels = dict(tags or {})
        if name:
            labels["Name"] = name
        if publish:
            try:
                mappings = parse_publish(",".join(publish))
            except ValueError as error:
                raise OblakoError(str(error)) from error
            if count > 1 and any(mapping.host_port for mapping in mappings):
                raise OblakoError(
                    "several instances can't share a host port; leave the host port out to have one chosen for each."
                )
            labels[names.TAG_PUBLISH] = ",".join(publish)
        if not backed:
            labels[names.TAG_BACKED] = "false"
        arguments: dict[str, Any] = {
            "ImageId": image or DEFAULT_AMI,
            "InstanceType": instance_type,
            "MinCount": count,
            "MaxCount": count,
        }
        _add_tags(arguments, labels)
        ids = [group for group in security_groups if group.startswith("sg-")]
        named = [group for group in security_groups if not group.startswith("sg-")]
        optional = {
            "KeyName": key,
            "SubnetId": subnet,
            "UserData": user_data,
            "IamInstanceProfile": _profile(profile),
            "SecurityGroupIds": ids,
            "SecurityGroups": named,
        }
        arguments.update({parameter: value for parameter, value in optional.items() if value})
        answer = self._aws("run_instances", **arguments)
        instances = InstanceList(self._handle(raw) for raw in answer["Instances"])
        self._remember(instances)
        if not wait:
            return instances
        return self.wait(instances, "running", timeout=900.0 if timeout is None else timeout, on_change=on_change)

    # -- look ---------------------------------------------------------------------------------------

    def _handle(self, raw: dict[str, Any], extra: dict[str, Any] | None = None) -> Instance:
        instance = Instance(raw["InstanceId"], region=self.region, ec2=self)
        fill(instance, raw, extra)
        return instance

    def _remember(self, instances: Sequence[Instance]) -> None:
        known = dict(self._seen)
        known.update((instance.id, instance.name) for instance in instances if instance.state != "terminated")
        for instance in instances:
            if instance.state == "terminated":
                known.pop(instance.id, None)
        self._seen = list(known.items())

    def _rows(self, since: int | None = None, timeout: float = 0) -> tuple[int, dict[str, dict[str, Any]]]:
        query = "" if since is None else f"?since={since}&timeout={timeout:g}"
        answer = self._call("GET", f"/instances{query}", timeout=timeout + 30)
        return int(answer["revision"]), {row["id"]: row for row in answer["instances"]}

    def _describe(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        token: dict[str, Any] = {}
        while True:
            answer = self._aws("describe_instances", **arguments, **token)
            for reservation in answer["Reservations"]:
                yield from reservation["Instances"]
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    def instances(self, *, all: bool = False, filters: Sequence[str] = ()) -> InstanceList:
        """The instances of this region (DescribeInstances).

        Parameters
        ----------
        all : bool
            Terminated ones, too.
        filters : sequence of str
            ``tag:Env=dev``, ``instance-type=t3.micro,t3.small``: DescribeInstances' filters.
        """
        arguments: dict[str, Any] = {"Filters": [targets.parse_filter(text) for text in filters]} if filters else {}
        _, rows = self._rows()
        found = (self._handle(raw, rows.get(raw["InstanceId"])) for raw in self._describe(**arguments))
        instances = InstanceList(instance for instance in found if all or instance.state != "terminated")
        self._remember(instances)
        return instances

    def get(self, instance_id: str) -> Instance:
        """One instance by its id.

        Raises
        ------
        AwsError
            InvalidInstanceID.NotFound.
        """
        raw = next(self._describe(InstanceIds=[instance_id]))
        return self._handle(raw, self._rows()[1].get(instance_id))

    def refresh(self, instances: Sequence[Instance]) -> InstanceList:
        """Bring handles up to date in place; one that AWS does not know any more is terminated."""
        wanted = {instance.id: instance for instance in instances}
        _, rows = self._rows()
        arguments: dict[str, Any] = {"InstanceIds": list(wanted)} if len(wanted) <= 100 else {}
        try:
            for raw in self._describe(**arguments):
                if raw["InstanceId"] in wanted:
                    fill(wanted.pop(raw["InstanceId"]), raw, rows.get(raw["InstanceId"]))
        except AwsError as error:
            if error.code != "InvalidInstanceID.NotFound":
                raise
            for instance in [i for i in wanted.values() if i.id in rows]:
                fill_extra(wanted.pop(instance.id), rows[instance.id])
        for gone in wanted.values():
            gone.state = "terminated"
        self._remember(instances)
        return InstanceList(instances)

    def find(self, targets_: Sequence[str], *, filters: Sequence[str] = (), terminated: bool = False) -> InstanceList:
        """The instances that a person means.

        Parameters
        ----------
        targets_ : sequence of str
            Ids, unambiguous prefixes, Name tags, globs, ``@last``.
        filters : sequence of str
            As ``instances``; with no target they alone choose.
        terminated : bool
            Whether terminated ones count.

        Raises
        ------
        TargetError
            One sentence with the candidates.
        """
        pool = self.instances(all=terminated, filters=filters)
        if targets_:
            return InstanceList(targets.resolve(targets_, pool))
        if filters and not pool:
            raise TargetError(f"no instance has {' and '.join(filters)}; %ec2 ls shows what there is.")
        return pool if filters else InstanceList()

    def find_one(self, target: str, *, terminated: bool = False) -> Instance:
        """The one instance that a person means.

        Raises
        ------
        TargetError
            Where it is none or several.
        """
        found = self.find([target], terminated=terminated)
        if len(found) > 1:
            shown = ", ".join(instance.label for instance in found[:6])
            raise TargetError(f"{target!r} means {len(found)} instances, and one is wanted: {shown}.")
        return found[0]

    def cached(self) -> list[tuple[str, str]]:
        """(id, name) of the instances last seen, for completion: nothing is asked."""
        return list(self._seen)

    # -- change -------------------------------------------------------------------------------------

    def change(
        self,
        action: Action,
        instances: Sequence[Instance],
        *,
        wait: bool = True,
        timeout: float = 120.0,
        on_change: OnChange | None = None,
    ) -> InstanceList:
        """Start, stop, reboot or terminate instances and, by default, wait for the end of it.

        Parameters
        ----------
        action : {"start", "stop", "reboot", "terminate"}
        instances : sequence of Instance
        wait : bool
        timeout : float
            Seconds.
        on_change : callable, optional

        Raises
        ------
        AwsError, WaitError
        """
        if not instances:
            return InstanceList()
        revision, _ = self._rows() if action == "reboot" else (0, {})
        self._aws(f"{action}_instances", InstanceIds=[instance.id for instance in instances])
        if wait and action == "reboot":
            self._wait_reboot(instances, revision, timeout)
        if not wait:
            return self.refresh(instances)
        return self.wait(instances, _FINAL[action], timeout=timeout, on_change=on_change)

    def _wait_reboot(self, instances: Sequence[Instance], revision: int, timeout: float) -> None:
        """A reboot leaves the state at running; what changes is that the wish has been fulfilled."""
        wanted, end = {instance.id for instance in instances}, time.monotonic() + timeout
        while time.monotonic() < end:
            revision, rows = self._rows(revision, 2)
            if not any(rows[key].get("rebooting") for key in wanted & set(rows)):
                return
        raise WaitError(f"{', '.join(sorted(wanted))} did not come back within {timeout:g} s; %ec2 show tells more.")

    def wait(
        self,
        instances: Sequence[Instance],
        state: str = "running",
        *,
        timeout: float = 120.0,
        on_change: OnChange | None = None,
    ) -> InstanceList:
        """Wait until all instances are in a state.

        Parameters
        ----------
        instances : sequence of Instance
            Brought up to date in place.
        state : str
            An EC2 instance state.
        timeout : float
            Seconds.
        on_change : callable, optional
            Gets the instances whenever one of them has changed.

        Raises
        ------
        WaitError
            Where one can't reach the state any more or time runs out; has ``instances``.
        """
        wanted = {instance.id: instance for instance in instances}
        shown = dict.fromkeys(wanted, "")
        end = time.monotonic() + timeout
        revision, rows = self._rows()
        while True:
            changed = False
            for key, instance in wanted.items():
                if key in rows:
                    fill_extra(instance, rows[key])
                    now = f"{instance.state} {instance.progress}"
                    changed, shown[key] = changed or now != shown[key], now
                else:
                    instance.state = "terminated"
            if changed and on_change is not None:
                on_change(list(instances))
            lost = [i for i in wanted.values() if i.state != state and i.state in _LOST.get(state, set())]
            open_ = [i for i in wanted.values() if i.state != state]
            if lost and all(i in lost for i in open_):
                self.refresh(instances)
                ended = (
                    f"{lost[0].label} did not start"
                    if state == "running"
                    else f"{lost[0].label} is {lost[0].state}, not {state}"
                )
                raise _wait_error(f"{ended}{_why(lost[0])}", instances)
            if not open_:
                return self.refresh(instances)
            left = end - time.monotonic()
            if left <= 0:
                stuck = ", ".join(f"{i.label} is {i.state}" for i in open_[:4])
                more = _why(open_[0]) or (f": {open_[0].progress}" if open_[0].progress else "")
                raise _wait_error(
                    f"not {state} within {timeout:g} s: {stuck}{more.rstrip('.')}; wait on with %ec2 wait", instances
                )
            revision, rows = self._rows(revision, max(0.05, min(left, 20.0)))

    # -- the surface of the system that this follows (design, "Names and labels") --------------------

    def start_instance(self, instance_id: str) -> None:
        """StartInstances, and wait until it runs."""
        self.change("start", [self.get(instance_id)])

    def stop_instance(self, instance_id: str) -> None:
        """StopInstances, and wait until it has stopped."""
        self.change("stop", [self.get(instance_id)])

    def terminate_instance(self, instance_id: str) -> None:
        """TerminateInstances, and wait until it is gone."""
        self.change("terminate", [self.get(instance_id)])

    def reboot_instance(self, instance_id: str) -> None:
        """RebootInstances, and wait until it is back."""
        self.change("reboot", [self.get(instance_id)])

    def instance_container(self, instance_id: str) -> ContainerState | None:
        """The container of an instance as the engine has it; None where there is none."""
        from .engine import containers

        return containers.find(self.engine(), instance_id)

    def list_instance_containers(self) -> list[ContainerState]:
        """The containers of all instances in the engine, whoever made them."""
        from .engine import containers

        return containers.all_containers(self.engine())

    def start_instance_container(
        self,
        instance_id: str,
        image_id: str | None = None,
        *,
        image: str | None = None,
        command: Sequence[str] | None = None,
        published_ports: Sequence[str] | dict[int, int] | None = None,
    ) -> ContainerState:
        """Make and start a container for an instance id, idempotently and without the control plane.

        Parameters
        ----------
        instance_id : str
            Any id; one that the control plane knows is better started with ``start_instance``.
        image_id : str, optional
            AMI id; a catalog AMI's image is taken where ``image`` is not given.
        image : str, optional
            The container image.
        command : sequence of str, optional
            In place of the image's own.
        published_ports : sequence of str, or dict of int to int, optional
            ``HOST_PORT:PORT`` each, or container port to host port.

        Returns
        -------
        ContainerState

        Raises
        ------
        EngineError
        """
        from . import standalone

        return standalone.start(self.engine(), self.settings, instance_id, image_id, image, command, published_ports)

    def terminate_instance_container(self, instance_id: str) -> None:
        """Remove the container of an instance id and its root volume; already gone is success."""
        from . import standalone

        standalone.terminate(self.engine(), instance_id)

    # -- straight to the engine ---------------------------------------------------------------------

    def engine(self) -> Engine:
        """The engine that the control plane uses; where none runs, the first that answers.

        Raises
        ------
        EngineUnavailable
        """
        from . import engine

        with self._lock:
            if self._engine is None:
                url, problem = "", ""
                with contextlib.suppress(ControlPlaneError):
                    runtime = process.find(self.settings)
                    if runtime is not None:
                        answer = process.call(runtime, "GET", "/status", timeout=30)
                        url, problem = answer["engine_url"], answer["engine_error"]
                if problem:
                    raise EngineUnavailable(problem)
                self._engine = engine.connect_url(url, self.settings) if url else engine.connect(self.settings)
            return self._engine

    def _reachable(self, instance: Instance) -> Engine:
        """The engine, for work inside an instance that runs."""
        if not instance.backed:
            raise OblakoError(f"{instance.label} is simulated: it has no container to work in.")
        if instance.state != "running":
            instance.refresh()
        if instance.state != "running":
            hint = f"; start it with %ec2 start {instance.name or instance.id}" if instance.state == "stopped" else ""
            raise OblakoError(f"{instance.label} is {instance.state}{hint}.")
        if instance.impaired:
            raise OblakoError(f"{instance.label} is impaired: {instance.impairment}.")
        return self.engine()

    def exec(
        self,
        instance: Instance,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        env: dict[str, str] | None = None,
        workdir: str | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> ExecResult:
        """Run a command on an instance to its end.

        Parameters
        ----------
        instance : Instance
        command : str or sequence of str
            A str is a script: its shebang's interpreter runs it, else /bin/sh. A sequence is an argv.
        user, workdir : str, optional
            By default the image's own.
        env : dict of str to str, optional
            Further environment.
        timeout : float, optional
            Seconds; then the command is stopped.
        on_stdout, on_stderr : callable, optional
            Get the output in pieces while it comes; the result then holds the last MiB of each.
        interrupted : callable, optional
            Asked ten times a second from another thread; true stops the command.

        Returns
        -------
        ExecResult

        Raises
        ------
        OblakoError
            Where the instance does not run; WaitError where time ran out.
        KeyboardInterrupt
            The command is stopped first: TERM, and KILL after two seconds.
        """
        from . import remote
        from .guest import commands

        engine = self._reachable(instance)
        if instance.container_id not in self._prepared:
            self._prepared.add(instance.container_id)
            with contextlib.suppress(OblakoError):
                commands.prepare(engine, instance.id)
        return remote.execute(
            engine,
            instance,
            command,
            user=user,
            env=env,
            workdir=workdir,
            timeout=timeout,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
            interrupted=interrupted,
        )

    def wait_user_data(
        self, instance: Instance, on_output: Callable[[str], None] | None = None, timeout: float | None = None
    ) -> Instance:
        """Wait until the user data script has ended.

        Parameters
        ----------
        instance : Instance
        on_output : callable, optional
            Gets its output while it comes.
        timeout : float, optional
            Seconds; none by default.

        Raises
        ------
        WaitError
            Where time runs out; a script that failed is no error here, ``user_data`` says it.
        """
        from .guest import user_data

        instance.refresh()
        end = None if timeout is None else time.monotonic() + timeout
        if on_output is not None and instance.user_data in ("waiting", "running"):
            follower = threading.Thread(
                target=self._follow_output, args=(instance, user_data.OUTPUT, on_output), daemon=True
            )
            follower.start()
        else:
            follower = None
        revision, _ = self._rows()
        while instance.user_data in ("waiting", "running") and instance.state in ("pending", "running"):
            if end is not None and time.monotonic() > end:
                raise _wait_error(
                    f"the user data of {instance.label} did not end within {timeout:g} s; %ec2 console follows it.",
                    [instance],
                )
            revision, rows = self._rows(revision, 1.0)
            if instance.id in rows:
                fill_extra(instance, rows[instance.id])
        if follower is not None:
            follower.join(10)
        elif on_output is not None:
            from .engine import streams

            with contextlib.suppress(OblakoError):
                on_output(
                    (streams.read_file(self.engine(), instance.id, user_data.OUTPUT) or b"").decode(errors="replace")
                )
        return instance.refresh()

    def _follow_output(self, instance: Instance, path: str, on_output: Callable[[str], None]) -> None:
        from . import remote

        # The reader ends by itself: when the script's exit code is there it has read all of the output.
        script = (
            f"n=0; while [ ! -e {path} ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done; "
            f"tail -n +1 -f {path} & t=$!; while [ ! -e /var/lib/cloud/instance/user-data.exit ]; do sleep 0.1; done; "
            "sleep 0.3; kill $t"
        )
        with contextlib.suppress(OblakoError):
            remote.execute(
                self.engine(), instance, script, user="root", on_stdout=on_output, on_stderr=lambda text: None
            )

    def logs(
        self,
        instance: Instance,
        *,
        follow: bool = False,
        tail: int | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> str:
        """What process 1 of the instance wrote.

        Parameters
        ----------
        instance : Instance
        follow : bool
            Go on until the instance stops (or KeyboardInterrupt).
        tail : int, optional
            The last lines only.
        on_output : callable, optional
            Gets it in pieces.
        """
        from .engine import streams

        if not instance.backed:
            raise OblakoError(f"{instance.label} is simulated: it has no output.")
        if not follow:
            text = streams.logs(self.engine(), instance.id, tail=tail).decode(errors="replace")
            if on_output is not None:
                on_output(text)
            return text
        parts: list[str] = []
        for piece in streams.follow_logs(self.engine(), instance.id, tail=tail):
            text = piece.decode(errors="replace")
            parts.append(text)
            del parts[:-10000]
            if on_output is not None:
                on_output(text)
        return "".join(parts)

    def console(self, instance: Instance) -> str:
        """The console's text (GetConsoleOutput): what process 1 and the user data wrote, its last 64 KiB."""
        import base64

        answer = self._aws("get_console_output", InstanceId=instance.id)
        text = str(answer.get("Output") or "")
        try:
            return base64.b64decode(text, validate=True).decode(errors="replace")
        except ValueError:  # botocore has decoded it
            return text

    def stats(self, instances: Sequence[Instance]) -> list[Stats]:
        """CPU, memory and network of instances that run, as now."""
        from concurrent.futures import ThreadPoolExecutor

        from . import remote

        running = [instance for instance in instances if instance.backed and instance.state == "running"]
        if not running:
            return []
        engine = self.engine()
        with ThreadPoolExecutor(min(16, len(running))) as pool:
            return list(pool.map(lambda instance: remote.stats(engine, instance), running))

    def copy(self, source: str, destination: str) -> int:
        """Copy a file or folder to or from an instance.

        Parameters
        ----------
        source, destination : str
            Exactly one of them is ``TARGET:/path``.

        Returns
        -------
        int
            Bytes of content.

        Raises
        ------
        OblakoError
        """
        from . import remote

        there, here = _split(source), _split(destination)
        if (there is None) == (here is None):
            raise OblakoError("copy wants exactly one TARGET:/path, such as: %ec2 cp notes.txt web:/tmp/")
        try:
            if there is not None:
                instance = self.find_one(there[0])
                return remote.download(self._any_state(instance), instance, there[1], Path(destination).expanduser())
            assert here is not None
            instance = self.find_one(here[0])
            return remote.upload(self._any_state(instance), Path(source).expanduser(), instance, here[1])
        except OSError as error:
            raise OblakoError(f"can't copy {source} to {destination}: {error.strerror or error}.") from error

    def _any_state(self, instance: Instance) -> Engine:
        if not instance.backed:
            raise OblakoError(f"{instance.label} is simulated: it has no files.")
        return self.engine()

    # -- images, stacks, health ---------------------------------------------------------------------

    def images(self) -> list[dict[str, Any]]:
        """The AMIs that stand for container images: the catalog's and the user's own.

        Returns
        -------
        list of dict
            ``image_id``, ``name``, ``image``, ``local`` (whether the engine has the image), ``description``.
        """
        from . import catalog
        from .engine import images as engine_images

        here: set[str] = set()
        with contextlib.suppress(OblakoError):
            here = set(engine_images.names_here(self.engine()))
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
        return next((event["ResourceStatusReason"] for event in failed if event.get("ResourceStatusReason")), "no reason")

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


def _wait_error(text: str, instances: Sequence[Instance]) -> WaitError:
    error = WaitError(text if text.endswith(".") else f"{text}.")
    error.instances = list(instances)
    return error


def _why(instance: Instance) -> str:
    return f": {instance.reason.partition(': ')[2] or instance.reason}" if instance.reason else ""


def _aws_error(error: Any) -> AwsError:
    details = error.response.get("Error", {})
    code, message = str(details.get("Code", "")), str(details.get("Message", "")).strip()
    return AwsError(f"{code}: {message} ({error.operation_name})", code, error.operation_name)


def _add_tags(arguments: dict[str, Any], tags: dict[str, str]) -> None:
    """Add instance tags to a RunInstances request, beside those that it may have."""
    if not tags:
        return
    found = [{"Key": key, "Value": value} for key, value in tags.items()]
    specifications = [dict(item) for item in arguments.get("TagSpecifications") or []]
    for item in specifications:
        if item.get("ResourceType") == "instance":
            item["Tags"] = [*item.get("Tags", []), *found]
            break
    else:
        specifications.append({"ResourceType": "instance", "Tags": found})
    arguments["TagSpecifications"] = specifications


def _profile(profile: str | None) -> dict[str, str] | None:
    if not profile:
        return None
    return {"Arn": profile} if profile.startswith("arn:") else {"Name": profile}


def _split(text: str) -> tuple[str, str] | None:
    r"""``TARGET:/path``; a Windows drive (``C:\``) or a plain path is none."""
    target, colon, path = text.partition(":")
    if not colon or not path.startswith("/") or "/" in target or "\\" in target or not target:
        return None
    return target, path


def _tagged(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"
