"""What is required of networks: read, refused where it can never be decided, and decided by hand."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from grids import body_of
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.errors import RequirementError, UsageError
from ahsar_eval.evaluation.energy_tables import ENERGY
from ahsar_eval.evaluation.ood import record_of
from ahsar_eval.evaluation.ood_tables import OOD
from ahsar_eval.evaluation.requests import EnergyRequest, Request
from ahsar_eval.evaluation.requirement_tables import (
    check_met,
    requirement_notes,
    requirement_tables,
)
from ahsar_eval.evaluation.requirements import (
    COMPARISONS,
    METRICS,
    UNITS,
    Requirement,
    _half_width,
    called,
    check_sets,
    checked,
    decided,
    gated,
    parse,
)
from ahsar_eval.ood import Estimate, Row, with_means
from ahsar_eval.results.results import Results

# --- read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("accuracy>=0.95", Requirement("accuracy", "", ">=", 0.95)),
        ("auroc(photo-patches)>=0.9", Requirement("auroc", "photo-patches", ">=", 0.9)),
        ("energy<=2000nJ", Requirement("energy", "", "<=", 2000.0, "nJ")),
        ("accuracy(contrast:3)>=0.6", Requirement("accuracy", "contrast:3", ">=", 0.6)),
        (" fpr ( near ) < .5 ", Requirement("fpr", "near", "<", 0.5)),
        ("fpr_at_tpr(near)≤5e-1", Requirement("fpr", "near", "<=", 0.5)),
        ("energy(fog)≥2 uJ on estimate", Requirement("energy", "fog", ">=", 2.0, "µJ", "estimate")),
        ("ece<0.1 on estimate", Requirement("ece", "", "<", 0.1, "", "estimate")),
        ("synops>1e6", Requirement("synops", "", ">", 1e6)),
        ("accuracy(folder:a (b):x>=1)>=0", Requirement("accuracy", "folder:a (b):x>=1", ">=", 0)),
    ],
)
def test_a_requirement_is_read(text, read):
    assert parse(text) == read


def requirements() -> st.SearchStrategy[Requirement]:
    """Any that can be meant, with sets of any printed characters."""
    sets = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)

    def of(name: str) -> st.SearchStrategy[Requirement]:
        metric = METRICS[name]
        top = 1.0 if metric.fraction else 1e300
        return st.builds(
            Requirement,
            st.just(name),
            sets if metric.of_pairs else st.just("") | sets,
            st.sampled_from(list(COMPARISONS)),
            st.floats(0, top),
            st.sampled_from(list(UNITS)) if name == "energy" else st.just(""),
            st.sampled_from(["", "interval", "estimate"]),
        )

    return st.sampled_from(list(METRICS)).flatmap(of)


@given(requirements())
def test_what_is_written_is_read_again(requirement):
    assert parse(str(requirement)) == requirement


@pytest.mark.parametrize(
    ("unit", "picojoules"),
    [("pJ", 1), ("nJ", 1e3), ("uJ", 1e6), ("µJ", 1e6), ("μJ", 1e6), ("mJ", 1e9), ("J", 1e12)],
)
def test_units_of_energy_in_pj(unit, picojoules):
    assert UNITS[parse(f"energy<=2{unit}").unit] == picojoules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy", "in quotes, for a shell takes > for a file"),
        ("accuracy=0.9", "one of >=, <=, > and <"),
        ("accuracy>=", "cannot be read"),
        ("accuracy>=0.9 or so", "cannot be read"),
        (">=0.9", "cannot be read"),
        ("acuracy>=0.9", "unknown metric 'acuracy'"),
        ("acuracy>=0.9", "(did you mean accuracy?); known are accuracy, auroc, fpr"),
        ("auroc>=0.9", "write auroc(SET), such as auroc(photo-patches)"),
        ("accuracy()>=0.9", "names no set between its brackets"),
        ("accuracy>=95%", "write a fraction, such as 0.95"),
        ("accuracy>=0.9nJ", "gives accuracy the unit 'nJ'; write a number without one"),
        ("accuracy>=95", "95 in the requirement 'accuracy>=95' is no accuracy"),
        ("fpr(x)<=-0.1", "expected a fraction from 0 to 1"),
        ("nll<=1e999", "expected a finite number from 0"),
        ("energy<=2000", "has no unit; expected one of pJ, nJ, µJ, mJ, J (or uJ)"),
        ("energy<=2000nj", "the unit 'nj' (did you mean nJ?)"),
        ("accuracy>=0.9 on average", "to be decided on 'average'; expected interval or estimate"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, said):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# --- refused before the first pass


@pytest.mark.parametrize(
    ("request_of", "settings", "said"),
    [
        (Request, {"require": ("energy<=2nJ",)}, "is decided by ahsar-eval energy; known here are"),
        (EnergyRequest, {"require": ("accuracy>=0.9",)}, "is decided by ahsar-eval ood; known"),
        (Request, {"require": ("ece<=0.1",)}, "write 'ece<=0.1 on estimate'"),
        (EnergyRequest, {"require": ("macs<=10",)}, "write 'macs<=10 on estimate'"),
        (Request, {"on": "estimate"}, "--on estimate says how requirements are decided"),
        (Request, {"require": ("nll<1", "nll < 1.0")}, "named twice"),
    ],
)
def test_what_can_never_be_decided_is_refused(request_of, settings, said):
    kind = "ood" if request_of is Request else "energy"
    with pytest.raises(UsageError) as caught:
        checked(request_of(**settings), [kind])
    assert said in str(caught.value)


def test_a_report_decides_both_kinds_and_each_may_say_on_what():
    asked = checked(
        Request(require=("energy<=2nJ on interval", "ece<=0.1"), on="estimate"), ["ood", "energy"]
    )
    assert [(one.metric, one.on) for one in asked] == [("energy", "interval"), ("ece", "estimate")]


def split(name, shift=None, severity=0):
    whole = name if shift is None else f"{name}:{shift}:{severity}"
    return SimpleNamespace(
        name=whole, source=SimpleNamespace(name=name), shift=shift, severity=severity
    )


PLAN: Any = SimpleNamespace(
    id_split=split("digits"),
    others=[
        split("photo-patches"),
        *(split("digits", "contrast", severity) for severity in (1, 2, 3)),
        split("digits", "gaussian_blur", 2),
        split("svhn", "fog", 3),
    ],
)


@pytest.mark.parametrize(
    "name",
    "digits photo-patches digits:contrast:3 contrast:3 contrast digits:contrast blur digits:all all "
    "blur:2 digits:gaussian-blur svhn:fog svhn:fog:3 svhn:all".split(),
)
def test_sets_are_called_as_they_were_named_or_in_short(name):
    check_sets([parse(f"accuracy({name})>=0.5")], PLAN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy(photo-patch)>=0.5", "is not evaluated (did you mean photo-patches?); evaluated"),
        ("accuracy(contrast:4)>=0.5", "evaluated are digits, photo-patches, digits:contrast:1"),
        ("accuracy(fog:3)>=0.5", "is of fog:3, which is not evaluated"),
        ("auroc(near)>=0.5", "is of near, which is not evaluated"),
        ("auroc(digits)>=0.5", "is of digits, the ID set, and auroc tells another set from it"),
    ],
)
def test_sets_that_are_not_evaluated_are_refused(text, said):
    with pytest.raises(UsageError) as caught:
        check_sets([parse(text)], PLAN)
    assert said in str(caught.value)


def test_near_is_a_set_where_the_id_set_has_it():
    plan: Any = SimpleNamespace(id_split=split("cifar10"), others=[split("cifar100")])
    check_sets([parse("auroc(near)>=0.5")], plan, "cifar10")


def test_an_exact_name_goes_before_one_spelled_otherwise():
    sets = [
        {"name": name, "set": name, "shift": None, "severity": 0, "group": ""}
        for name in ("a_b", "a-b")
    ]
    assert [one["name"] for one in called("a-b", "", sets)] == ["a-b"]


# --- decided by hand

# Of two networks: accuracy on the ID set and at severities 1 and 3 of contrast, AUROC of a set
# without labels.
LEVELS = {"a": (0.96, 0.80, 0.60), "b": (0.90, 0.70, 0.50)}


def rows_of(label):
    def made(ood, value, half, **more):
        drawn = np.array([value - half, value, value + half])
        accuracy = Estimate(value, value - half, value + half, "Wilson", drawn)
        facts = {"id": "digits", "score": "entropy", "n_id": 50, "n_ood": 50, "kind": "set"}
        metrics = {"accuracy": accuracy} | more.pop("metrics", {})
        facts |= {"set_name": "digits", "labels_preserved": True, "same_images": True}
        return Row(**{"checkpoint": label, "thresholds": "base", "ood": ood, **facts, **more,
                      "metrics": metrics})  # fmt: skip

    clean, first, third = LEVELS[label]
    ece = {"ece": Estimate(0.05)}
    apart = {"auroc": Estimate(0.9, 0.85, 0.95), "fpr_at_tpr": Estimate(0.0)}
    known = {"kind": "id", "group": "id", "n_ood": 0, "metrics": ece}
    other = Row(
        **{**vars(made("x", 0.5, 0)), "set_name": "x", "ood": "x", "metrics": apart,
           "labels_preserved": False, "same_images": False}
    )  # fmt: skip
    return [
        made("digits", clean, 0.02, **known),
        made("digits:contrast:1", first, 0.1, shift="contrast", severity=1),
        made("digits:contrast:3", third, 0.1, shift="contrast", severity=3),
        other,
    ]


def ood_results(labels=("a", "b"), scores=("entropy",)):
    rows = with_means([row for label in labels for row in rows_of(label)])
    severities = {row.ood: row.severity for row in rows if row.kind == "set"}
    lists = {"rows": "set", "means": "mean", "id": "id"}
    records = {
        name: [record_of(row, severities) for row in rows if row.kind == kind]
        for name, kind in lists.items()
    }
    return Results(OOD, records, {"scores": list(scores), "tpr": 0.95})


def verdicts(*texts, on="interval", **results):
    return decided([parse(text) for text in texts], results or {"ood": ood_results()}, on)


@pytest.mark.parametrize(
    ("text", "on", "bounds", "passed"),
    [
        # 0.96 ± 0.02 and 0.90 ± 0.02: the lower end decides >= and >, the upper <= and <.
        ("accuracy>=0.93", "interval", (0.94, 0.88), (True, False)),
        ("accuracy>=0.93", "estimate", (0.96, 0.90), (True, False)),
        ("accuracy>=0.89", "estimate", (0.96, 0.90), (True, True)),
        ("accuracy>=0.89", "interval", (0.94, 0.88), (True, False)),
        ("accuracy<=0.95", "interval", (0.98, 0.92), (False, True)),
        ("accuracy<=0.91", "interval", (0.98, 0.92), (False, False)),
        ("accuracy>0.96", "estimate", (0.96, 0.90), (False, False)),
        ("accuracy>=0.96", "estimate", (0.96, 0.90), (True, False)),
        ("accuracy<0.9", "estimate", (0.96, 0.90), (False, False)),
        ("accuracy<=0.9", "estimate", (0.96, 0.90), (False, True)),
        ("accuracy(digits)>=0.93", "interval", (0.94, 0.88), (True, False)),
        ("accuracy(contrast:3)>=0.45", "interval", (0.5, 0.4), (True, False)),
        ("accuracy(digits:contrast:3)>=0.45 on estimate", "interval", (0.6, 0.5), (True, True)),
        ("auroc(x)>=0.86", "interval", (0.85, 0.85), (False, False)),
        ("auroc(x)<0.96", "interval", (0.95, 0.95), (True, True)),
        ("ece<=0.05", "estimate", (0.05, 0.05), (True, True)),
    ],
)
def test_each_network_is_decided_by_hand(text, on, bounds, passed):
    found = verdicts(text, on=on)
    assert [row["label"] for row in found] == ["a", "b"]
    assert [row["bound"] for row in found] == pytest.approx(bounds)
    assert tuple(row["passed"] for row in found) == passed
    assert {row["why"] for row in found} == {""}


def test_a_shift_without_a_severity_is_the_mean_over_those_evaluated():
    (first, second) = verdicts("accuracy(contrast)>=0.69", on="estimate")
    assert (first["value"], second["value"]) == pytest.approx((0.7, 0.6))
    assert (first["passed"], second["passed"]) == (True, False)
    assert (first["set"], first["n"]) == ("digits:contrast", 100)
    (whole, _) = verdicts("accuracy(all)>=0.69", on="estimate")
    assert whole["value"] == pytest.approx(0.7), "of one shift, all are its severities"


def test_all_shifts_are_the_mean_of_means():
    results = ood_results(["a"])
    extra = {**results.records["rows"][0], "ood": "digits:fog:1", "shift": "fog", "severity": 1}
    mean = {**results.records["means"][0], "ood": "digits, 2 shifts", "shift": None, "members": 3}
    errors = {**mean, "ood": "digits, 15 corruptions", "corruption_error": 0.4}
    records = {
        **results.records,
        "rows": [*results.records["rows"], extra],
        "means": [errors, *results.records["means"], {**mean, "accuracy_ood": 0.75}],
    }
    (row,) = verdicts(
        "accuracy(digits:all)>=0.7", on="estimate", ood=Results(OOD, records, results.facts)
    )
    assert (row["set"], row["value"], row["passed"]) == ("digits, 2 shifts", 0.75, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fpr(x)<=0.5", "the data give no interval"),
        ("ece<=0.5", "the data give no interval"),
        ("accuracy(x)>=0", "on x no label is known that means what the ID set's do"),
        ("rate<=1", "on digits no layer is known to spike"),
    ],
)
def test_what_cannot_be_decided_is_not_met(text, said):
    for row in verdicts(text):
        assert (row["bound"], row["passed"]) == (None, False)
        assert said in row["why"]


def test_a_network_without_the_score_meets_nothing():
    found = verdicts("accuracy>=0.1", ood=ood_results(scores=("vim", "entropy")))
    assert not any(row["passed"] for row in found)
    assert found[0]["why"] == "a has no score vim, which was left out"


def test_results_of_the_wrong_kind_are_refused():
    with pytest.raises(UsageError, match="needs results of energy"):
        verdicts("energy<=1nJ")


# --- energy by hand: 16 samples of 2000 ± 40 pJ, at contrast 1 and 3 of 1800 and 1600 ± 0


def energy_results(**changes):
    def total(label, energy, spread, **more):
        return {
            **{"checkpoint": label, "thresholds": "base", "data": "digits", "profile": "45nm-fp32"},
            **{"n": 16, "total_energy_pj": energy, "energy_std_pj": spread, "total_acs": 900.0},
            **{"synops_std": 8.0, "total_macs": 300.0, "mean_rate": None},
            **more,
        }

    def shift(at, energy, **more):
        named = {"kind": "set", "set": "digits", "shift": "contrast", "members": 1}
        named |= {"severity": at, "data": f"digits:contrast:{at}"}
        return total("a", energy, 0.0, **named | more)

    mean = {"kind": "mean", "severity": None, "members": 2, "data": "digits:contrast:1,3"}
    whole = {"profile": "45nm-fp32", "totals_by_part": {"synapses": 1.0}}
    result = {**whole, "uncounted": [], "unpriced": [], **changes}
    records = {
        "total": [total("a", 2000.0, 40.0), total("b", 2100.0, 40.0)],
        "result": [result, result],
        "shift": [shift(1, 1800.0), shift(3, 1600.0), shift(0, 1700.0, **mean)],
    }
    return Results(ENERGY, records, {})


def test_the_interval_of_a_mean_is_student_s():
    # t(15, 0.975) = 2.13145 (tables); 40 / √16 = 10
    assert _half_width(40.0, 16) == pytest.approx(21.3145, abs=1e-4)
    assert _half_width(40.0, 1) is _half_width(0.0, 16) is _half_width(None, 16) is None


@pytest.mark.parametrize(
    ("text", "bounds", "passed"),
    [
        ("energy<=2.05nJ", (2.0213145, 2.1213145), (True, False)),
        ("energy<2021pJ", (2021.3145, 2121.3145), (False, False)),
        ("energy>=0.00199uJ", (0.0019786855, 0.0020786855), (False, True)),
        ("synops<=905", (904.2629, 904.2629), (True, True)),
        ("macs<=300 on estimate", (300.0, 300.0), (True, True)),
    ],
)
def test_energy_is_decided_by_hand(text, bounds, passed):
    found = verdicts(text, energy=energy_results())
    assert [row["bound"] for row in found] == pytest.approx(bounds, rel=1e-7)
    assert tuple(row["passed"] for row in found) == passed
    assert {row["profile"] for row in found} == {"45nm-fp32"}


def test_energy_under_shift_and_where_nothing_varies():
    results = energy_results()
    (only,) = verdicts("energy(contrast:3)<=1.6nJ on estimate", energy=of_a(results))
    assert (only["value"], only["unit"], only["passed"]) == (1.6, "nJ", True)
    (mean,) = verdicts("energy(contrast)<=1.6nJ on estimate", energy=of_a(results))
    assert (mean["value"], mean["set"], mean["passed"]) == (1.7, "digits:contrast:1,3", False)
    (undecided,) = verdicts("energy(contrast:3)<=9nJ", energy=of_a(results))
    assert not undecided["passed"]
    assert "nothing varies" in undecided["why"]


def of_a(results):
    """The first network's alone."""
    kept = {"total": 1, "result": 1, "shift": 3}
    records = {name: rows[: kept[name]] for name, rows in results.records.items()}
    return Results(ENERGY, records, {})


