"""The gate on the command line: exit codes 0, 1 and 2, the table in every form, and the JUnit
report beside the JSON.
"""

import json
import os
from xml.etree import ElementTree

import pytest

import ahsar_eval as ae

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")
NET = "digits-vgg13-baseline"
OOD: tuple[str, ...] = (
    "ood",
    NET,
    "--id",
    "digits",
    "--ood",
    "photo-patches",
    "--ood",
    "digits:contrast:3",
)
OOD += ("--limit", "40", "--bootstrap", "100")
ENERGY = ("energy", NET, "--data", "digits", "--shift", "contrast:3", "--limit", "40")
MET: tuple[str, ...] = ("--require", "accuracy>=0.8", "--require", "auroc(photo-patches)>=0.7")
MISSED = ("--require", "accuracy(contrast:3)>=0.99")


@pytest.fixture(autouse=True, scope="module")
def _one_cache(tmp_path_factory):
    """Recordings are made once for all tests of this file."""
    folder, before = tmp_path_factory.mktemp("gate"), os.environ["AHSAR_EVAL_CACHE"]
    os.environ["AHSAR_EVAL_CACHE"] = str(folder)
    yield folder
    os.environ["AHSAR_EVAL_CACHE"] = before


def cases_of(file):
    """Of each case of a report its properties, and the kind of its failure."""
    root = ElementTree.parse(file).getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    cases = suite.findall("testcase")
    failures = [case.find("failure") for case in cases]
    counts = (str(len(cases)), str(sum(one is not None for one in failures)), "0")
    for one in (root, suite):
        assert tuple(one.get(name) for name in ("tests", "failures", "errors")) == counts
    found = [{one.get("name"): one.get("value") for one in case.iter("property")} for case in cases]
    kinds = [None if one is None else one.get("type") for one in failures]
    return list(zip(found, kinds, strict=True))


def test_what_is_met_is_code_0_and_what_is_not_code_1(command):
    met = command(*OOD, *MET)
    assert (met.code, met.err) == (0, "")
    assert "Requirements\n" in met.out
    missed = command(*OOD, *MET, *MISSED)
    assert missed.code == 1
    assert missed.out.count(" yes\n") == 2
    assert missed.out.count(" NO\n") == 1
    assert missed.err.startswith(
        f"ahsar-eval: 1 of 3 requirements is not met: accuracy(contrast:3)>=0.99 by {NET} (low end"
    )
    assert missed.err.count("\n") == 1


def test_the_estimate_decides_where_it_is_asked_for(command):
    # 40 of 40 are right: Wilson's lower end is 0.912.
    words = (*OOD, "--require", "accuracy>=0.95", "--format", "json")
    by_interval, by_estimate = command(*words), command(*words, "--on", "estimate")
    (first,), (second,) = (
        json.loads(one.out)["requirements"] for one in (by_interval, by_estimate)
    )
    assert (by_interval.code, by_estimate.code) == (1, 0)
    assert first["bound"] == first["low"] == pytest.approx(0.91238, abs=1e-5)
    assert second["bound"] == second["value"] == 1.0


@pytest.mark.parametrize("words", [OOD, ENERGY])
def test_the_report_is_what_the_json_says_the_second_time_too(
    words, command, tmp_path, monkeypatch
):
    required: tuple[str, ...] = (*MET, *MISSED, "--require", "misclassification_auroc<=1")
    if words is ENERGY:
        required = ("--require", "energy(contrast:3)<=1J", "--require", "synops<1")
    words = (*words, *required, "--out", tmp_path, "--format", "json")
    file = tmp_path / "gate.xml"
    first = command(*words, "--junit", file)
    report, shown = file.read_text(encoding="utf-8"), json.loads(first.out)["requirements"]
    # From here on whatever makes results is broken.
    monkeypatch.setattr("ahsar_eval.evaluation.ood.run", None)
    monkeypatch.setattr("ahsar_eval.evaluation.energy.run", None)
    again = command(*words, "--junit", file)
    assert (first.code, again.code) == (1, 1)
    assert first.err == again.err
    assert json.loads(again.out)["requirements"] == shown
    assert json.loads((tmp_path / f"{words[0]}.json").read_text())["requirements"] == shown

    def timeless(text):
        return [line for line in text.splitlines() if "timestamp" not in line]

    assert timeless(file.read_text(encoding="utf-8")) == timeless(report)
    cases = cases_of(file)
    assert [kind is None for _, kind in cases] == [row["passed"] for row in shown]
    assert [kind == "not decided" for _, kind in cases] == [row["bound"] is None for row in shown]
    for (told, _), row in zip(cases, shown, strict=True):
        assert told == {key: str(value) for key, value in row.items() if value not in (None, "")}


