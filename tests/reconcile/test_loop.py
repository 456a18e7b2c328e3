"""The loop itself: its queue, its patience and its retries, with an engine in memory that fails on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests.exceptions

from oblako_magic import names
from oblako_magic.engine import Engine
from oblako_magic.errors import EngineError, EngineUnavailable
from oblako_magic.reconcile.loop import Loop
from tests.reconcile.fakes import FakeApi, FakeEngine, FakeSource, api_error
from tests.support.plane import eventually


class Set:
    """A loop with its surroundings."""

    def __init__(self, **kwargs: Any) -> None:
        self.api, self.source = FakeApi(), FakeSource()
        self.engine = FakeEngine(self.api)
        self.down = False
        self.connects = 0
        self.user_data: list[str] = []
        options: dict[str, Any] = {"workers": 4, "resync": 60, "run_user_data": self._user_data, **kwargs}
        self.loop = Loop(self.source, self._connect, **options)

    def _connect(self) -> Engine:
        self.connects += 1
        if self.down:
            raise EngineUnavailable("no engine answers; start it.")
        return self.engine

    def _user_data(self, engine: Engine, instance_id: str) -> None:
        self.user_data.append(instance_id)
        self.source.want(instance_id, user_data_waits=False)

    def state(self, instance_id: str) -> str | None:
        return self.source.states.get(instance_id)

    def launch(self, *instance_ids: str) -> None:
        for instance_id in instance_ids:
            self.source.want(instance_id)
        self.loop.wake(instance_ids)

    def cut(self) -> None:
        """The engine goes away: calls fail, the stream of events ends."""
        self.down = True
        for call in ("inspect", "start", "create"):
            self.api.fail[call] = [requests.exceptions.ConnectionError("connection refused")] * 100
        assert self.engine.stream is not None
        self.engine.stream.close()

    def mend(self) -> None:
        self.api.fail.clear()
        self.down = False


@pytest.fixture
def make() -> Iterator[Callable[..., Set]]:
    """Make a loop that runs; stopped at the end."""
    with ExitStack() as stack:

        def start(**kwargs: Any) -> Set:
            one = Set(**kwargs)
            one.loop.start()
            stack.callback(one.loop.stop)
            eventually(lambda: one.engine.stream is not None)
            return one

        yield start


def container(one: Set, instance_id: str) -> dict[str, Any] | None:
    return one.api.containers_.get(names.container_name(instance_id))


def test_an_instance_is_never_handled_twice_at_once_and_others_are_beside_it(make: Callable[..., Set]) -> None:
    one = make()
    one.api.hold["create"] = threading.Event()
    ids = [f"i-{n}" for n in range(8)]
    one.launch(*ids)
    eventually(lambda: sum(one.api.inside.values()) == 4, what="as many at once as there are workers")
    for _ in range(20):  # a storm of wishes and events for those that are under way
        one.loop.wake(ids)
        one.engine.tell("start", ids[0])
    one.api.hold.pop("create").set()
    eventually(lambda: all(one.state(instance_id) == "running" for instance_id in ids))
    eventually(one.loop.idle)
    assert one.api.twice == []
    assert one.api.most_inside <= 4
    assert one.api.count("create") == 8
    assert one.api.count("start") == 8


def test_a_wish_that_changes_meanwhile_is_seen_afterwards(make: Callable[..., Set]) -> None:
    one = make()
    one.api.hold["start"] = threading.Event()
    one.launch("i-1")
    eventually(lambda: one.api.count("start"))
    one.source.want("i-1", want="terminated")
    one.loop.wake(["i-1"])
    one.api.hold.pop("start").set()
    eventually(lambda: one.state("i-1") == "terminated")
    assert container(one, "i-1") is None
    assert one.api.count("remove_volume") == 1


def test_a_slow_one_does_not_hold_the_others_up(make: Callable[..., Set]) -> None:
    one = make()
    one.api.hold["stop"] = threading.Event()
    one.launch("i-1", "i-2")
    eventually(lambda: one.state("i-1") == "running")
    one.source.want("i-1", want="stopped")
    one.loop.wake(["i-1"])
    eventually(lambda: one.api.count("stop"))
    one.launch("i-3")
    eventually(lambda: one.state("i-3") == "running")
    assert one.state("i-1") != "stopped"
    one.api.hold.pop("stop").set()
    eventually(lambda: one.state("i-1") == "stopped")


def test_what_can_pass_is_tried_again(make: Callable[..., Set]) -> None:
    one = make()
    one.api.fail["start"] = [
        api_error(503, "the service is overloaded"),
        requests.exceptions.ReadTimeout("read timed out"),
    ]
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    assert one.api.count("start") == 3
    assert one.source.reason("i-1") == ""


def test_what_does_not_pass_after_all_ends_terminated_with_its_reason(make: Callable[..., Set]) -> None:
    one = make(patience=0.1)
    one.api.fail["start"] = [api_error(503, "the service is overloaded")] * 100
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "terminated", timeout=30)
    assert one.api.count("start") == 5
    assert "overloaded" in one.source.reason("i-1")
    assert container(one, "i-1") is None
    assert one.api.count("remove_volume") == 1


def test_what_cant_pass_is_tried_once_and_leaves_nothing(make: Callable[..., Set]) -> None:
    one = make()
    one.api.fail["start"] = [api_error(500, "no such device")] * 100
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "terminated")
    assert one.api.count("start") == 1
    assert "no such device" in one.source.reason("i-1")
    assert container(one, "i-1") is None


def test_a_start_that_cant_work_ends_stopped_and_keeps_the_container(make: Callable[..., Set]) -> None:
    one = make()
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    one.source.want("i-1", want="stopped")
    one.loop.wake(["i-1"])
    eventually(lambda: one.state("i-1") == "stopped")
    one.api.fail["start"] = [api_error(500, "no such device")]
    one.source.want("i-1", want="running", generation=2)
    one.loop.wake(["i-1"])
    eventually(lambda: "no such device" in one.source.reason("i-1") and one.state("i-1") == "stopped")
    assert container(one, "i-1") is not None
    assert one.api.count("remove") == one.api.count("remove_volume") == 0
    one.source.want("i-1", want="running", generation=3)
    one.loop.wake(["i-1"])
    eventually(lambda: one.state("i-1") == "running")


def test_what_takes_its_time_to_pass_is_waited_for(make: Callable[..., Set]) -> None:
    """Docker's containerd is away for ten seconds when it was killed."""
    one = make(patience=8)
    one.api.fail["start"] = [api_error(500, "dial unix:///x/containerd.sock: connect: connection refused")] * 5
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running", timeout=20)
    assert one.api.count("start") == 6


