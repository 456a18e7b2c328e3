"""Every action in every state: what EC2 answers, and what the engine has in the end.

The states that pass are held by cutting the engine off; all is asked then, the engine comes back, all settles.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from oblako_magic import names
from oblako_magic.engine import Engine
from tests.controlplane.planes import Plane
from tests.controlplane.proxy import proxy
from tests.support.plane import eventually
from tests.support.world import started_at

STATES = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
ENDS = {**{state: state for state in ("running", "stopped", "terminated")}, "pending": "running"}
ENDS |= {"stopping": "stopped", "shutting-down": "terminated"}
"""Where an instance in a state ends up by itself."""
REFUSED = "IncorrectInstanceState"
SMALL, SMALLER = "t3.micro", "t3.nano"


@dataclass
class Case:
    """One action on one instance of its own, and what came of it."""

    instance_id: str
    token: str
    before: str = ""
    answer: str = ""
    boots: str = ""
    seen: dict[str, Any] = field(default_factory=dict)
    rebooted: bool = False
    container: dict[str, Any] | None = None
    volume: bool = False


def _run(plane: Plane, case: Case) -> str:
    """The request that launched it once more, with its token."""
    again = plane.launch(ClientToken=case.token, InstanceType=SMALL)
    assert again == [case.instance_id]
    return "the same"


def _changed(rows: list[dict[str, Any]]) -> str:
    return f"{rows[0]['PreviousState']['Name']} {rows[0]['CurrentState']['Name']}"


ACTIONS: dict[str, Callable[[Plane, Case], str]] = {
    "run": _run,
    "start": lambda plane, case: _changed(
        plane.client().start_instances(InstanceIds=[case.instance_id])["StartingInstances"]
    ),
    "stop": lambda plane, case: _changed(
        plane.client().stop_instances(InstanceIds=[case.instance_id])["StoppingInstances"]
    ),
    "reboot": lambda plane, case: str(plane.client().reboot_instances(InstanceIds=[case.instance_id]) and "done"),
    "terminate": lambda plane, case: _changed(
        plane.client().terminate_instances(InstanceIds=[case.instance_id])["TerminatingInstances"]
    ),
    "modify": lambda plane, case: str(
        plane.client().modify_instance_attribute(InstanceId=case.instance_id, InstanceType={"Value": SMALLER})
        and "done"
    ),
}

TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "run": {state: ("the same", ENDS[state]) for state in STATES},
    "start": {
        "pending": ("pending pending", "running"),
        "running": ("running running", "running"),
        "stopping": (REFUSED, "stopped"),
        "stopped": ("stopped pending", "running"),
        "shutting-down": (REFUSED, "terminated"),
        "terminated": (REFUSED, "terminated"),
    },
    "stop": {
        "pending": (REFUSED, "running"),  # it has never run
        "running": ("running stopping", "stopped"),
        "stopping": ("stopping stopping", "stopped"),
        "stopped": ("stopped stopped", "stopped"),
        "shutting-down": (REFUSED, "terminated"),
        "terminated": (REFUSED, "terminated"),
    },
    "reboot": {
        "pending": ("done", "running"),
        "running": ("done", "running"),
        "stopping": (REFUSED, "stopped"),
        "stopped": (REFUSED, "stopped"),
        "shutting-down": (REFUSED, "terminated"),
        "terminated": (REFUSED, "terminated"),
    },
    "terminate": {
        **{state: (f"{state} shutting-down", "terminated") for state in STATES[:4]},
        "shutting-down": ("shutting-down shutting-down", "terminated"),
        "terminated": ("terminated terminated", "terminated"),
    },
    "modify": {**{state: (REFUSED, ENDS[state]) for state in STATES}, "stopped": ("done", "stopped")},
}
"""Action, state: what EC2 answers (PreviousState, CurrentState), and the state that it comes to rest in."""
COMBINATIONS = [(action, state) for action in TABLE for state in STATES]


@pytest.fixture(scope="module")
def own(engine_backend: Engine, new_plane: Callable[..., Any]) -> Iterator[tuple[Plane, Any]]:
    variable = "CONTAINER_HOST" if engine_backend.podman else "DOCKER_HOST"
    with (
        proxy(engine_backend.url) as cut,
        new_plane(engine_backend, **{variable: cut.url, "OBLAKO_RESYNC": "1"}) as plane,
    ):
        yield plane, cut


@pytest.fixture(scope="module")
def cases(own: tuple[Plane, Any]) -> dict[tuple[str, str], Case]:
    """All cases, played through at once."""
    plane, cut = own
    client, made = plane.client(), {}

    def make(*states: str) -> None:
        for key in COMBINATIONS:
            if key[1] in states:
                token = uuid.uuid4().hex
                made[key] = Case(plane.launch(ClientToken=token, InstanceType=SMALL)[0], token)

    def chosen(*states: str) -> list[str]:
        return [case.instance_id for (_, state), case in made.items() if state in states]

    def all_are(state: str, instance_ids: list[str]) -> None:
        eventually(lambda: {plane.state(one) for one in instance_ids} == {state}, timeout=60, what=f"all {state}")

    make(*STATES[1:])
    all_are("running", chosen(*STATES))
    client.stop_instances(InstanceIds=chosen("stopped"))
    client.terminate_instances(InstanceIds=chosen("terminated"))
    all_are("stopped", chosen("stopped"))
    all_are("terminated", chosen("terminated"))
    boots = {one: started_at(plane, one) for one in chosen(*STATES)}

    cut.down()
    eventually(lambda: plane.api("GET", "/status")["engine_error"], what="the engine is gone")
    client.stop_instances(InstanceIds=chosen("stopping"))
    client.terminate_instances(InstanceIds=chosen("shutting-down"))
    make("pending")
    for (action, _), case in made.items():
        case.before = plane.state(case.instance_id)
        try:
            case.answer = ACTIONS[action](plane, case)
        except ClientError as error:
            case.answer = error.response["Error"]["Code"]
    cut.up()

    def restless() -> list[str]:
        rest = {key: plane.state(case.instance_id) for key, case in made.items()}
        return [f"{action} {state}" for (action, state), now in rest.items() if now != TABLE[action][state][1]]

    eventually(lambda: not restless(), timeout=60, what="all at rest")
    rebooted = made["reboot", "running"].instance_id
    eventually(lambda: started_at(plane, rebooted) != boots[rebooted], what="the reboot")
    eventually(lambda: not any(row["impaired"] for row in plane.api("GET", "/instances")["instances"]))
    volumes = plane.volumes()
    for case in made.values():
        case.seen = plane.describe(case.instance_id)
        case.container = plane.container(case.instance_id)
        case.volume = names.root_volume_name(case.instance_id) in volumes
        case.rebooted = started_at(plane, case.instance_id) != boots.get(case.instance_id)
    return made


@pytest.mark.parametrize(("action", "state"), COMBINATIONS)
def test_the_answer(cases: dict[tuple[str, str], Case], action: str, state: str) -> None:
    case = cases[action, state]
    assert (case.before, case.answer) == (state, TABLE[action][state][0])


@pytest.mark.parametrize(("action", "state"), COMBINATIONS)
def test_the_engine(cases: dict[tuple[str, str], Case], action: str, state: str) -> None:
    case, rest = cases[action, state], TABLE[action][state][1]
    assert case.seen["State"]["Name"] == rest
    assert case.seen["InstanceType"] == (SMALLER if (action, state) == ("modify", "stopped") else SMALL)
    if rest == "terminated":
        assert case.container is None
        assert not case.volume
        return
    assert case.container is not None
    assert case.volume
    assert case.container["State"]["Running"] is (rest == "running")
    if state == "running" and rest == "running":
        assert case.rebooted is (action == "reboot"), "only a reboot starts a running container anew"
