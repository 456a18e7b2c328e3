"""The panel's kernel side: rows, forms, the feed and the way of messages, without a browser."""

from __future__ import annotations

import ast
import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.utils.capture import capture_output

from oblako_magic.errors import AwsError, ControlPlaneError, OblakoError
from oblako_magic.frontends.expand import Expander
from oblako_magic.frontends.line import words
from oblako_magic.frontends.panel import forms
from oblako_magic.frontends.panel.rows import difference, event_line, instance_row, lost, notebook_row, rows_of
from oblako_magic.frontends.panel.worker import Worker
from oblako_magic.frontends.parser import find_command, parse
from oblako_magic.handles import Instance
from oblako_magic.settings import Settings
from tests.support.plane import eventually

RAW: dict[str, Any] = {
    "id": "i-1", "state": "running", "name": "web", "account": "123456789012", "region": "us-east-1", "backed": True,
    "image": "oblako/tiny", "container": "oblako-ec2-i-1", "container_id": "c1", "address": "172.17.0.2",
    "ports": [{"container_port": 80, "host_port": 20001, "host": "127.0.0.1", "live": False}],
    "impaired": "", "note": "", "progress": "", "user_data": "", "rebooting": False,
    "reason": "", "reason_code": "", "type": "t3.micro",
    "image_id": "ami-1", "zone": "us-east-1a", "private_ip": "172.31.0.4", "public_ip": "54.0.0.1", "subnet_id": "s",
    "vpc_id": "v", "key_name": "", "launch_time": "2026-01-01T00:00:00+00:00",
    "groups": [{"id": "sg-1", "name": "default"}], "tags": {"Name": "web", "oblako:publish": "8080:80", "Env": "dev"},
    "volumes": [
        {"device": "/dev/xvda", "volume_id": "vol-1", "root": True, "size": 8, "delete_on_termination": True},
        {"device": "/dev/sdf", "volume_id": "vol-2", "root": False, "size": 5, "delete_on_termination": False},
    ],
}  # fmt: skip
NOTEBOOK: dict[str, Any] = {
    "name": "lab", "account": "123456789012", "region": "us-east-1", "arn": "arn", "status": "InService",
    "failure_reason": "", "instance_type": "ml.t3.medium", "machine": "i-9", "container": "oblako-ec2-i-9",
    "port": 20009, "url": "http://127.0.0.1:20009/lab", "image": "oblako/notebook", "progress": "", "created": 1.0,
    "tags": {}, "lifecycle_config": "", "volume_size": 5,
}  # fmt: skip


# -- rows --------------------------------------------------------------------------------------------------


def test_only_what_differs_travels() -> None:
    other = {**RAW, "id": "i-2", "name": "db"}
    before = rows_of([RAW, other], [], RAW["account"])
    after = rows_of([{**RAW, "state": "stopping"}, {**RAW, "id": "i-3"}], [], RAW["account"])
    changed, gone = difference(before, after)
    assert sorted(row["id"] for row in changed) == ["i-1", "i-3"]
    assert gone == ["i-2"]
    assert difference(before, rows_of([dict(RAW), dict(other)], [], RAW["account"])) == ([], [])


def test_a_notebook_has_a_row_and_its_machine_none() -> None:
    machine = {**RAW, "id": "i-9", "account": "000000000042", "notebook": "lab"}
    rows = rows_of([RAW, machine, {**RAW, "id": "i-8", "account": "999999999999"}], [NOTEBOOK], RAW["account"])
    assert list(rows) == ["i-1", "notebook/us-east-1/lab"]
    row = rows["notebook/us-east-1/lab"]
    assert (row["kind"], row["state"], row["machine"]) == ("notebook", "InService", "i-9")
    failed = notebook_row({**NOTEBOOK, "status": "Failed", "failure_reason": "no image"})
    assert failed["remark"] == "no image"


def test_the_row_says_why_it_failed() -> None:
    assert instance_row({**RAW, "user_data": "failed (exit 3)"})["remark"] == "user data failed (exit 3)"
    own = {**RAW, "state": "stopped", "reason": "User initiated", "reason_code": "Client.UserInitiatedShutdown"}
    assert instance_row(own)["remark"] == "", "that its user stopped it is no news"
    ended = instance_row({**own, "reason": "it ended by itself", "reason_code": "Server.Gone"})
    assert ended["remark"] == "it ended by itself"