def test_an_engine_that_does_not_answer_in_time_stops_nothing(
    make: Callable[..., Set], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oblako_magic.reconcile.loop._LONGEST_PAUSE", 0.05)
    one = make(patience=0.1)
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    one.api.fail["inspect"] = [requests.exceptions.ReadTimeout("read timed out")] * 12
    one.loop.wake(["i-1"])
    eventually(lambda: not one.api.fail["inspect"] and one.source.reports[-1][1].looked)
    assert one.state("i-1") == "running"
    assert "did not answer in time" in "".join(seen.impaired or "" for _, seen in one.source.reports)
    assert one.source.reports[-1][1].impaired == ""
    assert one.source.reason("i-1") == ""


HALF = api_error(500, "task 91fde80fae: already exists")
TAKEN = api_error(500, "Bind for 127.0.0.1:8080 failed: port is already allocated")


@pytest.mark.parametrize("error", [HALF, TAKEN], ids=["half started", "port"])
def test_a_launch_that_its_container_cant_have_gets_another(make: Callable[..., Set], error: Exception) -> None:
    one = make()
    one.source.any_port = True
    one.api.fail["start"] = [error]
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    assert (one.api.count("create"), one.api.count("remove"), one.api.count("remove_volume")) == (2, 1, 0)
    assert one.source.reason("i-1") == ""


def test_no_other_container_where_the_user_chose_the_port(make: Callable[..., Set]) -> None:
    one = make()
    one.api.fail["start"] = [TAKEN]
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "terminated")
    assert one.api.count("create") == 1
    assert "port" in one.source.reason("i-1")


