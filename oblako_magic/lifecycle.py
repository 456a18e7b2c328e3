"""Launch, find, change and wait for instances: the part of ``Ec2`` that is AWS's API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from . import names, targets
from .connection import Connection
from .errors import AwsError, OblakoError, TargetError, WaitError
from .handles import Instance, InstanceList, fill, fill_extra
from .model import parse_publish
from .settings import Settings

if TYPE_CHECKING:
    from .cloud import Ec2

DEFAULT_TYPE = "t3.micro"
DEFAULT_AMI = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
"""What RunInstances is asked for where no image is named: the latest Amazon Linux 2023."""
_FINAL = {"start": "running", "stop": "stopped", "terminate": "terminated", "reboot": "running"}
_LOST = {"running": {"terminated", "shutting-down", "stopped"}, "stopped": {"terminated", "shutting-down"}}
"""States from which the one that is waited for is not reached any more."""
Action = Literal["start", "stop", "reboot", "terminate"]
OnChange = Callable[[list[Instance]], None]


class Lifecycle(Connection):
    """Instances from launch to termination."""

    def __init__(self, settings: Settings | None = None, *, region: str | None = None) -> None:
        super().__init__(settings, region=region)
        self._seen: list[tuple[str, str]] = []

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
        volumes: Sequence[str] = (),
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
        volumes : sequence of str
            ``GIB`` or ``DEVICE=GIB`` each: further EBS volumes, which go with the instance.
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
            "BlockDeviceMappings": parse_volumes(volumes),
        }
        arguments.update({parameter: value for parameter, value in optional.items() if value})
        answer = self._aws("run_instances", **arguments)
        instances = InstanceList(self._handle(raw) for raw in answer["Instances"])
        self._remember(instances)
        if not wait:
            return instances
        # RunInstances has told all that a start does not change, so that nothing is left to ask for.
        self._until(instances, "running", 900.0 if timeout is None else timeout, on_change)
        return instances

    def _handle(self, raw: dict[str, Any], extra: dict[str, Any] | None = None) -> Instance:
        instance = Instance(raw["InstanceId"], region=self.region, ec2=cast("Ec2", self))
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
        answer = self._look("/instances", since, timeout)
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
            try:
                return InstanceList(targets.resolve(targets_, pool))
            except TargetError:
                gone = [] if terminated or filters else [i for i in self.instances(all=True) if i.id in targets_]
                ended = [i for i in gone if i.state == "terminated"]
                if not ended:
                    raise
                raise TargetError(f"{ended[0].label} is terminated; %ec2 show {ended[0].id} says why.") from None
        if filters and not pool:
            raise TargetError(f"no instance has {' and '.join(filters)}; %ec2 ls shows what there is.")
        return pool if filters else InstanceList()

    def find_one(self, target: str, *, terminated: bool = False) -> Instance:
        """The one instance that a person means.

        Parameters
        ----------
        target : str
        terminated : bool
            Whether the id of a terminated one counts, where no other is meant.

        Raises
        ------
        TargetError
            Where it is none or several.
        """
        try:
            found = self.find([target])
        except TargetError:
            ended = [i for i in self.instances(all=True) if i.id == target] if terminated else []
            if not ended:
                raise
            return ended[0]
        if len(found) > 1:
            shown = ", ".join(instance.label for instance in found[:6])
            raise TargetError(f"{target!r} means {len(found)} instances, and one is wanted: {shown}.")
        return found[0]

    def cached(self) -> list[tuple[str, str]]:
        """(id, name) of the instances last seen, for completion: nothing is asked."""
        return list(self._seen)

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
        self._until(instances, state, timeout, on_change)
        return self.refresh(instances)

    def _until(
        self, instances: Sequence[Instance], state: str, timeout: float, on_change: OnChange | None = None
    ) -> None:
        """Return when all instances are in a state; of their handles only what the state brings along is new."""
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
                raise WaitError.of(f"{ended}{_why(lost[0])}", instances)
            if not open_:
                return
            left = end - time.monotonic()
            if left <= 0:
                stuck = ", ".join(f"{i.label} is {i.state}" for i in open_[:4])
                more = _why(open_[0]) or (f": {open_[0].progress}" if open_[0].progress else "")
                raise WaitError.of(
                    f"not {state} within {timeout:g} s: {stuck}{more.rstrip('.')}; wait on with %ec2 wait", instances
                )
            revision, rows = self._rows(revision, max(0.05, min(left, 20.0)))

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


def _why(instance: Instance) -> str:
    return f": {instance.reason.partition(': ')[2] or instance.reason}" if instance.reason else ""


def parse_volumes(texts: Sequence[str]) -> list[dict[str, Any]]:
    """``GIB`` or ``DEVICE=GIB`` each, as BlockDeviceMappings; devices that are not named are /dev/sdf and on.

    Raises
    ------
    OblakoError
    """
    mappings: list[dict[str, Any]] = []
    used = {text.partition("=")[0] for text in texts if "=" in text}
    free = (device for device in (f"/dev/sd{letter}" for letter in "fghijklmnop") if device not in used)
    for text in texts:
        device, equals, size = text.rpartition("=")
        if not size.isdigit() or not 1 <= int(size) <= 16384 or (equals and not device.startswith("/dev/")):
            raise OblakoError(f"{text!r} is no volume; give GIB or DEVICE=GIB, such as 20 or /dev/sdg=20.")
        device = device or next(free, "")
        if not device:
            raise OblakoError("an instance takes 11 further volumes at most.")
        mappings.append({"DeviceName": device, "Ebs": {"VolumeSize": int(size), "DeleteOnTermination": True}})
    return mappings


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