def test_what_will_be_lost_is_named() -> None:
    said = lost(instance_row(RAW))
    assert said == "web (i-1): its container, volume with the data (8 GiB), port 20001; vol-2 stays"
    assert lost(instance_row({**RAW, "backed": False, "name": ""})).startswith("i-1: its record")
    assert "home folder" in lost(notebook_row(NOTEBOOK))


def test_a_line_of_the_log() -> None:
    raw = {"number": 1, "time": 5.0, "account": "", "region": "us-east-1", "kind": "notebook", "id": "", "name": "lab",
           "what": "Pending -> Failed: it failed", "who": "boto3"}  # fmt: skip
    line = event_line(raw)
    assert (line["id"], line["text"]) == ("notebook/us-east-1/lab", "Pending → Failed: it failed")
    assert (line["who"], line["level"]) == ("boto3", "bad")


# -- forms -------------------------------------------------------------------------------------------------

FORM = {
    "name": "it's {here} $HOME", "image": "debian:12", "type": "t3.small", "count": "2", "key": "k",
    "groups": "a, sg-1", "ports": "80, 8000", "volumes": "20, /dev/sdg=5", "tags": "Env=a b, Team={x}",
    "user_data": "#!/bin/sh\necho $x {y}\n",
}  # fmt: skip


def test_the_magic_means_what_the_form_means() -> None:
    line, _, body = forms.magic(FORM).partition("\n")
    assert line.startswith("%%ec2 run ")
    assert body == FORM["user_data"]
    # As the magic itself reads it, with variables of the user's that must not get into it.
    read = [word.text for word in words(line[len("%%ec2 run ") :], Expander({"here": "no", "HOME": "no", "x": "no"}))]
    args = parse(find_command("run"), read)
    wanted = forms.arguments(FORM)
    assert (args.name, args.image, args.type) == (wanted["name"], wanted["image"], wanted["instance_type"])
    assert (args.count, list(args.publish), list(args.volume)) == (2, wanted["publish"], wanted["volumes"])
    assert dict(args.tag) == wanted["tags"] == {"Env": "a b", "Team": "{x}"}
    assert (args.key, list(args.sg)) == ("k", ["a", "sg-1"])
    assert forms.magic({}) == "%ec2 run"


def test_the_python_code_asks_for_the_same() -> None:
    tree = ast.parse(forms.boto3_code(FORM))
    call = next(
        node for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "run_instances"
    )  # fmt: skip
    asked = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert (asked["ImageId"], asked["InstanceType"], asked["MaxCount"]) == ("debian:12", "t3.small", 2)
    assert asked["UserData"] == FORM["user_data"]
    assert (asked["SecurityGroupIds"], asked["SecurityGroups"]) == (["sg-1"], ["a"])
    tags = {tag["Key"]: tag["Value"] for tag in asked["TagSpecifications"][0]["Tags"]}
    assert (tags["Name"], tags["oblako:publish"], tags["Team"]) == (FORM["name"], "80,8000", "{x}")
    sizes = [mapping["Ebs"]["VolumeSize"] for mapping in asked["BlockDeviceMappings"]]
    assert sizes == [20, 5]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("count", "none", "no count"),
        ("count", "0", "no count"),
        ("ports", "http", "is not a port"),
        ("ports", "70000", "ports go from"),
        ("volumes", "big", "is no volume"),
        ("tags", "Env", "is no tag"),
    ],
)
def test_a_field_that_can_t_be_used_is_named(field: str, value: str, said: str) -> None:
    with pytest.raises(OblakoError, match=said):
        forms.arguments({field: value})


def test_once_more_without_what_is_taken() -> None:
    form = forms.form_of(instance_row(RAW), "#!/bin/sh\n", {"Env": "dev"})
    assert (form["ports"], form["volumes"], form["tags"]) == ("80", "/dev/sdf=5", "Env=dev"), "no host port, no root"
    assert forms.arguments(form)["user_data"] == "#!/bin/sh\n"