def test_no_other_container_where_there_may_be_data_in_it(make: Callable[..., Set]) -> None:
    one = make()
    one.source.any_port = True
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    one.source.want("i-1", want="stopped")
    one.loop.wake(["i-1"])
    eventually(lambda: one.state("i-1") == "stopped")
    one.api.fail["start"] = [HALF]
    one.source.want("i-1", want="running", generation=2)
    one.loop.wake(["i-1"])
    eventually(lambda: "amid an earlier start" in one.source.reason("i-1") and one.state("i-1") == "stopped")
    assert (one.api.count("create"), one.api.count("remove")) == (1, 0)


def test_a_removal_is_never_given_up(make: Callable[..., Set]) -> None:
    one = make()
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    one.api.fail["remove"] = [api_error(500, "driver failed to remove root filesystem")] * 7
    one.source.want("i-1", want="terminated")
    one.loop.wake(["i-1"])
    eventually(lambda: one.state("i-1") != "terminated" and one.api.count("remove") >= 3)
    one.api.fail.clear()
    eventually(lambda: one.state("i-1") == "terminated", timeout=30)
    assert container(one, "i-1") is None


def test_a_launch_outlasts_an_engine_that_is_down_for_a_moment(make: Callable[..., Set]) -> None:
    one = make()
    one.cut()
    one.launch("i-1")
    eventually(lambda: any(seen.progress for _, seen in one.source.reports), what="the user is told")
    assert one.state("i-1") is None
    one.mend()
    eventually(lambda: one.state("i-1") == "running")


def test_a_launch_does_not_wait_for_an_engine_for_ever(make: Callable[..., Set]) -> None:
    one = make(patience=1)
    one.cut()
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "terminated", timeout=10)
    assert "start it" in one.source.reason("i-1")
    assert not any(seen.looked for _, seen in one.source.reports)
    one.mend()
    # What it may have left behind is looked for as soon as somebody can tell.
    eventually(lambda: any(seen.looked for _, seen in one.source.reports), timeout=10)


def test_what_happened_while_the_engine_was_away_is_looked_at(make: Callable[..., Set]) -> None:
    one = make()
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    one.cut()
    eventually(lambda: any(seen.impaired for _, seen in one.source.reports))
    one.api.containers_[names.container_name("i-1")]["State"] = {"Status": "exited", "ExitCode": 1}
    one.mend()
    eventually(lambda: one.state("i-1") == "stopped")
    assert "exit code 1" in one.source.reason("i-1")


def test_events_are_followed(make: Callable[..., Set]) -> None:
    one = make()
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    eventually(one.loop.idle)
    one.api.containers_[names.container_name("i-1")]["State"] = {"Status": "exited", "ExitCode": 1}
    one.engine.tell("die", "i-1")
    eventually(lambda: one.state("i-1") == "stopped", timeout=1)


def test_what_no_event_told_is_seen_by_the_timer(make: Callable[..., Set]) -> None:
    one = make(resync=0.5)
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    one.api.containers_[names.container_name("i-1")]["State"] = {"Status": "exited", "ExitCode": 1}
    eventually(lambda: one.state("i-1") == "stopped", timeout=5)


def test_a_removal_by_hand_is_not_taken_for_a_crash(make: Callable[..., Set]) -> None:
    """``docker rm -f`` kills first: between the two events the container looks like one that ended."""
    one = make()
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    eventually(one.loop.idle)
    one.api.containers_[names.container_name("i-1")]["State"] = {"Status": "exited", "ExitCode": 137}
    looks = one.api.count("inspect")
    one.engine.tell("die", "i-1")
    eventually(lambda: one.api.count("inspect") > looks)
    one.api.containers_.pop(names.container_name("i-1"))
    one.engine.tell("destroy", "i-1")
    eventually(lambda: any("removed by hand" in (seen.impaired or "") for _, seen in one.source.reports))
    assert one.state("i-1") == "running"


