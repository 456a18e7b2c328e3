"""The whole table of decisions, and what must hold of every entry."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest

from oblako_magic.model import ContainerSpec, ContainerState
from oblako_magic.reconcile.plan import (
    ENGINE_DIED,
    CreateContainer,
    Desired,
    Plan,
    RemoveContainer,
    RemoveRootVolume,
    RestartContainer,
    RunUserData,
    StartContainer,
    StopContainer,
    plan,
)

SPEC = ContainerSpec("i-1", "image")
LAUNCHED = Desired(SPEC, "running", generation=1, started=0)
UP = Desired(SPEC, "running", generation=1, started=1)
AGAIN = Desired(SPEC, "running", generation=2, started=1)


def container(status: str = "running", exit_code: int = 0, **kwargs: Any) -> ContainerState:
    return ContainerState("i-1", "c", status, exit_code, **kwargs)


def kinds(decision: Plan) -> list[str]:
    return [type(action).__name__ for action in decision.actions]


NONE: list[str] = []
CREATE, START, STOP, RESTART = "CreateContainer", "StartContainer", "StopContainer", "RestartContainer"
REMOVE, VOLUME, DATA = "RemoveContainer", "RemoveRootVolume", "RunUserData"

TABLE: list[tuple[str, Desired, ContainerState | None, list[str], str]] = [
    ("launch", LAUNCHED, None, [CREATE, START], "running"),
    ("launch, made but not started", LAUNCHED, container("created"), [START], "running"),
    ("launch, started before it was noted", LAUNCHED, container(), NONE, "running"),
    ("all is well", UP, container(), NONE, "running"),
    ("restarting by a policy of the user's", UP, container("restarting"), NONE, "running"),
    ("start", AGAIN, container("exited"), [START], "running"),
    ("start after a crash", AGAIN, container("exited", 1), [START], "running"),
    ("start of one removed by hand", AGAIN, None, [CREATE, START], "running"),
    ("removed by hand", UP, None, NONE, "running"),
    ("paused", UP, container("paused"), NONE, "running"),
    ("stop", replace(UP, want="stopped"), container(), [STOP], "stopped"),
    ("stop of a paused one", replace(UP, want="stopped"), container("paused"), [STOP], "stopped"),
    ("stop, done", replace(UP, want="stopped"), container("exited", 143), NONE, "stopped"),
    ("stop of one removed by hand", replace(UP, want="stopped"), None, NONE, "stopped"),
    ("stop before its launch", replace(LAUNCHED, want="stopped"), None, NONE, "stopped"),
    ("terminate", replace(UP, want="terminated"), container(), [REMOVE, VOLUME], "terminated"),
    ("terminate a stopped one", replace(UP, want="terminated"), container("exited"), [REMOVE, VOLUME], "terminated"),
    ("terminate before its launch", replace(LAUNCHED, want="terminated"), None, [VOLUME], "terminated"),
    ("terminate one removed by hand", replace(UP, want="terminated"), None, [VOLUME], "terminated"),
    (
        "terminate, root volume kept",
        replace(UP, want="terminated", remove_root_volume=False),
        container(),
        [REMOVE],
        "terminated",
    ),
    (
        "terminated, root volume kept",
        replace(UP, want="terminated", remove_root_volume=False),
        None,
        NONE,
        "terminated",
    ),
    ("reboot", replace(UP, reboots=1), container(), [RESTART], "running"),
    ("reboot of a paused one", replace(UP, reboots=1), container("paused"), [RESTART], "running"),
    ("reboot, done", replace(UP, reboots=1, reboots_done=1), container(), NONE, "running"),
    ("reboot of one removed by hand", replace(UP, reboots=1), None, NONE, "running"),
    ("user data", replace(UP, user_data_waits=True), container(), [DATA], "running"),
    ("user data waits for the start", replace(LAUNCHED, user_data_waits=True), None, [CREATE, START], "running"),
    ("user data waits for a reboot", replace(UP, reboots=1, user_data_waits=True), container(), [RESTART], "running"),
    ("the host was rebooted", replace(UP, same_boot=False), container("exited", 137), [START], "running"),
    ("the engine was restarted", UP, container("exited", ENGINE_DIED), [START], "running"),
    (
        "a program that ended with 255",
        replace(UP, seen_running=True),
        container("exited", ENGINE_DIED),
        NONE,
        "stopped",
    ),
    (
        "the host was rebooted, 255",
        replace(UP, same_boot=False, seen_running=True),
        container("exited", 255),
        [START],
        "running",
    ),
    (
        "user data waits for the end of a restart",
        replace(UP, user_data_waits=True),
        container("restarting"),
        NONE,
        "running",
    ),
    (
        "the host was rebooted while it was stopped",
        replace(UP, want="stopped", same_boot=False),
        container("exited"),
        NONE,
        "stopped",
    ),
    ("poweroff", UP, container("exited", 143), NONE, "stopped"),
    ("its command ended", UP, container("exited", 0), NONE, "stopped"),
    ("crash", UP, container("exited", 1), NONE, "stopped"),
    ("docker kill", UP, container("exited", 137), NONE, "stopped"),
    ("dead", UP, container("dead", 137), NONE, "stopped"),
    ("out of memory", UP, container("exited", 137, oom_killed=True), NONE, "stopped"),
    (
        "poweroff, to be terminated",
        replace(UP, on_shutdown="terminate"),
        container("exited"),
        [REMOVE, VOLUME],
        "shutting-down",
    ),
    (
        "poweroff, to be terminated, root volume kept",
        replace(UP, on_shutdown="terminate", remove_root_volume=False),
        container("exited"),
        [REMOVE],
        "shutting-down",
    ),
]


@pytest.mark.parametrize(
    ("desired", "actual", "actions", "state"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_table(desired: Desired, actual: ContainerState | None, actions: list[str], state: str) -> None:
    decision = plan(desired, actual)
    assert (kinds(decision), decision.state) == (actions, state)


@pytest.mark.parametrize(
    ("actual", "code", "words"),
    [
        (container("exited", 0), "Client.InstanceInitiatedShutdown", "shutdown"),
        (container("exited", 143), "Client.InstanceInitiatedShutdown", "shutdown"),
        (container("exited", 7), "Server.InternalError", "exit code 7"),
        (container("exited", 137), "Server.InternalError", "exit code 137"),
        (container("exited", 137, oom_killed=True), "Client.InternalError", "out of memory"),
    ],
    ids=["0", "143", "7", "137", "OOM"],
)
@pytest.mark.parametrize(("behaviour", "want"), [("stop", "stopped"), ("terminate", "terminated")])
def test_an_end_that_nobody_asked_for_has_its_reason(
    actual: ContainerState, code: str, words: str, behaviour: Any, want: str
) -> None:
    decision = plan(replace(UP, on_shutdown=behaviour), actual)
    assert decision.want == want
    assert decision.reason is not None
    assert decision.reason.code == code
    assert words in decision.reason.message


@pytest.mark.parametrize(
    ("actual", "word"), [(None, "start it again"), (container("paused"), "unpause")], ids=["removed", "paused"]
)
def test_what_cant_be_relied_on_is_impaired_and_names_the_next_step(actual: ContainerState | None, word: str) -> None:
    decision = plan(UP, actual)
    assert word in decision.impaired
    assert decision.want is None


# -- what holds everywhere ----------------------------------------------------------------------------

STATUSES = ["created", "running", "paused", "restarting", "exited", "dead"]
ACTUALS = [None, *(container(status, code) for status in STATUSES for code in (0, 1, 137, 143, ENGINE_DIED))]
FLAGS: dict[str, list[Any]] = {
    "want": ["running", "stopped", "terminated"],
    "started": [0, 1, 2],
    "reboots": [0, 1],
    "on_shutdown": ["stop", "terminate"],
    "same_boot": [True, False],
    "seen_running": [True, False],
    "user_data_waits": [True, False],
    "remove_root_volume": [True, False],
}
DESIRED = [
    Desired(SPEC, generation=2, **dict(zip(FLAGS, values, strict=True)))
    for values in itertools.product(*FLAGS.values())
]


@dataclass
class World:
    """An engine, and what the control plane keeps of the instance, as far as the plan can see them."""

    desired: Desired
    actual: ContainerState | None
    volume: bool = True

    def step(self) -> Plan:
        """Decide, then do what was decided."""
        decision = plan(self.desired, self.actual)
        if decision.want is not None:
            self.desired = replace(self.desired, want=decision.want)
        for action in decision.actions:
            self._do(action)
        return decision

    def _do(self, action: object) -> None:
        if isinstance(action, CreateContainer):
            assert self.actual is None
            self.actual, self.volume = container("created"), True
        elif isinstance(action, StartContainer):
            assert self.actual is not None
            assert not self.actual.running
            self.actual = container()
            self.desired = replace(self.desired, started=self.desired.generation, same_boot=True)
        elif isinstance(action, StopContainer):
            assert self.actual is not None
            assert self.actual.running
            self.actual = container("exited", 143)
        elif isinstance(action, RestartContainer):
            assert self.actual is not None
            self.actual = container()
            self.desired = replace(self.desired, reboots_done=self.desired.reboots)
        elif isinstance(action, RemoveContainer):
            assert self.actual is not None
            self.actual = None
        elif isinstance(action, RemoveRootVolume):
            self.volume = False
        elif isinstance(action, RunUserData):
            assert self.actual is not None
            assert self.actual.status == "running"
            self.desired = replace(self.desired, user_data_waits=False)
        else:
            raise AssertionError(action)


def test_every_state_of_the_world_comes_to_rest_within_the_loops_rounds() -> None:
    for desired, actual in itertools.product(DESIRED, ACTUALS):
        world = World(desired, actual)
        for _ in range(5):
            decision = world.step()
            # The removal of a volume that is gone is no work; the loop settles after it.
            if not decision.actions or kinds(decision) == [VOLUME]:
                break
        else:
            raise AssertionError(f"does not come to rest: {desired}, {actual}")
        assert (world.actual is None) or world.desired.want != "terminated", (desired, actual)
        if world.desired.want == "stopped":
            assert world.actual is None or not world.actual.running, (desired, actual)
        if world.desired.want == "running":
            running = world.actual is not None and world.actual.status in ("running", "restarting")
            assert running or decision.impaired, (desired, actual)


def test_data_goes_only_with_an_instance_that_ends_for_good() -> None:
    for desired, actual in itertools.product(DESIRED, ACTUALS):
        decision = plan(desired, actual)
        ends = desired.want == "terminated" or decision.want == "terminated"
        if RemoveRootVolume() in decision.actions:
            assert ends, (desired, actual)
            assert desired.remove_root_volume, (desired, actual)
        if RemoveContainer() in decision.actions:
            assert ends, (desired, actual)


def test_a_container_is_never_made_that_nobody_asked_for() -> None:
    for desired in DESIRED:
        decision = plan(desired, None)
        if CreateContainer() in decision.actions:
            assert desired.want == "running", desired
            assert desired.generation > desired.started, desired


def test_only_a_running_container_changes_the_wish_by_its_end() -> None:
    for desired, actual in itertools.product(DESIRED, ACTUALS):
        decision = plan(desired, actual)
        if decision.want is not None:
            assert desired.want == "running", (desired, actual)
            assert desired.generation == desired.started, (desired, actual)
            assert actual is not None
            assert not actual.running
            assert decision.reason is not None