def test_an_energy_of_which_nothing_is_priced_is_no_zero():
    found = verdicts("energy<=9J on estimate", energy=energy_results(totals_by_part={}))
    assert not any(row["passed"] for row in found)
    assert found[0]["why"] == "45nm-fp32 prices nothing that the network does"


def test_what_an_energy_leaves_out_is_said():
    left = {
        "uncounted": [{"name": "gru", "reason": "no rule"}],
        "unpriced": [
            {"part": "neurons", "operation": "leak", "reason": "the profile has no price for it"},
            {"part": "bias", "operation": "add", "reason": "the price … already holds it"},
        ],
    }
    found = verdicts("energy<=9nJ", "synops<=9e9", energy=energy_results(**left))
    assert [row["why"] for row in found[:2]] == ["the sum leaves out gru, neurons (leak)"] * 2
    assert [row["why"] for row in found[2:]] == ["", ""]
    assert all(row["passed"] for row in found)


def test_the_rate_is_that_of_ood_where_both_are_there():
    found = verdicts("rate<=1 on estimate", ood=ood_results(["a"]), energy=energy_results())
    assert [(row["label"], row["score"]) for row in found] == [("a", "entropy")]
    assert len(verdicts("rate<=1 on estimate", energy=energy_results())) == 2


# --- for a reader