def test_an_unforeseen_error_of_one_does_not_end_the_loop(
    make: Callable[..., Set], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(workers=1)
    one.source.want("i-1")
    one.source.errors.append(RuntimeError("unforeseen"))
    one.loop.wake(["i-1"])
    eventually(lambda: not one.source.errors)
    one.launch("i-2")
    eventually(lambda: one.state("i-2") == "running")
    eventually(lambda: one.state("i-1") == "running", timeout=10, what="it is looked at again")


def test_a_container_that_ends_with_255_is_not_started_without_end(make: Callable[..., Set]) -> None:
    """255 is what Docker says of containers that it finds dead when it comes up; a program can end so, too."""
    one = make()
    original = one.api.start

    def start(name: str) -> None:
        original(name)
        one.api.containers_[name]["State"] = {"Status": "exited", "ExitCode": 255}
        one.engine.tell("die", name.removeprefix("oblako-ec2-"))

    one.api.start = start  # type: ignore[method-assign]
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "stopped", timeout=10)
    assert one.api.count("start") < 10


def test_what_an_engine_takes_along_on_its_way_down_runs_again_with_it(make: Callable[..., Set]) -> None:
    """It stops its containers as a shutdown from within would, and tells so while it takes no more connections."""
    one = make()
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    one.engine.ending = True
    one.down = True
    one.api.containers_[names.container_name("i-1")]["State"] = {"Status": "exited", "ExitCode": 143}
    one.engine.tell("die", "i-1")
    eventually(lambda: any(seen.impaired for _, seen in one.source.reports))
    assert one.api.count("start") == 1
    old, one.engine = one.engine, FakeEngine(one.api, "second")
    assert old.stream is not None
    old.stream.close()
    one.down = False
    eventually(lambda: one.api.count("start") == 2)
    assert "stopped" not in [seen.state for _, seen in one.source.reports]


def test_what_is_started_after_a_restart_of_the_engine_may_end_by_itself(make: Callable[..., Set]) -> None:
    one = make()
    one.launch("i-1")
    eventually(lambda: one.state("i-1") == "running")
    ended = {"Status": "exited", "ExitCode": 1}
    one.api.containers_[names.container_name("i-1")]["State"] = ended
    start = one.api.start

    def end(name: str) -> None:
        start(name)
        one.api.containers_[name]["State"] = ended

    one.api.start = end  # type: ignore[method-assign]
    old, one.engine = one.engine, FakeEngine(one.api, "second")
    assert old.stream is not None
    old.stream.close()
    eventually(lambda: one.state("i-1") == "stopped")
    assert one.api.count("start") == 2


def test_user_data_is_started_when_the_container_runs(make: Callable[..., Set]) -> None:
    one = make()
    one.source.want("i-1", user_data_waits=True)
    one.loop.wake(["i-1"])
    eventually(lambda: one.state("i-1") == "running")
    assert one.user_data == ["i-1"]


def test_stop_finishes_what_is_under_way() -> None:
    one = Set()
    one.loop.start()
    hold = one.api.hold["start"] = threading.Event()
    one.launch("i-1")
    eventually(lambda: one.api.count("start"))
    threading.Timer(0.3, hold.set).start()
    begun = time.monotonic()
    one.loop.stop()
    assert time.monotonic() - begun < 10
    found = container(one, "i-1")
    assert found is not None
    assert found["State"] == {"Status": "running"}


def test_before_every_start(make: Callable[..., Set]) -> None:
    found: list[str] = []

    def before_start(engine: Any, instance_id: str) -> None:
        found.append(engine.api.containers_[names.container_name(instance_id)]["State"]["Status"])

    here = make(before_start=before_start)
    here.launch("i-1")
    eventually(lambda: here.state("i-1") == "running")
    here.source.want("i-1", want="stopped")
    here.loop.wake(["i-1"])
    eventually(lambda: here.state("i-1") == "stopped")
    here.source.want("i-1", want="running", generation=2)
    here.loop.wake(["i-1"])
    eventually(lambda: here.state("i-1") == "running")
    assert found == ["created", "exited"]


def test_what_can_not_be_put_in_place_is_not_started(make: Callable[..., Set]) -> None:
    def before_start(engine: Any, instance_id: str) -> None:
        raise EngineError("there is no room for its files.")

    here = make(before_start=before_start)
    here.launch("i-1")
    eventually(lambda: here.state("i-1") == "terminated")
    assert here.api.count("start") == 0
    assert here.api.containers_ == {}
    reasons = [seen.reason.message for _, seen in here.source.reports if seen.reason is not None]
    assert reasons[:1] == ["there is no room for its files."]
