"""The main road through the magics, in a real shell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from IPython.core.error import UsageError

from oblako_magic.errors import TargetError, WaitError
from oblako_magic.frontends.results import Change
from oblako_magic.handles import Instance, InstanceList
from oblako_magic.model import PortMapping
from tests.frontends.fake_ec2 import FakeEc2


def last_call(cloud: FakeEc2, name: str) -> Any:
    return next(details for called, details in reversed(cloud.calls) if called == name)


def test_run_gives_a_running_instance(cell: Any, cloud: FakeEc2) -> None:
    done = cell("%ec2 run --name web --publish 8080:80 --tag Env=dev --tag Team=a --type t3.small")
    assert isinstance(done.value, Instance)
    assert (done.value.name, done.value.state, done.value.type) == ("web", "running", "t3.small")
    assert done.value.tags == {"Env": "dev", "Team": "a"}
    assert done.value.ports == [PortMapping(80, 8080)]
    assert "web running" in done.stdout


def test_run_several_gives_a_list(cell: Any) -> None:
    done = cell("x = %ec2 run --count 3")
    assert done.error is None
    assert done.stdout == ""
    assert done.displayed == []
    again = cell("x")
    assert isinstance(again.value, InstanceList)
    assert len(again.value) == 3


def test_run_hands_every_option_on(cell: Any, cloud: FakeEc2) -> None:
    cell("%ec2 run --image busybox --key k --sg a --sg b --subnet s --profile p --no-container --no-wait --timeout 2m")
    wanted = last_call(cloud, "run")
    assert wanted["image"] == "busybox"
    assert wanted["key"] == "k"
    assert wanted["security_groups"] == ("a", "b")
    assert wanted["subnet"] == "s"
    assert wanted["profile"] == "p"
    assert wanted["backed"] is False
    assert wanted["wait"] is False
    assert wanted["timeout"] == 120


def test_the_body_of_a_cell_is_user_data_and_is_not_touched(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    shell.user_ns["x"] = "no"
    done = cell("%%ec2 run --wait-user-data --name b\n#!/bin/sh\necho {x} $x {{x}} cost$5\n")
    assert last_call(cloud, "run")["user_data"] == "#!/bin/sh\necho {x} $x {{x}} cost$5\n"
    assert "user data log" in done.stdout


def test_user_data_from_a_file(cell: Any, cloud: FakeEc2, tmp_path: Any) -> None:
    (tmp_path / "boot.sh").write_text("#!/bin/sh\n")
    cell(f"%ec2 run --user-data {tmp_path}/boot.sh")
    assert last_call(cloud, "run")["user_data"] == "#!/bin/sh\n"
    missing = cell(f"%ec2 run --user-data {tmp_path}/none.sh")
    assert type(missing.error) is UsageError
    assert "can't be read" in str(missing.error)


def test_on_failure_the_handle_is_kept(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    cloud.fail["run"] = WaitError("i-1 ended terminated: the image is not there; see %ec2 images.")
    done = cell("%ec2 run --name web -o web")
    assert isinstance(done.error, WaitError)
    assert shell.user_ns["web"].state == "terminated"
    assert done.stdout.strip() == "WaitError: i-1 ended terminated: the image is not there; see %ec2 images."


def test_lifecycle_says_what_it_did(cell: Any, cloud: FakeEc2) -> None:
    web, db = cloud.add("web"), cloud.add("db", "stopped")
    done = cell("%ec2 stop web db")
    assert done.stdout.splitlines()[-2:] == [f"{web.id} web: running -> stopped", f"{db.id} db: stopped already"]
    assert cell("r = %ec2 start web --no-wait").stdout == ""
    assert last_call(cloud, "change") == ("start", [web.id], False, None)
    assert "rebooted" in cell("%ec2 reboot web").stdout
    done = cell("%ec2 terminate web --timeout 5 db")
    assert [change.after for change in done.value] == ["terminated", "terminated"]
    assert last_call(cloud, "change")[3] == 5


def test_ls_show_and_json(cell: Any, cloud: FakeEc2) -> None:
    cloud.add("web", ports=[PortMapping(80, 20000)], tags={"Name": "web"})
    assert "20000->80" in cell("%ec2 ls").stdout
    assert "http://127.0.0.1:20000" in cell("%ec2 show web").stdout
    text = cell("t = %ec2 ls --json\nt")
    assert json.loads(text.value)[0]["ports"][0]["url"] == "http://127.0.0.1:20000"
    assert '"name": "web"' in text.stdout


def test_result_option_binds_and_does_not_display(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    cloud.add("web")
    done = cell("%ec2 show web -o machine")
    assert done.stdout == ""
    assert done.value is None
    assert shell.user_ns["machine"].name == "web"


def test_a_semicolon_silences(cell: Any, cloud: FakeEc2) -> None:
    cloud.add("web")
    assert cell("%ec2 ls;").stdout == ""
    # IPython's own decorator fails here: it reads the line as Python.
    assert cell("%ec2 exec web echo '(' ").error is None


def test_overview(cell: Any, cloud: FakeEc2) -> None:
    cloud.add("web")
    shown = cell("%ec2").stdout
    assert "Overview(" not in shown
    assert "Docker" in shown
    assert "web" in shown
    assert "Next: %ec2 exec web" in shown
    cloud.engine = ""
    assert "doctor" in cell("%ec2").stdout


def test_the_rest(cell: Any, cloud: FakeEc2) -> None:
    cloud.add("web", ports=[PortMapping(80, 20000)])
    assert "12.5 %" in cell("%ec2 stats").stdout
    assert "http://127.0.0.1:20000" in cell("%ec2 ports web").stdout
    assert "2.0 KiB" in cell("%ec2 cp a web:/b").stdout
    assert last_call(cloud, "copy") == ("a", "web:/b")
    assert "amazonlinux:2023" in cell("%ec2 images").stdout
    assert "41234" in cell("%ec2 status").stdout
    assert cell("c = %ec2 client autoscaling --region eu-west-1\nc").value == "client of autoscaling"
    assert last_call(cloud, "get_client") == ("autoscaling", "eu-west-1")
    assert "console line" in cell("%ec2 console web").stdout
    assert "log line" in cell("%ec2 logs web --tail 3").stdout
    assert last_call(cloud, "logs") == (False, 3)
    assert cell("%ec2 logs -f web").stdout.count("log line") == 1
    cell("%ec2 wait web --state stopped")
    assert last_call(cloud, "wait") == ("stopped", None)


def test_publish_and_unpublish(cell: Any, cloud: FakeEc2) -> None:
    web = cloud.add("web")
    done = cell("%ec2 publish web 8080:80 9000")
    assert "http://127.0.0.1:8080" in done.stdout
    assert [details for name, details in cloud.calls if name == "publish"] == [(web.id, 80, 8080), (web.id, 9000, None)]
    assert 'href="http://127.0.0.1:8080"' in done.value._repr_html_()
    assert "http://127.0.0.1:8080" in cell("%ec2 ports").stdout
    assert f"{web.id} web: 80, 9000 unpublished" in cell("%ec2 unpublish web 80 9000").stdout
    assert [details for name, details in cloud.calls if name == "unpublish"] == [(web.id, 80), (web.id, 9000)]


def test_stack(cell: Any, cloud: FakeEc2) -> None:
    done = cell("%%ec2 stack demo --parameter A=1\nResources: {}\n")
    assert last_call(cloud, "deploy") == ("demo", "Resources: {}\n", {"A": "1"})
    assert done.value["StackStatus"] == "CREATE_COMPLETE"
    assert "output Url" in done.stdout
    assert "ValidationError" in cell("%%ec2 stack demo\nnonsense").stdout


def test_doctor(cell: Any, cloud: FakeEc2) -> None:
    from oblako_magic.handles import Orphan

    cloud.orphans = [
        Orphan("volume", "oblako-ec2-i-1", "i-1", "", False),
        Orphan("container", "oblako-ec2-i-2", "i-2", "", True),
    ]
    assert "orphaned volume oblako-ec2-i-1" in cell("%ec2 doctor").stdout
    cell("%ec2 doctor --adopt")
    assert [details for name, details in cloud.calls if name == "adopt"] == ["oblako-ec2-i-1"]
    assert "no orphan i-2" in str(cell("%ec2 doctor --remove i-2").error)
    assert "--adopt or --remove" in str(cell("%ec2 doctor i-1").error)
    assert not [name for name, _ in cloud.calls if name == "remove"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%ec2 rnu", "did you mean run?"),
        ("%ec2 run --cuont 3", "did you mean --count?"),
        ("%ec2 run --count three", "not a whole number"),
        ("%ec2 run --count 0", "not a whole number"),
        ("%ec2 run --publish 99999", "ports go from 1 to 65535"),
        ("%ec2 publish web", "arguments are required"),
        ("%ec2 publish web http", "'http' is not a port"),
        ("%ec2 unpublish web 8080:80", "not a whole number from 1 to 65535"),
        ("%ec2 run --tag Env", "not KEY=VALUE"),
        ("%ec2 run --name", "expected one argument"),
        ("%ec2 run --name 'a", "isn't closed"),
        ("%ec2 run -o 3x", "not the name of a variable"),
        ("%ec2 run -o class", "not the name of a variable"),
        ("%ec2 stop", "%ec2 ls"),
        ("%ec2 exec web", "what shall run?"),
        ("%ec2 env maybe", "invalid choice"),
        ("%ec2 wait web --state happy", "invalid choice"),
        ("%ec2 run --wait-user-data", "needs user data"),
        ("%ec2 stack demo", "give the template"),
        ("%%ec2 ls\nbody", "takes no cell"),
        ("%%ec2 exec web ls\nbody", "the cell is the script"),
        ("%%ec2\nbody", "needs a subcommand"),
    ],
)
def test_a_mistake_is_one_line(cell: Any, cloud: FakeEc2, line: str, message: str) -> None:
    cloud.add("web")
    done = cell(line)
    # The very class: a subclass would print a traceback.
    assert type(done.error) is UsageError
    assert message in str(done.error)
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_error_of_the_cloud_is_one_line_and_a_real_error(cell: Any, cloud: FakeEc2) -> None:
    done = cell("%ec2 show nobody")
    assert isinstance(done.error, TargetError)
    assert done.stdout.strip() == "TargetError: No instance answers to 'nobody'; there are none."
    debug = cell("%ec2 --debug show nobody")
    assert "Traceback" in debug.stdout


def test_an_unforeseen_error_is_one_line_with_the_log(cell: Any, cloud: FakeEc2) -> None:
    cloud.fail["status"] = ZeroDivisionError("division by zero")
    done = cell("%ec2 status")
    assert len(done.stdout.strip().splitlines()) == 1
    assert "internal error, ZeroDivisionError" in done.stdout
    assert "control-plane.log" in done.stdout
    assert "%ec2 --debug status" in done.stdout
    assert "Traceback" in cell("%ec2 --debug status").stdout


def test_an_interrupt_stops_the_waiting_and_names_what_goes_on(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    cloud.fail["run"] = KeyboardInterrupt()
    done = cell("%ec2 run --name web -o web")
    assert isinstance(done.error, KeyboardInterrupt)
    assert len(done.stdout.strip().splitlines()) == 1
    assert cloud.machines[0].id in done.stdout
    assert shell.user_ns["web"].id == cloud.machines[0].id
    assert not [name for name, _ in cloud.calls if name == "change"]


def test_help(cell: Any, shell: Any) -> None:
    for line in ("%ec2 run --help", "%ec2 run -h", "%ec2 stop --help", "%ec2 exec -h", "%ec2 cp --help"):
        done = cell(line)
        assert done.error is None, line
        assert "Examples:" in done.stdout, line
    assert "Subcommands:" in cell("%ec2 --help").stdout
    for name in ("run", "notebook", "notebook run"):
        assert cell(f"%ec2 help {name}").stdout == cell(f"%ec2 {name} --help").stdout
    assert "did you mean run?" in str(cell("%ec2 help rnu").error)
    assert "terminate" in shell.magics_manager.magics["line"]["ec2"].__doc__
    assert cell("%%ec2 run --help\nbody").error is None


def test_preferences(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    cell("%config Ec2Magics.default_type = 'm5.large'")
    cell("%ec2 run")
    assert last_call(cloud, "run")["instance_type"] == "m5.large"


def test_a_simulated_one_that_is_stopped_already_is_said_to_be() -> None:
    assert str(Change("i-1", "web", "stopped", "stopped (simulated)")) == "i-1 web: stopped (simulated) already"
    assert str(Change("i-1", "web", "running", "stopped (simulated)")) == "i-1 web: running -> stopped (simulated)"


def test_a_wait_for_the_end_takes_what_has_ended_already(cell: Any) -> None:
    cell("%ec2 run --name brief")
    cell("%ec2 terminate brief")
    assert cell("%ec2 wait brief --state terminated").value.state == "terminated"
    assert isinstance(cell("%ec2 wait brief").error, TargetError)
