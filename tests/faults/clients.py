"""Clients that work on instances of their own and remember what was acknowledged and what nobody knows."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.exceptions
import botocore.parsers
from botocore.config import Config

from oblako_magic import names
from tests.controlplane.planes import AMI
from tests.support.plane import REGION

ENDS = {"run": "running", "start": "running", "stop": "stopped", "terminate": "terminated"}
"""Where an instance comes to rest after an acknowledged call."""
MOST = 4
"""Instances that one client keeps alive."""


@dataclass
class Mine:
    """What a client knows of an instance that was acknowledged to it."""

    wish: str = "running"
    maybe: set[str] = field(default_factory=set)
    """States that calls without an answer may have asked for."""
    fault: set[str] = field(default_factory=set)
    """States that a fault may have led to."""
    tags: dict[str, str] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    gone: bool = False
    """Whether it was seen terminated: its record goes soon."""
    removed: bool = False
    """Whether its container was taken away behind the control plane's back."""
    started: bool = False
    """Whether it was started again in this round, or may have been."""
    half_started: bool = False
    """Whether the engine was ended amid a start of it, and refuses each one since."""
    marked: bool = False
    """Whether there is a file on its root volume."""

    @property
    def allowed(self) -> set[str]:
        """The states in which it may be found; what was terminated never comes back."""
        return {"terminated"} if self.wish == "terminated" else {self.wish, *self.maybe, *self.fault}


class Client:
    """Calls at random, all decided by its seed, until it is told to stop.

    Parameters
    ----------
    endpoint : str
    seed : str
    counts : Counter
        Of calls acknowledged, refused and unanswered; shared.
    """

    def __init__(self, endpoint: str, seed: str, counts: Counter[str]) -> None:
        self._random = random.Random(seed)
        self._counts = counts
        self._calls = 0
        self.mine: dict[str, Mine] = {}
        self.unexpected: list[str] = []
        self._ec2: Any = boto3.session.Session().client(
            "ec2",
            region_name=REGION,
            endpoint_url=endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=30, proxies={}),
        )

    def work(self, end: threading.Event) -> None:
        """Call until ``end`` is set; a control plane that is away is asked again."""
        while not end.is_set():
            try:
                self._one()
            except Exception as error:
                self.unexpected.append(f"{type(error).__name__}: {error}")
            end.wait(self._random.uniform(0.05, 0.4))

    def _one(self) -> None:
        self._calls += 1
        alive = sorted(key for key, one in self.mine.items() if one.wish != "terminated")
        kind = self._random.choice(("run", "run", "stop", "start", "start", "tag", "tag", "attach", "terminate"))
        chosen = self._random.choice(alive) if alive else ""
        if not chosen or (kind == "run" and len(alive) < MOST):
            return self._run()
        one = self.mine[chosen]
        if kind == "tag":
            key, value = f"n{self._calls % 7}", str(self._calls)
            if self._ask("tag", lambda: self._ec2.create_tags(Resources=[chosen], Tags=[{"Key": key, "Value": value}])):
                one.tags[key] = value
            else:
                one.tags.pop(key, None)  # nobody knows which of the two it is
        elif kind == "attach":
            self._attach(chosen, one)
        elif kind in ("stop", "start", "terminate"):
            before = set(one.maybe)
            one.started |= kind == "start"
            one.maybe.add(ENDS[kind])
            done = self._ask(kind, lambda: getattr(self._ec2, f"{kind}_instances")(InstanceIds=[chosen]))
            if done:
                one.wish, one.maybe = ENDS[kind], set()
            elif done is None:
                one.maybe = before
        return None

    def _run(self) -> None:
        tags = [{"Key": "Name", "Value": f"faults-{self._calls}"}]
        if self._random.random() < 0.5:
            tags.append({"Key": names.TAG_PUBLISH, "Value": "80"})
        answer = self._ask(
            "run",
            lambda: self._ec2.run_instances(
                ImageId=AMI, MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": tags}]
            ),
        )
        if answer:
            self.mine[answer["Instances"][0]["InstanceId"]] = Mine(tags={"Name": tags[0]["Value"]})

    def _attach(self, instance_id: str, one: Mine) -> None:
        made = self._ask("volume", lambda: self._ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1))
        if not made:
            return
        volume = made["VolumeId"]
        device = f"/dev/xvd{chr(ord('a') + self._calls // 26 % 26)}{chr(ord('a') + self._calls % 26)}"
        if self._ask("attach", lambda: self._ec2.attach_volume(VolumeId=volume, InstanceId=instance_id, Device=device)):
            one.volumes.add(volume)

    def _ask(self, kind: str, call: Any) -> Any:
        """The answer; None where the call was refused, so that nothing has changed; False where nobody knows."""
        try:
            answer = call()
        except botocore.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in ("Unavailable", "IncorrectInstanceState", "IncorrectState", "InvalidInstanceID.NotFound"):
                self.unexpected.append(f"{kind}: {error}")
            self._counts["refused, disk full" if code == "Unavailable" else "refused by a rule of EC2"] += 1
            return None
        except (botocore.exceptions.BotoCoreError, botocore.parsers.ResponseParserError) as error:
            # The latter where it was killed between the head and the body of its answer.
            self._counts["unanswered"] += 1
            if isinstance(error, botocore.exceptions.ReadTimeoutError):
                self.unexpected.append(f"{kind}: no answer within 30 s")
            time.sleep(0.05)
            return False
        self._counts["acknowledged"] += 1
        return answer or True