# -- threads -----------------------------------------------------------------------------------------------


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("oblako-panel")]


def _drop(_: object) -> None:
    return None


def test_the_worker_s_threads_end() -> None:
    worker, done = Worker(), threading.Barrier(5)
    for _ in range(4):
        worker.submit(lambda: _drop(done.wait(10)))
    done.wait(10)  # only if all four run at once
    later = threading.Event()
    worker.submit(later.set)
    assert later.wait(10)
    worker.close()
    eventually(lambda: not _threads(), what="no thread is left")
    worker.submit(later.clear)
    time.sleep(0.05)
    assert later.is_set(), "nothing is done any more"


class Cloud:
    """What the panel asks of ``Ec2``, from memory; a test changes it and says so."""

    region = "us-east-1"
    front_end = "kernel"

    def __init__(self, settings: Settings | None = None, *, region: str | None = None) -> None:
        self.settings = settings or Settings.from_env()
        self.news = threading.Condition()
        self.revision = 1
        self.rows = [dict(RAW), {**RAW, "id": "i-2", "name": "db"}]
        self.down = ""
        self.asked: list[str] = []
        self.sockets: list[Any] = []
        self.changes: list[Any] = []

    def say(self, *rows: dict[str, Any], down: str = "") -> None:
        with self.news:
            self.rows, self.down = list(rows), down
            self.revision += 1
            self.news.notify_all()

    def watch(self, path: str, query: Any = None, *, on_open: Any = None) -> dict[str, Any]:
        self.asked.append(path)
        query = query or {}
        if path == "/events":
            return {"revision": self.revision, "log": "l", "missed": False, "events": []}
        with self.news:
            if "since" in query:
                hung_up = threading.Event()
                on_open(_Socket(hung_up, self.news))
                self.news.wait_for(lambda: self.revision > query["since"] or hung_up.is_set(), 20)
                if hung_up.is_set():
                    raise ControlPlaneError("hung up")
            if self.down:
                raise ControlPlaneError(self.down)
            return {"revision": self.revision, "instances": [dict(row) for row in self.rows]}

    def instances(self) -> list[Instance]:
        return [dataclasses.replace(_instance(row["id"]), name=row["name"]) for row in self.rows]

    def change(self, action: str, instances: Any, *, wait: bool = True) -> None:
        ids = [machine.id for machine in instances]
        self.changes.append((action, ids))
        if "i-2" in ids:
            raise AwsError("OperationNotPermitted: i-2 is protected (TerminateInstances)", "OperationNotPermitted", "")

    def status(self) -> Any:
        raise ControlPlaneError("no status here")

    def figures(self, machines: Any, before: Any) -> list[Any]:
        return []


class _Socket:
    def __init__(self, hung_up: threading.Event, news: threading.Condition) -> None:
        self._hung_up, self._news = hung_up, news

    def shutdown(self, how: int) -> None:
        self._hung_up.set()
        threading.Thread(target=self._wake).start()

    def _wake(self) -> None:
        with self._news:
            self._news.notify_all()


def _instance(instance_id: str) -> Instance:
    machine = Instance(instance_id, region="us-east-1")
    machine.state = "running"
    return machine


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Any]:
    """A panel on a cloud in memory; what it sends to the browser is in ``sent``."""
    from oblako_magic.frontends.panel import hub, widget

    monkeypatch.setenv("OBLAKO_STATE_DIR", str(tmp_path))
    cloud: Any = Cloud()
    shown = widget.Panel(cloud)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(shown, "send", sent.append)
    shown.add_traits()
    shown.sent, shown.cloud = sent, cloud
    # Another Ec2 for the actions, with the same memory.
    monkeypatch.setattr(shown._actions, "_cloud", lambda region="": cloud)
    yield shown
    hub.close_all()
    shown.close()
    eventually(lambda: not _threads(), what="no thread is left")


def _kinds(panel: Any, kind: str) -> list[dict[str, Any]]:
    return [message for message in list(panel.sent) if message["kind"] == kind]


