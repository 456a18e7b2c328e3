"""``%ec2 notebook ...`` and ``oblako notebook ...`` in a real shell, on a SageMaker in memory."""

from __future__ import annotations

import base64
import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from oblako_magic.errors import OblakoError
from oblako_magic.frontends import cli, cli_commands
from oblako_magic.notebooks import Notebook, NotebookList, Notebooks
from oblako_magic.notebooks.handles import Embedded, NotebookLink
from tests.frontends.fake_ec2 import FakeEc2
from tests.support.fake_sagemaker import FakeSageMaker


@pytest.fixture
def sagemaker(cloud: FakeEc2) -> FakeSageMaker:
    return cloud.sagemaker


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notebooks, "login_url", lambda self, notebook: f"{notebook.url}?token=secret")


@pytest.fixture
def shown(shell: Any) -> Any:
    """What a notebook stores of a value: its representations by their types."""
    return lambda value: shell.display_formatter.format(value)[0]


def links(page: str) -> list[str]:
    return re.findall(r'<a href="([^"]*)" target="_blank" rel="noopener noreferrer"', page)


class TestRun:
    def test_the_handle_shows_a_link_that_holds_no_token(self, cell: Any, shown: Any) -> None:
        ran = cell("lab = %ec2 notebook run lab --type ml.m5.large --volume-size 7\nlab")
        assert isinstance(ran.value, Notebook)
        assert (ran.value.type, ran.value.volume_size) == ("ml.m5.large", 7)
        data = shown(ran.value)
        page, text = data["text/html"], data["text/plain"]
        [link] = links(page)
        assert link.startswith("http://127.0.0.1:41234/_oblako/open/")
        assert "within 5 minutes" in page
        assert "%ec2 notebook open lab" in page
        assert "http://127.0.0.1:20000/lab" in text
        assert "/_oblako/" not in text
        assert "token" not in page + text

    def test_each_look_has_a_new_link(self, cell: Any, shown: Any) -> None:
        lab = cell("%ec2 notebook run lab").value
        first, second = links(shown(lab)["text/html"]), links(shown(lab)["text/html"])
        assert len(first) == len(second) == 1
        assert first != second

    def test_options(self, cell: Any, sagemaker: FakeSageMaker) -> None:
        ran = cell(
            "%ec2 notebook run lab --image my/lab:1 --git https://example.com/a --git https://example.com/b "
            "--publish 8501 --env A=1 --env B=2 --lifetime 8h --idle 90m --lifecycle mine"
        )
        assert ran.error is None
        request = sagemaker.requests["lab"]
        tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        assert tags == {
            "oblako:image": "my/lab:1", "oblako:publish": "8501", "oblako:env": '{"A":"1","B":"2"}',
            "oblako:lifetime": "28800", "oblako:idle": "5400",
        }  # fmt: skip
        assert request["LifecycleConfigName"] == "mine"
        assert request["AdditionalCodeRepositories"] == ["https://example.com/b"]

    def test_the_cell_is_the_script(self, cell: Any, sagemaker: FakeSageMaker) -> None:
        assert cell("%%ec2 notebook run lab\npip install seaborn").error is None
        [config] = sagemaker.configs.values()
        assert base64.b64decode(config["OnStart"][0]["Content"]) == b"#!/bin/sh\npip install seaborn\n"

    def test_a_script_in_a_file(self, cell: Any, sagemaker: FakeSageMaker, tmp_path: Path) -> None:
        path = tmp_path / "setup"
        path.write_text("#!/bin/sh\n")
        assert cell(f"%ec2 notebook run lab --lifecycle {path}").error is None
        assert len(sagemaker.configs) == 1

    def test_a_class(self, cell: Any, shown: Any, tmp_path: Path) -> None:
        path = tmp_path / "class.csv"
        ran = cell(f"%ec2 notebook run class --count 3 --csv {path}")
        assert isinstance(ran.value, NotebookList)
        assert ran.value.names == ["class-01", "class-02", "class-03"]
        data = shown(ran.value)
        assert len(set(links(data["text/html"]))) == 3
        assert "token" not in data["text/html"] + data["text/plain"]
        rows = [*csv.DictReader(path.read_text().splitlines())]
        assert [row["login_url"] for row in rows] == [
            f"http://127.0.0.1:{20000 + n}/lab?token=secret" for n in range(3)
        ]

    def test_a_class_by_names(self, cell: Any) -> None:
        assert cell("%ec2 notebook run --names anna,ben").value.names == ["anna", "ben"]
        assert cell("%ec2 notebook run math --names 'anna, ben'").value.names == ["math-anna", "math-ben"]
        assert cell("who = ['carl', 'dora']\n%ec2 notebook run {who}").value.names == ["carl", "dora"]

    def test_embed_shows_a_frame_and_gives_the_handle(self, cell: Any) -> None:
        ran = cell("lab = %ec2 notebook run lab --embed\nlab.name")
        [frame] = [shown["text/html"] for shown in ran.displayed if "iframe" in shown.get("text/html", "")]
        assert re.search(r'new URL\("http://127\.0\.0\.1:41234/_oblako/open/[^"]*"\)', frame)
        # One use only: the frame is given its address once, by the script.
        assert frame.count("/_oblako/open/") == 1
        assert ran.value == "lab"

    def test_a_failure_keeps_the_handle(self, cell: Any, shell: Any, sagemaker: FakeSageMaker) -> None:
        sagemaker.broken["lab"] = "the image is not here; oblako image build notebook builds it."
        ran = cell("%ec2 notebook run lab -o lab")
        assert str(ran.error) == (
            "lab is Failed, not InService: the image is not here; oblako image build notebook builds it; "
            "%ec2 notebook terminate lab removes it."
        )
        assert shell.user_ns["lab"].status == "Failed"
        assert "Traceback" not in ran.stdout + ran.stderr

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("run", "give it a name"),
            ("run my_lab", "'my_lab' is no name"),
            ("run lab --type t3.micro", "begin with ml."),
            ("run lab --volume-size 2", "not a whole number from 5 to 16384"),
            ("run lab --count 3 --embed", "--embed shows one notebook"),
            ("run lab --no-wait --csv x.csv", "take --no-wait off"),
            ("run a b --count 2", "--count numbers one name"),
            ("run a b --names c", "one NAME at most"),
            ("run lab --lifecycle no/such.sh", "no/such.sh can't be read: No such file or directory"),
            ("run lab --publish no", "publish"),
            ("run lab --imag x", "did you mean --image?"),
            ("stop lab", "no notebook is called 'lab'; there is none yet"),
            ("url", "NAME"),
            ("rnu lab", "%ec2 notebook has no subcommand 'rnu'; did you mean run?"),
            ("xyzzy", "there are run, ls, open, url, stop, start, terminate, update."),
        ],
    )
    def test_bad_input_is_one_sentence(self, cell: Any, sagemaker: FakeSageMaker, line: str, says: str) -> None:
        ran = cell(f"%ec2 notebook {line}")
        assert isinstance(ran.error, (UsageError, OblakoError))
        assert says in str(ran.error)
        assert "Traceback" not in ran.stdout + ran.stderr
        assert sagemaker.books == {}
        assert sagemaker.configs == {}

    def test_a_file_that_can_not_be_written(self, cell: Any, tmp_path: Path) -> None:
        ran = cell(f"%ec2 notebook run lab --csv {tmp_path}/no/class.csv")
        assert "class.csv can't be written: No such file or directory." in str(ran.error)


