"""The log of what changed and who did it: the last thousand events, in memory.

It is not saved: it answers "what was that just now?", and a control plane that has started anew has nothing to
tell of before. Nothing depends on it. Who a caller is rests on what it says of itself (User-Agent); whose program
it is, on what the system says.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

from .. import names
from . import peers
from .guard import PEER
from .records import notebook_place, tags_of
from .semantics import backing

log = logging.getLogger(__name__)

KEPT = 1000
"""Events."""
ENGINE, ITSELF, CONTROL_PLANE = "the engine", "the instance itself", "the control plane"
_PRODUCTS = (("aws-cli/", "aws-cli"), ("Terraform/", "Terraform"), ("Ansible/", "Ansible"), ("Boto3/", "boto3"))
_OURS = re.compile(r"\boblako-magic/\S+ (kernel|ipython|terminal|panel|python)/(\d{1,10})")
_PLACES = {
    "kernel": "%ec2 in notebook kernel {}",
    "ipython": "%ec2 in IPython {}",
    "terminal": "oblako in a terminal",
    "panel": "the panel of notebook kernel {}",
    "python": "oblako_magic in Python process {}",
}
_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d+/([\w-]+)/([\w.-]+)/")
_TOLD = frozenset({"ec2", "autoscaling", "cloudformation", "elasticloadbalancing", "iam", "sagemaker"})
"""Services whose calls are told of, too; a program's queue or table would fill the log within a minute."""
_AWS_ID = re.compile(r"\b(?:sg|sgr|vol|vpc|subnet|eni|igw|rtb|acl|snap|ami|key|eipalloc|lt|nat|pcx)-[0-9a-f]{8,17}\b")
_NAMES = re.compile(r"^(?!.*Token)\w*(?:Id|Name|Arn|Ids|Names)(?:\.1)?$")
_GROUP, STACK_TAG = "aws:autoscaling:groupName", "aws:cloudformation:stack-name"


def tool(user_agent: str) -> str:
    """The program that a User-Agent names, in few words."""
    ours = _OURS.search(user_agent)
    if ours:
        return _PLACES[ours[1]].format(ours[2])
    for mark, name in _PRODUCTS:
        if mark in user_agent:
            return name
    first = re.match(r"[\w.+-]{1,40}", user_agent)
    return first[0] if first else "a client without a name"


