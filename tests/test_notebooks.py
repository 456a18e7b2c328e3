"""Ec2.notebooks on a SageMaker in memory: what is asked of the API, in which order, and what is said of failures."""

from __future__ import annotations

import base64
import csv
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from oblako_magic.errors import AwsError, OblakoError, TargetError, WaitError
from oblako_magic.notebooks import Notebooks
from oblako_magic.notebooks.handles import fill
from tests.support.fake_sagemaker import FakeSageMaker


@pytest.fixture
def sagemaker() -> FakeSageMaker:
    return FakeSageMaker()


@pytest.fixture
def notebooks(sagemaker: Any) -> Notebooks:
    return Notebooks(sagemaker)


class TestRun:
    def test_one(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        seen: list[str] = []
        (lab,) = notebooks.run("lab", on_change=lambda them: seen.append(f"{them[0].status} {them[0].progress}"))
        assert (lab.name, lab.status, lab.type, lab.volume_size) == ("lab", "InService", "ml.t3.medium", 5)
        assert lab.url == "http://127.0.0.1:20000/lab"
        assert seen == ["Pending starting JupyterLab", "InService "]
        assert sagemaker.requests["lab"]["RoleArn"].startswith("arn:aws:iam::123456789012:role/service-role/")
        assert "Tags" not in sagemaker.requests["lab"]

    def test_what_has_no_field_travels_as_tags(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        (lab,) = notebooks.run(
            "lab", image="quay.io/jupyter/base-notebook", publish=("8501", "9000:9001"), env={"A": "1", "B": 'q"'},
            lifetime=3600, idle=90.4, tags={"Team": "x"}, git=["https://example.com/a.git", "https://example.com/b.git"],
            root=False, internet=False, subnet="subnet-1",
        )  # fmt: skip
        request = sagemaker.requests["lab"]
        tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        assert json.loads(tags.pop("oblako:env")) == {"A": "1", "B": 'q"'}
        assert tags == {
            "Team": "x", "oblako:image": "quay.io/jupyter/base-notebook", "oblako:publish": "8501,9000:9001",
            "oblako:lifetime": "3600", "oblako:idle": "90",
        }  # fmt: skip
        assert request["DefaultCodeRepository"] == "https://example.com/a.git"
        assert request["AdditionalCodeRepositories"] == ["https://example.com/b.git"]
        assert (request["RootAccess"], request["DirectInternetAccess"]) == ("Disabled", "Disabled")
        assert [port.url for port in lab.ports] == ["http://127.0.0.1:20500"]

    def test_a_class(self, notebooks: Notebooks) -> None:
        made = notebooks.run("class", count=20)
        assert made.names == [f"class-{number:02}" for number in range(1, 21)]
        assert set(made.statuses) == {"InService"}
        assert notebooks.run(["anna", "ben"]).names == ["anna", "ben"]
        assert notebooks.run("one", count=1).names == ["one-01"]

    def test_one_of_a_class_fails(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.broken["class-2"] = "the lifecycle script ended with exit code 3."
        with pytest.raises(WaitError) as failed:
            notebooks.run(["class-1", "class-2", "class-3"])
        assert str(failed.value) == (
            "class-2 is Failed, not InService: the lifecycle script ended with exit code 3; "
            "%ec2 notebook terminate class-2 removes it."
        )
        assert [notebook.status for notebook in failed.value.instances] == ["InService", "Failed", "InService"]

    def test_what_none_may_have_makes_nothing(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.refuse["create_notebook_instance"] = AwsError("ValidationException: no (fake)", "ValidationException")
        with pytest.raises(AwsError):
            notebooks.run("class", count=3, lifecycle="#!/bin/sh\ntrue\n")
        assert [name for operation, name in sagemaker.calls if operation == "create_notebook_instance"] == ["class-01"]
        assert sagemaker.configs == {}

    def test_some_can_not_be_made(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        refusal = AwsError("ResourceLimitExceeded: full. (fake)", "ResourceLimitExceeded")
        sagemaker.refuse["create_notebook_instance", "class-03"] = refusal
        with pytest.raises(
            WaitError, match="3 of 4 notebooks were made, without class-03: ResourceLimitExceeded"
        ) as no:
            notebooks.run("class", count=4)
        assert [notebook.name for notebook in no.value.instances] == ["class-01", "class-02", "class-04"]

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"name": "my_lab"}, "'my_lab' is no name"),
            ({"name": "-lab"}, "is no name"),
            ({"name": "x" * 64}, "is no name"),
            ({"name": []}, "needs a name"),
            ({"name": ["a", "b", "a"]}, "the name a is given twice"),
            ({"name": ["a", "b"], "count": 2}, "a count numbers one name"),
            ({"name": "a", "count": 0}, "from 1 to 100"),
            ({"name": "a", "instance_type": "t3.medium"}, "begin with ml."),
            ({"name": "a", "publish": ["x"]}, "x"),
            ({"name": "a", "count": 2, "publish": ["80:80"]}, "can't share a host port"),
            ({"name": "a", "idle": 0}, "no time to live"),
            ({"name": "a", "git": ["https://e/"] * 5}, "4 repositories at most"),
            ({"name": "a", "lifecycle": Path("no/such/file")}, "can't be read: No such file"),
            ({"name": "a", "lifecycle": "#!/bin/sh\n" + "#" * 13000}, "may have 12288"),
            ({"name": ["new", "there"]}, "there is there already; %ec2 notebook open there opens it"),
        ],
    )
    def test_bad_input(
        self, notebooks: Notebooks, sagemaker: FakeSageMaker, arguments: dict[str, Any], says: str
    ) -> None:
        sagemaker.put("there")
        with pytest.raises(OblakoError) as refused:
            notebooks.run(**arguments)
        assert says in str(refused.value)
        assert str(refused.value).endswith(".")
        assert [*sagemaker.books] == ["there"]
        assert sagemaker.configs == {}

    def test_time_runs_out(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.stuck.add("lab")
        with pytest.raises(
            WaitError, match=r"not InService within 0\.1 s: lab is Pending: starting JupyterLab; it goes"
        ):
            notebooks.run("lab", timeout=0.1)
        assert notebooks.get("lab").status == "Pending"


class TestScript:
    def test_a_script_becomes_a_configuration_and_goes_with_its_last_notebook(
        self, notebooks: Notebooks, sagemaker: FakeSageMaker, tmp_path: Path
    ) -> None:
        script = tmp_path / "start.sh"
        script.write_text("#!/bin/sh\necho héllo\n", encoding="utf-8")
        (first,) = notebooks.run("first", lifecycle=script)
        (second,) = notebooks.run("second", lifecycle=script.read_text(encoding="utf-8"))
        [(name, config)] = sagemaker.configs.items()
        assert base64.b64decode(config["OnStart"][0]["Content"]).decode() == "#!/bin/sh\necho héllo\n"
        assert first.lifecycle_config == second.lifecycle_config == name
        first.delete()
        assert name in sagemaker.configs, "the second one uses it"
        second.delete()
        assert sagemaker.configs == {}

    def test_a_configuration_of_the_users_own_stays(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.configs["mine"] = {}
        (lab,) = notebooks.run("lab", lifecycle="mine")
        assert sagemaker.requests["lab"]["LifecycleConfigName"] == "mine"
        lab.delete()
        assert "mine" in sagemaker.configs


class TestChange:
    def test_stop_start_and_delete(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.put("lab")
        lab = notebooks.get("lab")
        assert lab.stop().status == "Stopped"
        assert lab.url == ""
        assert lab.stop().status == "Stopped", "already done is success"
        assert lab.start().status == "InService"
        assert lab.delete().status == "Deleted"
        assert sagemaker.books == {}
        verbs = [operation for operation, _ in sagemaker.calls if operation.endswith("_notebook_instance")]
        assert [verb.split("_")[0] for verb in verbs] == ["stop", "start", "stop", "delete"]

    @pytest.mark.parametrize("status", ["Pending", "InService", "Stopping", "Stopped", "Failed", "Deleting"])
    def test_terminate_from_every_status(self, notebooks: Notebooks, sagemaker: FakeSageMaker, status: str) -> None:
        sagemaker.put("lab", status)
        notebooks.change("terminate", notebooks.find(["lab"]))
        assert sagemaker.books == {}

    def test_terminate_one_that_fails_while_it_is_pending(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.put("lab", "Pending")
        sagemaker.broken["lab"] = "no"
        notebooks.get("lab").delete()
        assert sagemaker.books == {}

    def test_a_refusal_is_said(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.put("lab", "Stopped")
        sagemaker.refuse["delete_notebook_instance"] = AwsError("InternalFailure: disk (fake)", "InternalFailure")
        with pytest.raises(AwsError, match="disk"):
            notebooks.get("lab").delete()

    def test_one_that_vanishes_meanwhile(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.put("lab", "Pending")
        lab = notebooks.get("lab")
        sagemaker.books.clear()
        with pytest.raises(WaitError, match="lab is Deleted, not InService; %ec2 notebook ls"):
            lab.wait()
        assert lab.delete().status == "Deleted"

    def test_update(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        (lab,) = notebooks.run("lab", lifecycle="#!/bin/sh\n", git="https://example.com/a")
        with pytest.raises(
            OblakoError, match="lab is InService and can be changed when it is stopped; %ec2 notebook st"
        ):
            lab.update(instance_type="ml.m5.xlarge")
        lab.stop()
        assert lab.update(instance_type="ml.m5.xlarge", lifecycle="", git="").type == "ml.m5.xlarge"
        assert lab.status == "Stopped"
        assert sagemaker.requests["lab"] == {
            "InstanceType": "ml.m5.xlarge",
            "DisassociateLifecycleConfig": True,
            "DisassociateDefaultCodeRepository": True,
            "DisassociateAdditionalCodeRepositories": True,
        }
        assert sagemaker.configs == {}, "nobody uses it any more"
        with pytest.raises(OblakoError, match="nothing to change"):
            lab.update()


class TestFind:
    def test_names_patterns_and_the_last(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        for name in ("class-01", "class-02", "lab"):
            sagemaker.put(name)
        assert notebooks.find(["class-*", "class-01"]).names == ["class-01", "class-02"]
        assert notebooks.find(["@last"]).names == ["lab"]
        assert notebooks.cached() == ["class-01", "class-02", "lab"]
        for target, says in (
            ("lap", "did you mean lab?"),
            ("zzz*", "there are class-01, class-02, lab."),
        ):
            with pytest.raises(TargetError) as error:
                notebooks.find([target])
            assert says in str(error.value)
        with pytest.raises(TargetError, match="means 2 notebooks"):
            notebooks.get("class-*")

    def test_none_at_all(self, notebooks: Notebooks) -> None:
        with pytest.raises(TargetError, match="there is none yet, %ec2 notebook run NAME makes one"):
            notebooks.find(["@last"])


class TestOpen:
    def test_each_link_is_a_new_one(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.put("lab")
        lab = notebooks.get("lab")
        assert lab.open_url() != lab.open_url()

    @pytest.mark.parametrize(
        ("status", "says"),
        [
            ("Stopped", "lab is Stopped: %ec2 notebook start lab starts it."),
            ("Pending", "lab is Pending: it opens as soon as JupyterLab answers."),
            ("Failed", "lab is Failed: no memory; %ec2 notebook terminate lab removes it."),
        ],
    )
    def test_one_that_is_not_in_service(
        self, notebooks: Notebooks, sagemaker: FakeSageMaker, status: str, says: str
    ) -> None:
        sagemaker.put("lab", status, failure_reason="no memory." if status == "Failed" else "")
        with pytest.raises(OblakoError) as error:
            notebooks.get("lab").open_url()
        assert str(error.value) == says

    def test_no_link_in_what_is_printed(self, notebooks: Notebooks, sagemaker: FakeSageMaker) -> None:
        sagemaker.put("lab")
        lab = notebooks.get("lab")
        assert repr(lab) == "<Notebook lab InService ml.t3.medium http://127.0.0.1:20000/lab>"
        assert str(lab) == "lab"
        assert "open/" not in repr(lab.embed())


class TestCsv:
    def test_a_file_that_only_its_owner_reads(
        self, notebooks: Notebooks, sagemaker: FakeSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            Notebooks, "login_url", lambda self, notebook: f"{notebook.url}?token=secret-{notebook.name}"
        )
        sagemaker.put("a")
        sagemaker.put("b", "Stopped")
        path = tmp_path / "class.csv"
        path.write_text("old")
        path.chmod(0o644)
        text = notebooks.all().to_csv(path)
        assert path.read_bytes().decode() == text
        if os.name == "posix":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [*tmp_path.iterdir()] == [path]
        first, second = csv.DictReader(text.splitlines())
        assert first == {
            "name": "a", "url": "http://127.0.0.1:20000/lab", "status": "InService", "type": "ml.t3.medium",
            "machine": "i-00000000000000000", "login_url": "http://127.0.0.1:20000/lab?token=secret-a",
        }  # fmt: skip
        assert (second["status"], second["login_url"]) == ("Stopped", "")
        assert "login_url" not in notebooks.all().to_csv(login=False)

    def test_a_place_that_can_not_be_written(self, notebooks: Notebooks, tmp_path: Path) -> None:
        with pytest.raises(OSError):
            notebooks.all().to_csv(tmp_path / "no" / "class.csv")
        with pytest.raises(OSError):
            notebooks.all().to_csv(tmp_path)
        assert [*tmp_path.iterdir()] == []


def test_times_as_json_has_them(sagemaker: FakeSageMaker, notebooks: Notebooks) -> None:
    sagemaker.put("lab")
    lab = notebooks.get("lab")
    for value, year in ((1_790_000_000, 2026), ("2026-09-21T12:00:00Z", 2026), ("2026-09-21T12:00:00", 2026)):
        fill(lab, {**sagemaker.books["lab"], "created": value})
        assert lab.created is not None
        assert (lab.created.year, lab.created.utcoffset()) == (year, lab.created.utcoffset())
        assert lab.created.tzinfo is not None
    fill(lab, {**sagemaker.books["lab"], "created": None})
    assert lab.created is None
