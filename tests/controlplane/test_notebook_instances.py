"""Notebook instances through boto3: every action, what is refused, and what runs behind them.

A small stand-in for JupyterLab makes them quick; ``tests/cloud/test_notebooks.py`` has the real one.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from oblako_magic import names
from oblako_magic.engine import Engine
from tests.controlplane.planes import Plane
from tests.support import fake_jupyter
from tests.support.plane import eventually

ROLE = "arn:aws:iam::123456789012:role/service-role/Notebooks"
WAIT = {"Delay": 1, "MaxAttempts": 60}


@pytest.fixture(scope="module")
def image(engine_backend: Engine, base_image: str, run_label: str) -> Iterator[str]:
    name = fake_jupyter.build(engine_backend.api, base_image, run_label, run_label)
    yield name
    engine_backend.api.remove_image(name, force=True)


@pytest.fixture(scope="module")
def notebook_plane(engine_backend: Engine, new_plane: Callable[..., Any], image: str) -> Iterator[Plane]:
    with ExitStack() as stack:
        yield stack.enter_context(new_plane(engine_backend, OBLAKO_NOTEBOOK_IMAGE=image))


@pytest.fixture(scope="module")
def sagemaker(notebook_plane: Plane) -> Any:
    return notebook_plane.client("sagemaker")


class Book:
    """Short words for one notebook instance."""

    def __init__(self, plane: Plane, sagemaker: Any, name: str) -> None:
        self.plane, self.sagemaker, self.name = plane, sagemaker, name

    def create(self, **more: Any) -> Book:
        self.sagemaker.create_notebook_instance(
            **{"NotebookInstanceName": self.name, "InstanceType": "ml.t3.medium", "RoleArn": ROLE, **more}
        )
        return self

    def describe(self) -> dict[str, Any]:
        return dict(self.sagemaker.describe_notebook_instance(NotebookInstanceName=self.name))

    @property
    def status(self) -> str:
        return str(self.describe()["NotebookInstanceStatus"])

    def until(self, status: str, timeout: float = 40) -> Book:
        def reached() -> bool:
            found = self.describe()
            assert status == "Failed" or found["NotebookInstanceStatus"] != "Failed", found["FailureReason"]
            return bool(found["NotebookInstanceStatus"] == status)

        eventually(reached, timeout=timeout, what=f"{self.name} is {status}")
        return self

    def start(self) -> Book:
        self.sagemaker.start_notebook_instance(NotebookInstanceName=self.name)
        return self

    def stop(self) -> Book:
        self.sagemaker.stop_notebook_instance(NotebookInstanceName=self.name)
        return self

    def update(self, **changes: Any) -> Book:
        self.sagemaker.update_notebook_instance(NotebookInstanceName=self.name, **changes)
        return self

    def delete(self) -> Book:
        self.sagemaker.delete_notebook_instance(NotebookInstanceName=self.name)
        return self

    def row(self) -> dict[str, Any]:
        rows = self.plane.api("GET", "/notebooks")["notebooks"]
        return next(row for row in rows if row["name"] == self.name)

    def container(self) -> dict[str, Any]:
        found = self.plane.container(self.row()["machine"])
        assert found is not None
        return found

    def run(self, *argv: str) -> str:
        code, text = self.plane.execute(self.row()["machine"], *argv)
        assert code == 0, text
        return str(text).strip()

    def rest(self) -> str:
        """Its status; empty where it is gone."""
        rows = self.plane.api("GET", "/notebooks")["notebooks"]
        return next((str(row["status"]) for row in rows if row["name"] == self.name), "")

    def down(self) -> None:
        """One step towards its end."""
        status = self.rest()
        if status == "InService":
            self.stop()
        elif status in ("Stopped", "Failed"):
            self.delete()

    def link(self) -> str:
        answer = self.sagemaker.create_presigned_notebook_instance_url(NotebookInstanceName=self.name)
        return str(answer["AuthorizedUrl"])


@pytest.fixture
def book(notebook_plane: Plane, sagemaker: Any, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Book]]:
    made: list[Book] = []

    def new(name: str) -> Book:
        made.append(Book(notebook_plane, sagemaker, name))
        return made[-1]

    yield new
    # Side by side: none of them is waited for alone.
    for wanted in ("Stopped", "Failed"), ():
        for one in made:
            if eventually(lambda one=one: one.rest() not in ("Pending", "Updating"), timeout=40):  # type: ignore[misc]
                one.down()
        for one in made if wanted else ():
            eventually(lambda one=one: one.rest() in ("", "Stopped", "Failed"), timeout=40)  # type: ignore[misc]


def refused(call: Callable[..., Any], code: str = "ValidationException", **arguments: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code
    return str(error.value.response["Error"]["Message"])


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
    try:
        connection.request(
            method, f"{parts.path}?{parts.query}", headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_its_life(notebook_plane: Plane, sagemaker: Any, book: Callable[[str], Book]) -> None:
    life = book("life").create(Tags=[{"Key": "Team", "Value": "x"}])
    assert life.status == "Pending"
    assert life.row()["url"] == ""
    message = refused(life.delete)
    assert message == (
        "Status (Pending) not in ([Stopped, Failed]). Unable to transition to (Deleting) for Notebook Instance "
        "(arn:aws:sagemaker:us-east-1:123456789012:notebook-instance/life)."
    )
    sagemaker.get_waiter("notebook_instance_in_service").wait(NotebookInstanceName="life", WaiterConfig=WAIT)
    row = life.row()
    assert (row["status"], row["account"], row["image"][:15]) == ("InService", "123456789012", "oblako-test/jup")
    # The server answers at once, and to nobody without its token.
    assert get(f"{row['url']}")[0] == 403
    machine = row["machine"]
    assert life.run("cat", "/proc/1/comm") in ("docker-init", "catatonit", "init")
    assert life.run("stat", "-c", "%U %a", "/opt/oblako/token") == "ec2-user 600"
    life.run("sh", "-c", "echo kept > /home/ec2-user/SageMaker/file")
    assert life.run("cat", "/ebs/file") == "kept"
    for call, into, allowed in (
        (life.start, "Pending", "[Stopped, Failed]"),
        (life.update, "Updating", "[Stopped, Failed]"),
        (life.delete, "Deleting", "[Stopped, Failed]"),
    ):
        assert f"Status (InService) not in ({allowed}). Unable to transition to ({into})" in refused(call)
    life.stop()
    assert life.status in ("Stopping", "Stopped")
    sagemaker.get_waiter("notebook_instance_stopped").wait(NotebookInstanceName="life", WaiterConfig=WAIT)
    assert life.row()["url"] == ""
    assert "Status (Stopped) not in ([InService])" in refused(life.stop)
    assert "Status (Stopped) not in ([InService])" in refused(life.link)
    life.start().until("InService")
    again = life.row()
    assert (again["machine"], again["port"]) == (machine, row["port"])
    assert life.run("cat", "/home/ec2-user/SageMaker/file") == "kept"
    life.stop().until("Stopped").delete()
    sagemaker.get_waiter("notebook_instance_deleted").wait(NotebookInstanceName="life", WaiterConfig=WAIT)
    assert refused(life.describe) == "RecordNotFound"
    assert notebook_plane.container(machine) is None
    assert not [name for name in notebook_plane.volumes() if machine in name]


def test_a_link_opens_once(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    one = book("link").create().until("InService")
    link = one.link()
    assert link.startswith(f"{notebook_plane.endpoint}/_oblako/open/")
    # As a click in a notebook of another origin sends it.
    status, headers, body = get(link, Sec_Fetch_Site="cross-site", Origin="http://127.0.0.1:8888")
    assert status == 302
    assert headers["Location"].startswith(f"{one.row()['url']}?token=")
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert b"token" not in body
    assert get(headers["Location"])[0] == 200
    status, _, body = get(link)
    assert (status, b"used already" in body) == (403, True)
    assert get(link.rpartition("/")[0] + "/" + "x" * 43)[0] == 403
    fresh = one.link()
    assert get(fresh, "POST")[0] == 403
    assert get(fresh, Host="evil.example")[0] == 403
    token = headers["Location"].rpartition("=")[2]
    # Nobody finds the token: not in the log, the container's configuration, the APIs.
    inspected = json.dumps(one.container())
    assert token not in inspected
    assert token not in notebook_plane.log()
    assert token not in json.dumps(notebook_plane.api("GET", "/notebooks"))
    assert token not in json.dumps(notebook_plane.api("GET", "/instances"))
    one.stop().until("Stopped")
    assert b"not in service" in get(fresh)[2]
    stale = one.start().until("InService").link()
    one.stop().until("Stopped").start().until("InService")
    assert b"started again since" in get(stale)[2]


def test_the_machine_is_not_the_users(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    one = book("hidden").create(InstanceType="ml.t3.large").until("InService")
    assert notebook_plane.client().describe_instances()["Reservations"] == []
    assert notebook_plane.client().describe_volumes()["Volumes"] == []
    machine = notebook_plane.seen(one.row()["machine"])
    assert (machine["account"], machine["notebook"]) == (names.NOTEBOOK_ACCOUNT, "hidden")
    assert notebook_plane.api("GET", "/status")["counts"] == {}
    assert not [one for one in notebook_plane.api("GET", "/orphans")["orphans"] if not one["foreign"]]
    limits = one.container()["HostConfig"]
    assert (limits["NanoCpus"], limits["Memory"]) == (2_000_000_000, min(8192, notebook_plane.engine.host[1]) << 20)


def test_the_log_of_events_tells_of_it(notebook_plane: Plane, sagemaker: Any, book: Callable[[str], Book]) -> None:
    one = book("told").create().until("InService")
    one.run("touch", "/ebs/crash")
    one.stop().until("Stopped").start().until("Failed")
    sagemaker.list_notebook_instances()

    def told() -> list[str]:
        rows = notebook_plane.api("GET", "/events")["events"]
        mine = [row for row in rows if row["name"] == "told"]
        assert {(row["kind"], row["account"], row["region"]) for row in mine} == {
            ("notebook", "123456789012", "us-east-1")
        }
        return [row["what"] for row in mine]

    assert eventually(lambda: told()[-1].startswith("failed: its server ended by itself"), what="the failure is told")
    whats = [what for what in told() if not what.startswith(("failed", "tag "))]
    assert whats[0].startswith("launched (t3.medium, ")
    assert whats[1:7] == [
        "pending -> running",
        "its server answers: InService",
        "running -> stopping",
        "stopping -> stopped",
        "stopped -> pending",
        "pending -> running",
    ]
    rows = notebook_plane.api("GET", "/events")["events"]
    assert [row for row in rows if row["what"].startswith(("List", "Describe"))] == [], "who reads changes nothing"


def test_inside(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    env = json.dumps({"STAGE": "it's a test", "PLACE": "here"})
    one = book("inside").create(Tags=[{"Key": "oblako:env", "Value": env}]).until("InService")
    script = "tr '\\0' '\\n' < /proc/$(pgrep -u ec2-user -f jupyter | head -n 1)/environ"
    code, text = notebook_plane.execute(one.row()["machine"], "sh", "-c", script, user="ec2-user")
    assert code == 0, text
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    port = urlsplit(notebook_plane.endpoint).port
    assert values["AWS_ENDPOINT_URL"] == values["OBLAKO_ENDPOINT"] == f"http://host.docker.internal:{port}"
    assert (values["AWS_DEFAULT_REGION"], values["AWS_ACCESS_KEY_ID"]) == ("us-east-1", "test")
    assert (values["STAGE"], values["PLACE"], values["HOME"]) == ("it's a test", "here", "/home/ec2-user")
    assert "it's" not in json.dumps(one.container())
    assert one.run("runuser", "-u", "ec2-user", "--", "sudo", "-n", "id", "-u") == "0"
    one.stop().until("Stopped").update(RootAccess="Disabled")
    one.until("Stopped").start().until("InService")
    code, _ = notebook_plane.execute(one.row()["machine"], "runuser", "-u", "ec2-user", "--", "sudo", "-n", "id")
    assert code != 0


def test_update(notebook_plane: Plane, sagemaker: Any, book: Callable[[str], Book]) -> None:
    one = book("update").create().until("InService").stop().until("Stopped")
    before = one.describe()
    one.update(
        InstanceType="ml.m5.xlarge", VolumeSizeInGB=20, RootAccess="Disabled", PlatformIdentifier="notebook-al2-v3"
    )
    one.until("Stopped")
    found = one.describe()
    assert (found["InstanceType"], found["VolumeSizeInGB"]) == ("ml.m5.xlarge", 20)
    assert (found["RootAccess"], found["PlatformIdentifier"]) == ("Disabled", "notebook-al2-v3")
    assert found["LastModifiedTime"] > before["LastModifiedTime"]
    assert found["CreationTime"] == before["CreationTime"]
    assert "can't be made smaller" in refused(one.update, VolumeSizeInGB=10)
    assert "enum value set" in refused(one.update, InstanceType="t3.medium")
    assert "does not exist" in refused(one.update, LifecycleConfigName="nobody")
    one.update(DefaultCodeRepository="https://example.com/a.git").until("Stopped")
    assert one.describe()["DefaultCodeRepository"] == "https://example.com/a.git"
    one.update(DisassociateDefaultCodeRepository=True).until("Stopped")
    assert "DefaultCodeRepository" not in one.describe()
    one.start().until("InService")
    cpus = one.container()["HostConfig"]["NanoCpus"]
    assert cpus > 0


def encoded(text: str) -> list[dict[str, str]]:
    return [{"Content": base64.b64encode(text.encode()).decode()}]


def test_lifecycle_configuration(notebook_plane: Plane, sagemaker: Any, book: Callable[[str], Book]) -> None:
    sagemaker.create_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="hooks",
        OnCreate=encoded("id -un >> /ebs/created; echo made here"),
        OnStart=encoded("#!/bin/bash\n[[ -e /ebs/created ]] && echo $STAGE >> /ebs/started\necho started here"),
    )
    tags = [{"Key": "oblako:env", "Value": '{"STAGE": "test"}'}]
    one = book("hooked").create(LifecycleConfigName="hooks", Tags=tags).until("InService")
    assert (one.run("cat", "/ebs/created"), one.run("cat", "/ebs/started")) == ("root", "test")
    logs = notebook_plane.client("logs")
    for hook, text in (("OnCreate", "made here"), ("OnStart", "started here")):
        events = logs.get_log_events(
            logGroupName="/aws/sagemaker/NotebookInstances", logStreamName=f"hooked/LifecycleConfig{hook}"
        )["events"]
        assert [event["message"] for event in events] == [text]
    assert "it is used by" in refused(
        sagemaker.delete_notebook_instance_lifecycle_config, NotebookInstanceLifecycleConfigName="hooks"
    )
    one.stop().until("Stopped")
    sagemaker.update_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="hooks", OnStart=encoded("echo second >> /ebs/started")
    )
    one.start().until("InService")
    assert (one.run("cat", "/ebs/created"), one.run("cat", "/ebs/started")) == ("root", "test\nsecond")
    one.stop().until("Stopped").update(DisassociateLifecycleConfig=True).until("Stopped").start().until("InService")
    assert one.run("cat", "/ebs/started") == "test\nsecond"
    listed = sagemaker.list_notebook_instance_lifecycle_configs(NameContains="ook")
    assert [one["NotebookInstanceLifecycleConfigName"] for one in listed["NotebookInstanceLifecycleConfigs"]] == [
        "hooks"
    ]
    sagemaker.delete_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="hooks")
    create = sagemaker.create_notebook_instance_lifecycle_config
    assert "base64" in refused(create, NotebookInstanceLifecycleConfigName="bad", OnStart=[{"Content": "%%%"}])


def test_a_lifecycle_script_fails(notebook_plane: Plane, sagemaker: Any, book: Callable[[str], Book]) -> None:
    sagemaker.create_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="broken", OnCreate=encoded("echo the reason; exit 7")
    )
    one = book("broken").create(LifecycleConfigName="broken").until("Failed")
    reason = one.describe()["FailureReason"]
    assert "exit code 7" in reason
    assert "notebook-instance-lifecycle-config/broken' for Notebook Instance 'arn:aws:sagemaker:" in reason
    assert "CloudWatch logs" in reason
    events = notebook_plane.client("logs").get_log_events(
        logGroupName="/aws/sagemaker/NotebookInstances", logStreamName="broken/LifecycleConfigOnCreate"
    )["events"]
    assert [event["message"] for event in events] == ["the reason"]
    # Mended, it starts, and OnCreate runs, since it never has to its end.
    sagemaker.update_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="broken", OnCreate=encoded("echo mended > /ebs/mended")
    )
    one.start().until("InService")
    assert one.run("cat", "/ebs/mended") == "mended"
    assert "FailureReason" not in one.describe()


def test_the_server_crashes(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    one = book("crash").create().until("InService")
    one.run("touch", "/ebs/crash")
    one.stop().until("Stopped").start().until("Failed")
    assert "exit code 3; its last words: the last words" in one.describe()["FailureReason"]
    one.delete()


def test_an_image_that_is_not_there(book: Callable[[str], Book]) -> None:
    tags = [{"Key": "oblako:image", "Value": "oblako-test/no-such-image:1"}]
    one = book("imageless").create(Tags=tags).until("Failed")
    assert "no-such-image" in one.describe()["FailureReason"]
    one.delete()
    eventually(lambda: "RecordNotFound" in refused(one.describe))


def test_an_image_without_jupyter(notebook_plane: Plane, base_image: str, book: Callable[[str], Book]) -> None:
    one = book("plain").create(Tags=[{"Key": "oblako:image", "Value": base_image}]).until("Failed")
    assert "no jupyter" in one.describe()["FailureReason"]


def test_its_container_is_removed_by_hand(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    one = book("lost").create().until("InService")
    one.run("sh", "-c", "echo kept > /ebs/file")
    notebook_plane.engine.api.remove_container(one.row()["container"], force=True)
    one.until("Failed")
    assert "removed by hand" in one.describe()["FailureReason"]
    one.start().until("InService")
    assert one.run("cat", "/ebs/file") == "kept"


def test_code_repositories(sagemaker: Any, book: Callable[[str], Book]) -> None:
    made = sagemaker.create_code_repository(
        CodeRepositoryName="named", GitConfig={"RepositoryUrl": "https://example.com/named.git", "Branch": "dev"}
    )
    assert made["CodeRepositoryArn"].endswith(":code-repository/named")
    assert sagemaker.describe_code_repository(CodeRepositoryName="named")["GitConfig"]["Branch"] == "dev"
    listed = sagemaker.list_code_repositories(NameContains="name")["CodeRepositorySummaryList"]
    assert [one["CodeRepositoryName"] for one in listed] == ["named"]
    again: Any = {"CodeRepositoryName": "named", "GitConfig": {"RepositoryUrl": "https://e.com/x"}}
    assert "already exists" in refused(sagemaker.create_code_repository, **again)
    one = book("code").create(
        DefaultCodeRepository="https://example.com/first.git", AdditionalCodeRepositories=["named"]
    )
    one.until("InService")
    work = "/home/ec2-user/SageMaker"
    assert one.run("cat", f"{work}/first/README").split() == ["https://example.com/first.git", "ec2-user"]
    assert one.run("cat", f"{work}/named/README").split() == ["https://example.com/named.git", "dev", "ec2-user"]
    assert "/lab/tree/first?token=" in get(one.link())[1]["Location"]
    assert "does not exist" in refused(book("none").create, DefaultCodeRepository="unheard-of")
    broken = book("unclonable").create(DefaultCodeRepository="https://example.com/broken.git").until("Failed")
    assert "broken.git' not found" in broken.describe()["FailureReason"]
    sagemaker.delete_code_repository(CodeRepositoryName="named")
    assert "Cannot find" in refused(sagemaker.describe_code_repository, CodeRepositoryName="named")


def test_list(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    client = notebook_plane.client("sagemaker", "eu-west-1")
    simulated = [{"Key": "oblako:backed", "Value": "false"}]
    common = {"InstanceType": "ml.t3.medium", "RoleArn": ROLE, "Tags": simulated}
    client.create_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="of-list")
    begun = datetime.datetime.now(datetime.timezone.utc)
    client.create_notebook_instance(NotebookInstanceName="b-one", LifecycleConfigName="of-list", **common)
    client.create_notebook_instance(
        NotebookInstanceName="a-two", DefaultCodeRepository="https://example.com/zoo.git", **common
    )
    client.create_notebook_instance(
        NotebookInstanceName="c-one", AdditionalCodeRepositories=["https://example.com/add.git"], **common
    )
    client.stop_notebook_instance(NotebookInstanceName="c-one")

    def found(**filters: Any) -> list[str]:
        rows = client.list_notebook_instances(**filters)["NotebookInstances"]
        return [row["NotebookInstanceName"] for row in rows]

    eventually(lambda: found(StatusEquals="Stopped") == ["c-one"])
    assert found() == ["a-two", "b-one", "c-one"]
    assert found(SortOrder="Descending") == ["c-one", "b-one", "a-two"]
    assert found(SortBy="CreationTime") == ["b-one", "a-two", "c-one"]
    assert found(SortBy="Status")[-1] == "c-one"
    assert found(NameContains="one") == ["b-one", "c-one"]
    assert found(StatusEquals="InService") == ["a-two", "b-one"]
    assert found(NotebookInstanceLifecycleConfigNameContains="list") == ["b-one"]
    assert found(DefaultCodeRepositoryContains="zoo") == ["a-two"]
    assert found(AdditionalCodeRepositoryEquals="https://example.com/add.git") == ["c-one"]
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    assert found(CreationTimeAfter=begun, CreationTimeBefore=later) == ["a-two", "b-one", "c-one"]
    assert found(CreationTimeBefore=begun) == found(LastModifiedTimeAfter=later) == []
    pages = client.get_paginator("list_notebook_instances").paginate(PaginationConfig={"PageSize": 2})
    assert [[row["NotebookInstanceName"] for row in page["NotebookInstances"]] for page in pages] == [
        ["a-two", "b-one"],
        ["c-one"],
    ]
    assert "enum value set" in refused(client.list_notebook_instances, StatusEquals="Sleeping")
    assert "simulated" in refused(client.create_presigned_notebook_instance_url, NotebookInstanceName="a-two")
    for name in ("a-two", "b-one"):
        client.stop_notebook_instance(NotebookInstanceName=name)
    eventually(lambda: len(found(StatusEquals="Stopped")) == 3)
    for name in found():
        client.delete_notebook_instance(NotebookInstanceName=name)
    eventually(lambda: found() == [])


def test_tags(sagemaker: Any, notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    one = book("tagged").create(Tags=[{"Key": "oblako:backed", "Value": "false"}, {"Key": "a", "Value": "1"}])
    arn = one.describe()["NotebookInstanceArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}])
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"oblako:backed": "false", "a": "2", "b": "3"}
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert one.row()["tags"] == {"oblako:backed": "false", "b": "3"}
    assert refused(sagemaker.list_tags, ResourceArn=arn + "x") == "RecordNotFound"
    for key, value, says in (
        ("oblako:publish", "no-port", "is not a port"),
        ("oblako:env", "[1]", "no JSON object"),
        ("oblako:lifetime", "soon", "whole seconds"),
        ("oblako:idle", "0", "whole seconds"),
        ("aws:x", "1", "reserved"),
    ):
        assert says in refused(book("never").create, Tags=[{"Key": key, "Value": value}])
    assert refused(book("never").describe) == "RecordNotFound"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"NotebookInstanceName": "a_b"}, "Value 'a_b' at 'notebookInstanceName' failed to satisfy constraint: Member"),
        ({"NotebookInstanceName": "x" * 64}, "length less than or equal to 63"),
        ({"InstanceType": "ml.huge"}, "Value 'ml.huge' at 'instanceType' failed to satisfy constraint: Member must"),
        ({"RoleArn": "arn:aws:iam::1:user/someone"}, "at 'roleArn' failed to satisfy constraint"),
        ({"VolumeSizeInGB": 16385}, "Invalid range for parameter VolumeSizeInGB"),
        ({"RootAccess": "Maybe"}, "at 'rootAccess' failed"),
        ({"DirectInternetAccess": "Disabled"}, "SubnetId is required"),
        ({"SecurityGroupIds": ["sg-1"]}, "SubnetId is required"),
        ({"SubnetId": "subnet-none"}, "'subnet-none' does not exist"),
        ({"LifecycleConfigName": "none"}, "Lifecycle Config does not exist"),
        ({"DefaultCodeRepository": "ftp://x/y"}, "at 'defaultCodeRepository' failed"),
        ({"AdditionalCodeRepositories": ["https://a/b"] * 4}, "length less than or equal to 3"),
    ],
)
def test_what_is_refused(sagemaker: Any, notebook_plane: Plane, arguments: dict[str, Any], says: str) -> None:
    given = {"NotebookInstanceName": "refused", "InstanceType": "ml.t3.medium", "RoleArn": ROLE, **arguments}
    assert says in refused(sagemaker.create_notebook_instance, **given)
    names_there = [row["name"] for row in notebook_plane.api("GET", "/notebooks")["notebooks"]]
    assert "refused" not in names_there
    assert all(row["notebook"] != "refused" for row in notebook_plane.api("GET", "/instances")["instances"])


def test_twice_the_same_name(book: Callable[[str], Book]) -> None:
    one = book("twin").create(Tags=[{"Key": "oblako:backed", "Value": "false"}])
    assert "Cannot create a duplicate Notebook Instance" in refused(one.create)


def test_subnet(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    ec2 = notebook_plane.client()
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.create_security_group(GroupName="books", Description="x")["GroupId"]
    one = book("netted").create(
        SubnetId=subnet, SecurityGroupIds=[group], Tags=[{"Key": "oblako:backed", "Value": "false"}]
    )
    found = one.until("InService").describe()
    assert (found["SubnetId"], found["SecurityGroups"]) == (subnet, [group])
    (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[found["NetworkInterfaceId"]])[
        "NetworkInterfaces"
    ]
    assert interface["Description"].startswith("[Do not delete]")
    one.stop().until("Stopped").delete()
    eventually(lambda: "RecordNotFound" in refused(one.describe))
    assert (
        ec2.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet]}])["NetworkInterfaces"] == []
    )


def test_one_sees_the_others(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    """From inside: the notebook instances, and not their machines."""
    one = book("seeing").create().until("InService")
    script = (
        "import os, json, urllib.request as r; "
        "q = r.Request(os.environ['U'] + '/_oblako/v1/notebooks', headers={'X-Oblako': '1'}); "
        "print(r.urlopen(q).read().decode())"
    )
    url = f"http://host.docker.internal:{urlsplit(notebook_plane.endpoint).port}"
    rows = json.loads(one.run("env", f"U={url}", "python3", "-c", script))["notebooks"]
    assert [(row["name"], row["status"], row["machine"], row["container"]) for row in rows] == [
        ("seeing", "InService", "", "")
    ]


def test_no_internet(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    subnet = notebook_plane.client().describe_subnets()["Subnets"][0]["SubnetId"]
    one = book("closed").create(SubnetId=subnet, DirectInternetAccess="Disabled").until("InService")
    container = one.container()
    assert list(container["NetworkSettings"]["Networks"]) == [names.NO_INTERNET_NETWORK]
    network = notebook_plane.engine.api.inspect_network(names.NO_INTERNET_NETWORK)
    assert network["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    # The endpoint is reached all the same, and so is the published port.
    hello = "import os, urllib.request as r; print(r.urlopen(os.environ['U'] + '/_oblako/v1/hello').status)"
    url = f"http://host.docker.internal:{urlsplit(notebook_plane.endpoint).port}"
    call = f'U={url} python3 -c "{hello}" 2>&1 | tail -n 1'
    assert "403" in one.run("sh", "-c", call)  # refused for the header that it lacks: it came through
    assert get(one.link())[0] == 302


def test_lifetime(book: Callable[[str], Book]) -> None:
    one = book("short").create(Tags=[{"Key": "oblako:lifetime", "Value": "3"}]).until("InService")
    one.until("Stopped", timeout=20)


def test_idle(book: Callable[[str], Book]) -> None:
    one = book("idle").create(Tags=[{"Key": "oblako:idle", "Value": "4"}]).until("InService")
    one.run("touch", "/home/ec2-user/SageMaker/busy")
    with pytest.raises(AssertionError, match="not within"):
        one.until("Stopped", timeout=7)
    one.run("rm", "/home/ec2-user/SageMaker/busy")
    one.until("Stopped", timeout=20)


def test_over_a_restart(notebook_plane: Plane, book: Callable[[str], Book]) -> None:
    one = book("durable").create().until("InService")
    before = one.row()
    location = get(one.link())[1]["Location"]
    notebook_plane.kill()
    notebook_plane.start()
    one.sagemaker = notebook_plane.client("sagemaker")
    assert one.until("InService").row() == before
    assert get(one.link())[1]["Location"] == location