def user_name(uid: int) -> str:
    """A local user's name; the number where there is none."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"


def subject(action: str, body: bytes, answer: bytes) -> str:
    """What a call was about: the id or name in the request, or the id that the answer has given it."""
    if action.startswith(("Create", "Allocate", "Import", "Copy", "Register")):
        made = _AWS_ID.search(answer[:65536].decode("latin-1"))
        if made:
            return made[0]
    text = body[:65536].decode("utf-8", "replace")
    pairs: Iterable[tuple[str, str]]
    if text.startswith("{"):
        pairs = re.findall(r'"(\w+)"\s*:\s*"([^"\\]*)"', text)
    else:
        pairs = parse_qsl(text)
    found = next((value for key, value in pairs if _NAMES.match(key)), "")
    return "".join(filter(str.isprintable, found))[:128]


def _notebook_of(instance: Any, tags: Mapping[str, str]) -> tuple[str, str, str]:
    """Whose an instance is: account, region, and the name of the notebook instance whose machine it is."""
    account = str(instance.owner_id)
    if account == names.NOTEBOOK_ACCOUNT:
        place = notebook_place(tags)
        if all(place):
            return place
    return account, instance.region_name, ""


def _look_of(instance: Any) -> dict[str, Any]:
    """What of an instance is told when it changes."""
    mine = backing(instance)
    return {
        "state": instance.state,
        "tags": tags_of(instance),
        "type": instance.instance_type,
        "groups": sorted(group.id for group in instance.security_groups),
        "protection": instance.disable_api_termination is True,
        "shutdown": instance.instance_initiated_shutdown_behavior or "stop",
        "reboots": (mine.reboots, mine.reboots_done),
        # An engine that is away is told once, not of each instance.
        "impaired": mine.impaired if mine.impaired != mine.progress and mine.want == "running" else "",
        "user_data": mine.user_data,
    }


class Journal:
    """The log; its methods are called with moto's lock held, but for ``since`` and ``close``.

    Parameters
    ----------
    kept : int
        How many events are kept.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.id = secrets.token_hex(4)
        self._events: deque[dict[str, Any]] = deque(maxlen=kept)
        self._last = 0
        self._closed = False
        self._news = threading.Condition()
        self._looks: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._engine_problem = ""
        self._caller = ""
        self._service = ""

    # -- reading ------------------------------------------------------------------------------------

    def since(self, number: int, timeout: float = 0.0, run: str = "") -> dict[str, Any]:
        """The events after a number; where there are none, those that come within ``timeout`` seconds.

        Parameters
        ----------
        number : int
        timeout : float
        run : str
            The ``log`` that has given the number; the number of another run counts as 0.
        """
        if (run and run != self.id) or number > self._last:
            number = 0
        with self._news:
            self._news.wait_for(lambda: self._last > number or self._closed, timeout)
            events = [event for event in self._events if event["number"] > number]
            missed = bool(events) and events[0]["number"] > number + 1
            return {"log": self.id, "revision": self._last, "missed": missed, "events": events}

    def close(self) -> None:
        """Let everybody go who waits."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    # -- writing ------------------------------------------------------------------------------------

    def note(
        self, kind: str, what: str, who: str, *, id: str = "", name: str = "", account: str = "", region: str = ""
    ) -> None:
        """Add an event."""
        with self._news:
            self._last += 1
            self._events.append(
                {
                    "number": self._last, "time": time.time(), "account": account, "region": region,
                    "kind": kind, "id": id, "name": name, "what": what, "who": who,
                }
            )  # fmt: skip
            self._news.notify_all()

    @contextmanager
    def caller(self, environ: Mapping[str, Any]) -> Iterator[None]:
        """What is seen to change meanwhile, the sender of this request has done."""
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        self._caller, self._service = self.who(environ), scope[3] if scope else ""
        try:
            yield
        finally:
            self._caller = self._service = ""

    @staticmethod
    def minds(environ: Mapping[str, Any]) -> bool:
        """Whether a request is of a service that may change an instance otherwise than in its state."""
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        return scope is None or scope[3] in _TOLD

    def who(self, environ: Mapping[str, Any]) -> str:
        """The sender of a request: its program, and whose it is where that is not ours."""
        name, peer = tool(environ.get("HTTP_USER_AGENT", "")), environ.get(PEER)
        if peer == peers.INSTANCE:
            return f"{name} on {self._addresses.get(environ.get('REMOTE_ADDR', ''), 'an instance')}"
        if isinstance(peer, int) and peer != peers.own_user():
            return f"{name} of {user_name(peer)}"
        return name

    def call(self, environ: Mapping[str, Any], action: str, body: bytes, answer: bytes, changed: bool) -> None:
        """Tell of a call that worked, where no instance's own event tells it already."""
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        if not scope or not action or scope[3] not in _TOLD or action.startswith("Assume"):
            return
        if changed and scope[3] in ("ec2", "sagemaker"):
            return
        if scope[3] == "ec2" and action.endswith("Instances"):
            return
        from moto.iam.models import get_account_id_from

        given = environ.get("HTTP_X_MOTO_ACCOUNT_ID")
        self.note(
            scope[3],
            action,
            self.who(environ),
            id=subject(action, body, answer),
            account=given or get_account_id_from(scope[1]),
            region=scope[2],
        )

    def begin(self, instances: Iterable[Any]) -> None:
        """Take what is there as known."""
        self._looks = {instance.id: _look_of(instance) for instance in instances}

    def scan(self, instances: Iterable[Any], who: str = "", *, taken_back: bool = False) -> bool:
        """Compare all instances with what was last seen of them; whether there was anything new.

        Parameters
        ----------
        instances : iterable of moto's Instance
        who : str
            As of ``look``.
        taken_back : bool
            Whether what is gone was taken back; else it is only shown no more.
        """
        before, left = self._last, set(self._looks)
        for instance in instances:
            left.discard(instance.id)
            self.look(instance, CONTROL_PLANE if taken_back else who)
        for instance_id in left:
            if taken_back:
                self.note("instance", "taken back: it could not be saved", CONTROL_PLANE, id=instance_id)
            del self._looks[instance_id]
            self._asked.pop(instance_id, None)
        return self._last > before

    def look(self, instance: Any, who: str = "") -> None:
        """Tell what is new of one instance.

        Parameters
        ----------
        instance : moto's Instance
        who : str
            Who did it; empty: whoever sends the request that is being served, else who asked for the last change.
        """
        now, old = _look_of(instance), self._looks.get(instance.id)
        if now == old:
            return
        self._looks[instance.id] = now
        address = backing(instance).address
        if address:
            self._addresses[address] = instance.id
        acting = who or self._actor(instance, now["tags"], launched=old is None)
        if acting:
            self._asked[instance.id] = acting
        acting = acting or self._asked.get(instance.id, CONTROL_PLANE)
        words = [f"launched ({now['type']}, {instance.image_id})"] if old is None else _changes(old, now, instance)
        for what in words:
            doer = acting
            if what == now["impaired"] or what.startswith("user data"):
                doer = who or (ENGINE if what == now["impaired"] else ITSELF)
            account, region, notebook = _notebook_of(instance, now["tags"])
            self.note(
                "notebook" if notebook else "instance",
                what,
                doer,
                id=instance.id,
                name=notebook or now["tags"].get("Name", ""),
                account=account,
                region=region,
            )

    def _actor(self, instance: Any, tags: dict[str, str], launched: bool) -> str:
        """Who does what the request that is being served brings about: a group and a stack act for its sender."""
        if not self._caller:
            return ""
        by = f" ({self._caller})"
        if tags.get(_GROUP) and (launched or self._service == "autoscaling"):
            return f"Auto Scaling group {tags[_GROUP]}{by}"
        if tags.get(STACK_TAG) and self._service == "cloudformation":
            return f"CloudFormation stack {tags[STACK_TAG]}{by}"
        return self._caller

    def engine(self, title: str = "", problem: str = "") -> None:
        """Tell that the engine answers (``title``) or does not (``problem``), once."""
        if problem:
            if problem != self._engine_problem:
                self.note("engine", problem, ENGINE)
        else:
            self.note("engine", f"{title} answers", ENGINE)
        self._engine_problem = problem


