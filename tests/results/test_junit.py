"""The JUnit report: what it must survive, and what it must not replace."""

from xml.etree import ElementTree

import pytest

from ahsar_eval.errors import OutputError
from ahsar_eval.results.junit import check_junit, junit_text, write_junit

FACTS = {
    "command": "ahsar-eval ood",
    "time": "2026-01-02T03:04:05+00:00",
    "versions": {"torch": "2"},
}


def record(**changes):
    return {
        **{"requirement": "accuracy>=0.9", "label": "net", "profile": None, "comparison": ">="},
        **{"value": 0.95, "low": 0.9, "high": 1.0, "bound": 0.9, "needed": 0.9, "unit": ""},
        **{"decided_on": "interval", "passed": True, "why": ""},
        **changes,
    }


def case_of(row):
    return ElementTree.fromstring(junit_text("ood", [row], FACTS)).find("testsuite/testcase")


def test_a_case_is_met_not_met_or_not_decided():
    assert case_of(record()).find("failure") is None
    missed = case_of(record(passed=False, bound=0.89, low=0.89)).find("failure")
    assert (missed.get("type"), missed.get("message")) == (
        "not met",
        "expected >= 0.9, decided on the interval (0.89); measured 0.95, 95 % interval 0.89 to 1.0",
    )
    undecided = case_of(record(passed=False, bound=None, why="no labels")).find("failure")
    assert (undecided.get("type"), undecided.text) == ("not decided", "not decided: no labels")


@pytest.mark.parametrize("name", ["a&b<c>\"d'", "tab\tand\nline", "]]>", "µ 日本 😀"])
def test_names_come_back_as_they_are(name):
    properties = case_of(record(label=name)).iter("property")
    assert {one.get("name"): one.get("value") for one in properties}["label"] == name


@pytest.mark.parametrize("name", ["\x00\x1b[31m", "\ud800", "\ufffe"])
def test_characters_that_xml_cannot_hold_are_replaced(name):
    text = junit_text("ood", [record(label=f"net{name}")], FACTS)
    ElementTree.fromstring(text.encode())
    assert "net\ufffd" in text


def test_a_network_under_several_profiles_has_a_case_each():
    row = record(profile="45nm-int8")
    assert case_of(row).get("name") == "accuracy>=0.9: net, 45nm-int8"


def test_only_an_earlier_report_is_replaced(tmp_path):
    file = tmp_path / "folder" / "gate.xml"
    check_junit(file)
    write_junit(file, "ood", [record()], FACTS)
    check_junit(file)
    file.write_text("")
    check_junit(file)  # as `mktemp` leaves it
    for other in ("<testsuites/>", '<?xml version="1.0"?>\n<testsuites name="pytest">', "notes"):
        file.write_text(other)
        with pytest.raises(OutputError, match="no JUnit report of ahsar-eval; name another"):
            check_junit(file)
    with pytest.raises(OutputError, match="it is a folder"):
        check_junit(tmp_path)