def test_results_hold_what_was_required_of_them():
    plain = ood_results()
    assert plain.passed is None
    assert gated(plain, Request()) is plain
    asked = Request(require=("accuracy>=0.93", "accuracy>=0.5"))
    found = gated(plain, asked)
    assert found.passed is False
    assert list(found.requirements["passed"]) == [True, False, True, True]
    assert gated(plain, Request(require=("accuracy>=0.93",), on="estimate")).passed is False
    assert gated(plain, Request(require=("accuracy>=0.5",))).passed is True


def test_the_table_says_what_was_required_and_what_decided():
    found = verdicts("accuracy>=0.93", "auroc(x)<=0.94 on estimate", "fpr(x)<1")
    (table,) = requirement_tables(found)
    assert body_of(table) == [
        ["accuracy>=0.93", "a", "0.9600", "0.9400–0.9800", "0.9400", "yes"],
        ["", "b", "0.9000", "0.8800–0.9200", "0.8800", "NO"],
        ["auroc(x)<=0.94", "a", "0.9000", "0.8500–0.9500", "0.9000 (estimate)", "yes"],
        ["", "b", "0.9000", "0.8500–0.9500", "0.9000 (estimate)", "yes"],
        ["fpr(x)<1", "a", "0.0000", "–", "–", "NO"],
        ["", "b", "0.0000", "–", "–", "NO"],
    ]
    assert not requirement_tables([])
    assert not requirement_notes([])
    notes = requirement_notes(found)
    assert "speaks against them" in notes[0]
    assert notes[1].startswith("fpr(x)<1, a: the data give no interval")