def _changes(old: dict[str, Any], now: dict[str, Any], instance: Any) -> Iterator[str]:
    if old["state"] != now["state"]:
        # Said where it leaves the way, and not again at each further step.
        leaves = old["state"] in ("pending", "running") and now["state"] not in ("pending", "running")
        reason = (instance.state_reason.message or "") if leaves else ""
        code = instance.state_reason.code if reason else ""
        # "Client.UserInitiatedShutdown" says no more than who is told already.
        why = f": {reason}" if reason and not str(code).startswith("Client.User") else ""
        yield f"{old['state']} -> {now['state']}{why}"
    for key, value in now["tags"].items():
        if old["tags"].get(key) != value:
            yield f"tag {key}={value}"
    yield from (f"tag {key} removed" for key in old["tags"] if key not in now["tags"])
    for key, text in (("type", "instance type"), ("shutdown", "shutdown behavior")):
        if old[key] != now[key]:
            yield f"{text} {old[key]} -> {now[key]}"
    if old["groups"] != now["groups"]:
        yield f"security groups {', '.join(now['groups']) or 'none'}"
    if old["protection"] != now["protection"]:
        yield f"termination protection {'on' if now['protection'] else 'off'}"
    if now["reboots"][0] > old["reboots"][0]:
        yield "reboot"
    if now["reboots"][1] > old["reboots"][1] and now["state"] == "running":
        yield "rebooted"
    if old["impaired"] != now["impaired"]:
        if now["impaired"]:
            yield now["impaired"]
        elif now["state"] == "running":
            yield "no longer impaired"
    if old["user_data"] != now["user_data"] and now["user_data"] not in ("", "waiting"):
        yield f"user data: {now['user_data']}"