class TestOthers:
    @pytest.fixture(autouse=True)
    def two(self, sagemaker: FakeSageMaker) -> None:
        sagemaker.put("class-01")
        sagemaker.put("class-02", "Stopped")

    def test_the_group_alone_lists(self, cell: Any, shown: Any) -> None:
        assert cell("%ec2 notebook").value.names == ["class-01", "class-02"]
        page = shown(cell("%ec2 notebook ls").value)["text/html"]
        assert len(links(page)) == 1, "the stopped one has none"
        assert cell("%ec2 notebook ls 'class-*1'").value.names == ["class-01"]
        rows = json.loads(cell("%ec2 notebook ls --json").value)
        assert [(row["name"], row["status"]) for row in rows] == [("class-01", "InService"), ("class-02", "Stopped")]

    def test_ls_without_any(self, cell: Any, shown: Any, sagemaker: FakeSageMaker) -> None:
        sagemaker.books.clear()
        data = shown(cell("%ec2 notebook ls").value)
        assert data["text/plain"] == "no notebooks"
        assert "no notebooks" in data["text/html"]

    def test_open(self, cell: Any, shown: Any) -> None:
        ran = cell("%ec2 notebook open class-01")
        assert isinstance(ran.value, NotebookLink)
        data = shown(ran.value)
        assert links(data["text/html"]) == [ran.value.url]
        assert "once, within 5 minutes" in data["text/plain"]
        frame = cell("%ec2 notebook open class-01 --embed").value
        assert isinstance(frame, Embedded)
        assert "<iframe" in shown(frame)["text/html"]
        assert "/_oblako/" not in shown(frame)["text/plain"]
        assert str(cell("%ec2 notebook open class-02").error) == (
            "class-02 is Stopped: %ec2 notebook start class-02 starts it."
        )

    def test_open_in_a_browser(self, cell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []

        def browser(url: str) -> bool:
            opened.append(url)
            return len(opened) == 1

        monkeypatch.setattr("webbrowser.open", browser)
        assert cell("%ec2 notebook open class-01 --browser").value == "class-01 opens in the browser"
        assert "/_oblako/open/" in opened[0]
        assert isinstance(cell("%ec2 notebook open class-01 --browser").value, NotebookLink), "there is none here"

    def test_url(self, cell: Any) -> None:
        assert cell("%ec2 notebook url class-01").value == "http://127.0.0.1:20000/lab"
        assert "class-02 is Stopped and has no address now" in str(cell("%ec2 notebook url class-02").error)

    def test_stop_start_terminate_update(self, cell: Any, shown: Any, sagemaker: FakeSageMaker) -> None:
        def said(line: str) -> str:
            ran = cell(f"%ec2 notebook {line}")
            assert ran.error is None
            return str(shown(ran.value)["text/plain"])

        assert said("stop 'class-*'") == "class-01: InService -> Stopped\nclass-02: Stopped already"
        assert "Stopped" in said("update class-01 --type ml.m5.xlarge")
        assert sagemaker.books["class-01"]["instance_type"] == "ml.m5.xlarge"
        assert said("start class-01 class-02") == "class-01: Stopped -> InService\nclass-02: Stopped -> InService"
        assert "can be changed when it is stopped" in str(cell("%ec2 notebook update class-01 --git none").error)
        assert said("terminate 'class-*'") == "class-01: InService -> Deleted\nclass-02: InService -> Deleted"
        assert sagemaker.books == {}

    def test_handles_stand_for_their_names(self, cell: Any, sagemaker: FakeSageMaker) -> None:
        assert cell("them = %ec2 notebook ls\n%ec2 notebook stop {them}").error is None
        assert [book["status"] for book in sagemaker.books.values()] == ["Stopped", "Stopped"]

    def test_help(self, cell: Any) -> None:
        assert "terminate " in cell("%ec2 notebook --help").value
        assert "--embed" in cell("%ec2 notebook open --help").value
        assert "notebook " in cell("%ec2 --help").value

    def test_completion(self, shell: Any, cell: Any) -> None:
        def tab(text: str) -> list[str]:
            with provisionalcompleter():
                return [c.text for c in shell.Completer.completions(text, len(text))]

        cell("%ec2 notebook ls;")
        assert tab("%ec2 note") == ["notebook"]
        assert sorted(tab("%ec2 notebook st")) == ["start", "stop"]
        assert tab("%ec2 notebook stop cl") == ["class-01", "class-02"]
        assert sorted(tab("x = %ec2 notebook run --life")) == ["--lifecycle", "--lifetime"]
        assert tab("%%ec2 notebook run --em") == ["--embed"]


class TestTerminal:
    @pytest.fixture
    def oblako(self, cloud: FakeEc2, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
        monkeypatch.setattr(cli, "_connect", lambda: lambda: cloud)

        def run(*words: str) -> tuple[int, str, str]:
            code = cli.main(words)
            said = capsys.readouterr()
            return code, said.out, said.err

        return run

    def test_as_the_magic_does(self, oblako: Any, sagemaker: FakeSageMaker) -> None:
        code, out, _ = oblako("notebook", "run", "lab")
        assert code == 0
        assert "http://127.0.0.1:20000/lab" in out
        assert f"{cli_commands.PROGRAM} notebook open lab" in out
        assert "lab" in oblako("notebook")[1]
        assert "/_oblako/open/once-" in oblako("notebook", "open", "lab")[1]
        assert oblako("notebook", "url", "lab")[1] == "http://127.0.0.1:20000/lab\n"
        assert oblako("notebook", "stop", "lab")[1] == "lab: InService -> Stopped\n"
        assert oblako("notebook", "open", "lab") == (
            1, "", "oblako: lab is Stopped: oblako notebook start lab starts it.\n"
        )  # fmt: skip
        assert oblako("notebook", "terminate", "lab")[0] == 0
        assert sagemaker.books == {}

    def test_its_help(self, oblako: Any) -> None:
        code, out, _ = oblako("notebook", "--help")
        assert code == 0
        assert "%ec2" not in out
        assert oblako("notebook", "rnu")[0] == 2
