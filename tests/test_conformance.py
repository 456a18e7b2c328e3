"""The comparison of moto's own tests against two servers; the run itself is a step of scripts/check.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import conformance
from scripts.conformance import Difference, Rules

AWS = Difference(("tests/a.py::test_kept*",), "AWS keeps it.", "A page", "https://docs.aws.amazon.com/page")


def test_a_test_that_passes_there_and_not_here_must_be_listed() -> None:
    there = {"tests/a.py::test_kept_1": "passed", "tests/a.py::test_2": "passed", "tests/a.py::test_3": "failed"}
    here = {"tests/a.py::test_kept_1": "failed", "tests/a.py::test_2": "skipped", "tests/a.py::test_3": "failed"}
    found = conformance.compare(here, there, Rules((AWS,), ()))
    assert found.listed == {AWS: ["tests/a.py::test_kept_1"]}
    assert found.unlisted == ["tests/a.py::test_2"]
    assert found.idle == []


def test_a_test_that_did_not_run_here_has_not_passed() -> None:
    assert conformance.compare({}, {"tests/a.py::test_2": "passed"}, Rules((), ())).unlisted == ["tests/a.py::test_2"]


def test_what_is_listed_for_nothing_is_told() -> None:
    results = {"tests/a.py::test_kept_1": "passed"}
    assert conformance.compare(results, results, Rules((AWS,), ())).idle == ["tests/a.py::test_kept*"]
    # A short run leaves most of them out.
    assert conformance.compare({}, {}, Rules((AWS,), ())).idle == []


def test_results_are_read_by_node_id(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").touch()
    junit = tmp_path / "junit.xml"
    junit.write_text(
        "<testsuites><testsuite>"
        '<testcase classname="tests.test_x" name="test_a[1]"/>'
        '<testcase classname="tests.test_x.TestIt" name="test_b"><failure/></testcase>'
        '<testcase classname="tests.test_x" name="test_c"><skipped/></testcase>'
        '<testcase classname="tests.test_x" name="test_d"/>'
        '<testcase classname="tests.test_x" name="test_d"><error/></testcase>'
        "</testsuite></testsuites>"
    )
    assert conformance.read_junit(junit, tmp_path) == {
        "tests/test_x.py::test_a[1]": "passed",
        "tests/test_x.py::TestIt::test_b": "failed",
        "tests/test_x.py::test_c": "skipped",
        "tests/test_x.py::test_d": "failed",
    }


@pytest.mark.parametrize("line", ['url = "https://example.org/"', 'title = ""', "tests = []"])
def test_a_difference_without_a_document_of_aws_is_refused(line: str, tmp_path: Path) -> None:
    whole = {"tests": '["t"]', "aws": '"so"', "title": '"Page"', "url": '"https://docs.aws.amazon.com/x"'}
    key, _, value = line.partition(" = ")
    lines = "\n".join(f"{name} = {text}" for name, text in {**whole, key: value}.items())
    path = tmp_path / "rules.toml"
    path.write_text(f"short = []\n[[difference]]\n{lines}\n")
    with pytest.raises(ValueError, match="does not say which AWS document"):
        conformance.read_rules(path)


def test_the_page_tells_every_difference() -> None:
    rules = conformance.read_rules()
    text = conformance.PAGE.read_text()
    for one in rules.differences:
        assert f"[{one.title}]({one.url})" in text
        assert all(f"`{test}`" in text for test in one.tests)