def _ask(panel: Any, **message: Any) -> dict[str, Any]:
    number = 1 + max((one.get("request", 0) for one in panel.sent), default=0)
    panel._heard(panel, {**message, "request": number}, [])
    return eventually(lambda: [one for one in _kinds(panel, "reply") if one["request"] == number], what="a reply")[0]


def test_the_whole_for_a_new_view_then_what_changes(panel: Any) -> None:
    first = panel.get_state()["whole"]
    assert [row["name"] for row in first["rows"]] == ["web", "db"]
    panel.cloud.say({**RAW, "state": "stopping"}, panel.cloud.rows[1])
    [message] = eventually(lambda: [m for m in _kinds(panel, "rows") if m["changed"]], what="the change is sent")
    assert [(row["id"], row["state"]) for row in message["changed"]] == [("i-1", "stopping")]
    again = panel.get_state()["whole"]
    assert again["rows"][0]["state"] == "stopping", "who reloads the page sees it as it is"
    assert again["number"] == message["number"]


def test_a_browser_that_missed_something_gets_the_whole(panel: Any) -> None:
    panel._heard(panel, {"kind": "hello", "number": panel._number, "again": False}, [])
    assert not _kinds(panel, "whole")
    panel._heard(panel, {"kind": "hello", "number": panel._number - 1, "again": False}, [])
    assert len(_kinds(panel, "whole")) == 1


def test_every_reading_tells_how_much_was_said(panel: Any) -> None:
    """Jupyter's server drops what comes too fast; without it the last of many changes would be lost unseen."""
    panel._say({"kind": "head", "head": {}})
    assert _kinds(panel, "head")[-1]["number"] == panel._number
    panel.cloud.say({**RAW, "state": "stopping"}, panel.cloud.rows[1])
    eventually(lambda: [m for m in _kinds(panel, "rows") if m["changed"]], what="the change is sent")
    panel._say({"kind": "figures", "figures": {}})
    assert _kinds(panel, "figures")[-1]["number"] == _kinds(panel, "rows")[-1]["number"]


def test_a_control_plane_that_goes_away_is_said_and_not_started(panel: Any) -> None:
    panel.cloud.say(*panel.cloud.rows, down="the control plane is not running; start it with: oblako up")
    eventually(lambda: [m for m in _kinds(panel, "rows") if m["problem"]], what="the trouble is said")
    assert len(panel.get_state()["whole"]["rows"]) == 2, "what was last known stays"
    panel.cloud.say({**RAW, "name": "back"})
    back = eventually(lambda: [m for m in _kinds(panel, "rows") if m["changed"]], what="it is there again")[-1]
    assert (back["problem"], back["gone"], back["changed"][0]["name"]) == ("", ["i-2"], "back")


def test_one_that_is_refused_does_not_keep_the_others(panel: Any) -> None:
    reply = _ask(panel, kind="change", action="terminate", ids=["i-1", "i-2", "i-77"])
    assert reply["value"]["errors"] == {
        "i-2": "OperationNotPermitted: i-2 is protected (TerminateInstances)",
        "i-77": "it is gone.",
    }
    assert panel.cloud.changes[-2:] == [("terminate", ["i-1"]), ("terminate", ["i-2"])]


def test_a_message_that_makes_no_sense_is_answered(panel: Any) -> None:
    assert "knows no 'nonsense'" in _ask(panel, kind="nonsense")["error"]
    assert "internal error" in _ask(panel, kind="rename")["error"]
    assert "no action" in _ask(panel, kind="change", action="explode", ids=[])["error"]


def test_what_is_sent_twice_is_done_once(panel: Any) -> None:
    message = {"kind": "change", "action": "stop", "ids": ["i-1"], "request": "page-1"}
    panel._heard(panel, dict(message), [])
    panel._heard(panel, dict(message), [])
    eventually(lambda: _kinds(panel, "reply"), what="a reply")
    panel._heard(panel, dict(message), [])
    assert [one["request"] for one in _kinds(panel, "heard")] == ["page-1"] * 3, "each is told that it was heard"
    first, *more = _kinds(panel, "reply")
    assert all(reply == first for reply in more)
    assert more, "an answer that may have been lost comes again"
    # Another page's numbers are others.
    panel._heard(panel, {**message, "request": "other-1"}, [])
    eventually(lambda: [one for one in _kinds(panel, "reply") if one["request"] == "other-1"], what="a reply")
    assert panel.cloud.changes == [("stop", ["i-1"])] * 2