@pytest.mark.parametrize("form", ["table", "json", "markdown", "latex", "csv"])
def test_every_form_ends_with_the_same_code(form, command):
    done = command(*OOD, *MISSED, "--format", form)
    assert done.code == 1
    assert ("accuracy(contrast:3)" in done.out) == (form != "csv")


def test_energy_without_requirements_keeps_its_form(command):
    words = (*ENERGY[:4], "--limit", "40", "--format", "json")
    plain, asked = command(*words), command(*words, "--require", "energy<=1J")
    assert (plain.code, asked.code) == (0, 0)
    plain, asked = json.loads(plain.out), json.loads(asked.out)
    assert {**asked["results"][0], "provenance": 0} == {**plain, "provenance": 0}
    (row,) = asked["requirements"]
    assert row["value"] == pytest.approx(plain["total_energy_pj"] / 1e12, rel=1e-12)
    half = 2.0226909 * plain["total_energy_std_pj"] / 40**0.5 / 1e12  # t(39, 0.975)
    assert row["bound"] - row["value"] == pytest.approx(half, rel=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*OOD, "--require", "acuracy>=0.9"), "did you mean accuracy?"),
        ((*OOD, "--require", "accuracy(svhn)>=0.9"), "is of svhn, which is not evaluated"),
        ((*OOD, "--require", "energy<=2000nJ"), "is decided by ahsar-eval energy"),
        ((*OOD, "--require", "ece<=0.2"), "write 'ece<=0.2 on estimate'"),
        ((*OOD, "--on", "estimate"), "--on estimate says how requirements are decided"),
        ((*OOD, "--junit", "gate.xml"), "--junit reports requirements, and there are none"),
        ((*OOD, *MET, "--junit", "."), "it is a folder; name a file"),
        ((*OOD, *MET, "--junit", "mine.xml"), "no JUnit report of ahsar-eval"),
        ((*ENERGY, "--require", "accuracy>=0.9"), "is decided by ahsar-eval ood"),
        ((*ENERGY, "--require", "energy<=2000nj"), "did you mean nJ?"),
        ((*ENERGY, "--require", "energy(fog)<=2000nJ"), "is of fog, which is not evaluated"),
        (("compare", NET, "--require", "accuracy>=0.9"), "No such option"),
        (("monitor", NET, "--junit", "gate.xml"), "No such option"),
    ],
)
def test_misuse_is_code_2_before_anything_is_recorded(words, said, command, tmp_path, monkeypatch):
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "cache"))
    with open("mine.xml", "w", encoding="utf-8") as mine:
        mine.write("<testsuites name='mine'/>")
    done = command(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert not list((tmp_path / "cache").rglob("*.npz"))
    assert not os.path.exists("gate.xml")


def test_in_python_the_result_says_whether_all_is_met(command):
    options = ae.DataOptions(limit=40)
    settings = {"options": options, "replicates": 100, "require": ["accuracy>=0.8"]}
    found = ae.ood(ae.load(NET), "digits", "photo-patches", **settings)
    assert found.passed is True
    assert list(found.requirements["label"]) == [NET]
    settings |= {"require": ["accuracy>=1"], "on": "estimate"}
    assert ae.ood(ae.load(NET), "digits", "photo-patches", **settings).passed is True
    both = ae.energy(ae.load(NET), "digits", options=options, require="energy<=1pJ")
    assert both.passed is False
    with pytest.raises(ae.AhsarError, match="unknown setting 'require'"):
        ae.compare(ae.load(NET), adapt="layer", ood="photo-patches", require="accuracy>=1")