@pytest.mark.parametrize(
    ("value", "needed", "shown"),
    [(0.949996, 0.95, "0.949996"), (0.95, 0.95, "0.9500"), (1234.5, 2000.0, "1,234.50"),
     (123456.7, 2e5, "123,457")],
)  # fmt: skip
def test_a_number_that_misses_by_little_does_not_look_as_if_it_met(value, needed, shown):
    row = verdicts("accuracy>=0.9")[0]
    row |= {"value": value, "low": None, "high": None, "needed": needed, "bound": value}
    assert body_of(requirement_tables([row])[0])[0][2] == shown


def test_networks_under_several_profiles_are_told_apart():
    results = energy_results()
    second = [{**row, "profile": "45nm-int8"} for row in results.records["total"]]
    records = {
        "total": [*results.records["total"], *second],
        "result": [*results.records["result"]] * 2,
        "shift": [],
    }
    found = verdicts("energy<=9nJ", energy=Results(ENERGY, records, {}))
    shown = [line[1] for line in body_of(requirement_tables(found)[0])]
    assert shown == ["a, 45nm-fp32", "b, 45nm-fp32", "a, 45nm-int8", "b, 45nm-int8"]


def test_what_is_not_met_is_one_sentence():
    check_met(verdicts("accuracy>=0.5"))
    with pytest.raises(RequirementError) as caught:
        check_met(verdicts("accuracy>=0.93", "fpr(x)<1", "accuracy<=0.1 on estimate"))
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        "5 of 6 requirements are not met: accuracy>=0.93 by b (low end of the interval 0.8800); "
        "fpr(x)<1 by a (not decided: the data give no interval: nothing varies, or there are too "
        "few samples); fpr(x)<1 by b (not decided: the data give no interval: nothing varies, or "
        "there are too few samples); and 2 more"
    )
    with pytest.raises(RequirementError, match=r"energy<=2nJ by a \(high end .* 2\.0213 nJ\)"):
        check_met(verdicts("energy<=2nJ", energy=of_a(energy_results())))


def test_every_number_of_a_requirement_is_finite():
    for row in verdicts("accuracy>=0.93", "auroc(x)<1"):
        assert all(math.isfinite(row[key]) for key in ("value", "low", "high", "bound", "needed"))