def test_a_greeting_that_comes_late_again_wakes_nothing(panel: Any) -> None:
    hello = {"kind": "hello", "number": panel._number, "again": True, "request": "page-1"}
    panel._heard(panel, dict(hello), [])
    panel._heard(panel, {"kind": "unseen"}, [])
    eventually(lambda: not _threads(), what="nothing runs")
    panel._heard(panel, dict(hello), [])
    assert not _threads()
    assert len(_kinds(panel, "whole")) == 1
    assert len(_kinds(panel, "heard")) == 2


def test_nobody_looks_nothing_runs(panel: Any) -> None:
    eventually(lambda: "oblako-panel-feed" in _threads(), what="the feed runs")
    panel._heard(panel, {"kind": "visible", "ids": ["i-1"]}, [])
    assert "oblako-panel-figures" in _threads()
    panel._heard(panel, {"kind": "unseen"}, [])
    eventually(lambda: not _threads(), what="nothing runs")
    panel.cloud.say({**RAW, "name": "meanwhile"})
    panel._heard(panel, {"kind": "hello", "number": panel._number, "again": True}, [])
    seen = eventually(lambda: [m for m in _kinds(panel, "rows") if m["changed"]], what="it hears again")
    assert seen[-1]["changed"][0]["name"] == "meanwhile"


def test_a_list_is_about_its_own(panel: Any) -> None:
    from oblako_magic.frontends.panel.widget import Panel

    listed: Any = Panel(panel.cloud, [_instance("i-2")])
    assert listed.mode == "list"
    assert [row["id"] for row in listed.get_state()["whole"]["rows"]] == ["i-2"]
    data, _ = listed._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert "i-2" in data["text/plain"]
    listed.close()
    eventually(lambda: "oblako-panel-feed" in _threads(), what="the other panel's feed goes on")


def test_closed_it_leaves_no_thread_no_timer_and_no_question(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from oblako_magic.frontends.panel.widget import Panel

    before, cloud = set(threading.enumerate()), Cloud()
    closed: Any = Panel(cloud)  # type: ignore[arg-type]
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(closed, "send", sent.append)
    closed._heard(closed, {"kind": "visible", "ids": ["i-1"], "request": "page-1"}, [])
    closed._heard(closed, {"kind": "lost", "ids": ["i-1"], "request": "page-2"}, [])
    eventually(lambda: [one for one in sent if one["kind"] == "reply"], what="a reply")
    made = set(threading.enumerate()) - before
    assert sum(isinstance(thread, threading.Timer) for thread in made) == 2
    assert {"oblako-panel-feed", "oblako-panel-figures", "oblako-panel-work"} <= {thread.name for thread in made}
    closed.close()
    eventually(lambda: not any(thread.is_alive() for thread in made), what="all of its threads have ended")
    asked = len(cloud.asked)
    cloud.say({**RAW, "name": "afterwards"})
    assert set(threading.enumerate()) <= before
    assert len(cloud.asked) == asked, "nobody waits for a change any more"


def test_unloading_closes_what_is_open(panel: Any, bare_shell: Any, no_process: list[str]) -> None:
    with capture_output():
        bare_shell.run_line_magic("load_ext", "oblako_magic")
        bare_shell.run_line_magic("unload_ext", "oblako_magic")
    assert panel.comm is None
    eventually(lambda: not _threads(), what="no thread is left")


def test_a_terminal_gets_the_table(cell: Any, cloud: Any) -> None:
    cloud.add("web")
    shown = cell("%ec2 panel")
    assert [machine.name for machine in shown.value] == ["web"]


def test_the_browser_s_side_is_one_module() -> None:
    from oblako_magic.frontends.panel.bundle import script, style

    text = script()
    assert "import " not in [line[:7] for line in text.splitlines()]
    assert text.count("\nexport ") == 1
    assert "innerHTML" not in text, "what comes from outside is text"
    assert "http" not in style(), "nothing is loaded from elsewhere"
