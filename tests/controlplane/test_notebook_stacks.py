"""Notebook instances in CloudFormation, and what becomes of them when moto's state is lost or reset."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from oblako_magic.engine import Engine
from tests.controlplane.planes import Plane
from tests.controlplane.test_notebook_instances import ROLE, Book, encoded, refused
from tests.support import fake_jupyter
from tests.support.plane import eventually


@pytest.fixture(scope="module")
def image(engine_backend: Engine, base_image: str, run_label: str) -> Iterator[str]:
    name = fake_jupyter.build(engine_backend.api, base_image, f"{run_label}-stacks", run_label)
    yield name
    engine_backend.api.remove_image(name, force=True)


@pytest.fixture(scope="module")
def plane(engine_backend: Engine, new_plane: Callable[..., Any], image: str) -> Iterator[Plane]:
    with ExitStack() as stack:
        more = {"OBLAKO_NOTEBOOK_IMAGE": image, "OBLAKO_ALLOW_RESET": "on"}
        yield stack.enter_context(new_plane(engine_backend, **more))


def template(**properties: Any) -> str:
    book = {"InstanceType": "ml.t3.medium", "RoleArn": ROLE, **properties}
    return json.dumps(
        {
            "Resources": {
                "Config": {
                    "Type": "AWS::SageMaker::NotebookInstanceLifecycleConfig",
                    "Properties": {
                        "NotebookInstanceLifecycleConfigName": "of-stack",
                        "OnStart": encoded("echo $STAGE started >> /ebs/started"),
                    },
                },
                "Book": {"Type": "AWS::SageMaker::NotebookInstance", "Properties": book},
            },
            "Outputs": {
                "Arn": {"Value": {"Ref": "Book"}},
                "Name": {"Value": {"Fn::GetAtt": ["Book", "NotebookInstanceName"]}},
            },
        }
    )


def stack_status(client: Any, name: str) -> str:
    return str(client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])


def test_a_stack(plane: Plane) -> None:
    formation, sagemaker = plane.client("cloudformation"), plane.client("sagemaker")
    properties = {
        "NotebookInstanceName": "stacked",
        "LifecycleConfigName": {"Fn::GetAtt": ["Config", "NotebookInstanceLifecycleConfigName"]},
        "VolumeSizeInGB": "7",
        "RootAccess": "Disabled",
        "Tags": [{"Key": "a", "Value": "1"}, {"Key": "oblako:env", "Value": '{"STAGE": "stack"}'}],
    }
    formation.create_stack(StackName="books", TemplateBody=template(**properties))
    assert stack_status(formation, "books") == "CREATE_IN_PROGRESS"
    eventually(lambda: stack_status(formation, "books") == "CREATE_COMPLETE", timeout=40)
    book = Book(plane, sagemaker, "stacked")
    found = book.describe()
    assert (found["NotebookInstanceStatus"], found["VolumeSizeInGB"]) == ("InService", 7)
    assert (found["RootAccess"], found["NotebookInstanceLifecycleConfigName"]) == ("Disabled", "of-stack")
    outputs = formation.describe_stacks(StackName="books")["Stacks"][0]["Outputs"]
    values = {output["OutputKey"]: output["OutputValue"] for output in outputs}
    assert values == {"Arn": found["NotebookInstanceArn"], "Name": "stacked"}
    assert book.run("cat", "/ebs/started") == "stack started"
    machine = book.row()["machine"]
    # In place: stopped, changed, started again; the stack waits for it.
    changed = {**properties, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 9, "RootAccess": "Enabled"}
    formation.update_stack(StackName="books", TemplateBody=template(**changed))
    assert stack_status(formation, "books") == "UPDATE_IN_PROGRESS"
    eventually(lambda: stack_status(formation, "books") == "UPDATE_COMPLETE", timeout=40)
    found = book.describe()
    assert (found["NotebookInstanceStatus"], found["InstanceType"]) == ("InService", "ml.m5.xlarge")
    assert (found["VolumeSizeInGB"], found["RootAccess"]) == (9, "Enabled")
    assert book.row()["machine"] == machine
    assert book.run("cat", "/ebs/started").count("stack started") == 2
    # A change of tags alone stops nothing.
    formation.update_stack(
        StackName="books", TemplateBody=template(**{**changed, "Tags": [{"Key": "b", "Value": "2"}]})
    )
    assert stack_status(formation, "books") == "UPDATE_COMPLETE"
    assert book.row()["tags"]["b"] == "2"
    assert book.status == "InService"
    # Another name is another notebook instance; the old one goes when that is in service.
    formation.update_stack(StackName="books", TemplateBody=template(**{**changed, "NotebookInstanceName": "renamed"}))
    eventually(lambda: stack_status(formation, "books") == "UPDATE_COMPLETE", timeout=40)
    names = [row["NotebookInstanceName"] for row in sagemaker.list_notebook_instances()["NotebookInstances"]]
    assert names == ["renamed"]
    eventually(lambda: plane.container(machine) is None)
    formation.delete_stack(StackName="books")
    eventually(lambda: plane.api("GET", "/notebooks")["notebooks"] == [])
    eventually(lambda: plane.containers() == [])
    assert sagemaker.list_notebook_instance_lifecycle_configs()["NotebookInstanceLifecycleConfigs"] == []


def test_a_stack_that_fails(plane: Plane) -> None:
    formation = plane.client("cloudformation")
    tags = [{"Key": "oblako:image", "Value": "oblako-test/no-such-image:2"}]
    formation.create_stack(StackName="failing", TemplateBody=template(Tags=tags))
    eventually(lambda: stack_status(formation, "failing") == "ROLLBACK_COMPLETE", timeout=40)
    reason = formation.describe_stacks(StackName="failing")["Stacks"][0]["StackStatusReason"]
    assert "no-such-image" in reason
    formation.delete_stack(StackName="failing")
    assert plane.api("GET", "/notebooks")["notebooks"] == []


def test_an_update_that_fails_is_taken_back(plane: Plane) -> None:
    formation, sagemaker = plane.client("cloudformation"), plane.client("sagemaker")
    sagemaker.create_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="fails", OnStart=encoded("exit 7")
    )
    formation.create_stack(StackName="back", TemplateBody=template(NotebookInstanceName="back"))
    eventually(lambda: stack_status(formation, "back") == "CREATE_COMPLETE", timeout=40)
    book = Book(plane, sagemaker, "back")
    book.run("sh", "-c", "echo kept > /ebs/file")
    body = template(NotebookInstanceName="back", InstanceType="ml.m5.xlarge", LifecycleConfigName="fails")
    formation.update_stack(StackName="back", TemplateBody=body)
    eventually(lambda: stack_status(formation, "back") == "UPDATE_ROLLBACK_COMPLETE", timeout=60)
    assert "exit code 7" in formation.describe_stacks(StackName="back")["Stacks"][0]["StackStatusReason"]
    found = book.describe()
    assert (found["NotebookInstanceStatus"], found["InstanceType"]) == ("InService", "ml.t3.medium")
    assert "NotebookInstanceLifecycleConfigName" not in found
    assert book.run("cat", "/ebs/file") == "kept"
    # A replacement that can't be had leaves the old one.
    tags = [{"Key": "oblako:image", "Value": "oblako-test/no-such-image:2"}]
    formation.update_stack(StackName="back", TemplateBody=template(NotebookInstanceName="forward", Tags=tags))
    eventually(lambda: "IN_PROGRESS" not in stack_status(formation, "back"), timeout=60)
    assert stack_status(formation, "back") == "UPDATE_ROLLBACK_COMPLETE"
    names = [row["NotebookInstanceName"] for row in sagemaker.list_notebook_instances()["NotebookInstances"]]
    assert names == ["back"]
    assert book.status == "InService"
    formation.delete_stack(StackName="back")
    sagemaker.delete_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="fails")
    eventually(lambda: plane.containers() == [])


def test_the_state_file_is_lost(plane: Plane) -> None:
    book = Book(plane, plane.client("sagemaker"), "rebuilt")
    tags = [{"Key": "Team", "Value": "x"}, {"Key": "oblako:lifetime", "Value": "86400"}]
    book.create(VolumeSizeInGB=8, RootAccess="Disabled", Tags=tags).until("InService")
    before, link = book.row(), book.link()
    plane.stop()
    plane.settings.state_file.unlink()
    plane.start()
    book.sagemaker = plane.client("sagemaker")
    book.until("InService")
    after = book.row()
    assert {key: after[key] for key in before} == before
    assert book.describe()["RootAccess"] == "Disabled"
    assert book.link() != link
    book.stop().until("Stopped")
    log = plane.settings.log_file.read_text()
    assert log.count("notebook instance rebuilt is in service") == 2, "at its start and when it was rebuilt"
    book.start().until("InService")


def test_reset(plane: Plane) -> None:
    book = Book(plane, plane.client("sagemaker"), "reset").create().until("InService")
    machine = book.row()["machine"]
    request = urllib.request.Request(f"{plane.endpoint}/moto-api/reset", method="POST")
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200
    assert plane.api("GET", "/notebooks")["notebooks"] == []
    assert plane.container(machine) is None
    book.create().until("InService").stop().until("Stopped").delete()


def test_no_room(engine_backend: Engine, new_plane: Callable[..., Any]) -> None:
    with new_plane(engine_backend, OBLAKO_NOTEBOOK_IMAGE="none", OBLAKO_EC2_CAPACITY="3:16384") as plane:
        client = plane.client("sagemaker")
        Book(plane, client, "first").create()
        assert "capacity" in refused(Book(plane, client, "second").create, "ResourceLimitExceeded")
        assert [row["name"] for row in plane.api("GET", "/notebooks")["notebooks"]] == ["first"]
        assert [row["notebook"] for row in plane.api("GET", "/instances")["instances"]] == ["first"]
