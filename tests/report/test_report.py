"""The numbers of a report: those of the commands, by hand where they are its own; the file, and
what is refused.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ahsar_eval as ae
from ahsar_eval.data import DataOptions
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import PROFILES
from ahsar_eval.errors import OutputError, UsageError
from ahsar_eval.evaluation import verbs
from ahsar_eval.ood import outcomes
from ahsar_eval.ood.bootstrap import holm
from ahsar_eval.report.charts import Axis, path, round_steps
from ahsar_eval.report.content import _few
from ahsar_eval.report.page import Report
from ahsar_eval.report.run import traced_samples
from ahsar_eval.report.samples import CERTAIN, CONFIDENT, DOUBTFUL, SHIFTED
from ahsar_eval.report.verb import report as report_of
from ahsar_eval.report.verdict import _silent
from ahsar_eval.report.views import FORMATS, at

HOW: dict[str, Any] = {"replicates": 200, "adapt": "channel", "adapt_samples": 12}


# --- the same numbers as the commands


def test_rows_are_those_of_ood(report: Report) -> None:
    nets = [ae.load(name) for name in ("digits-vgg13-baseline", "digits-vgg13-ahsar")]
    sets = ["photo-patches", "digits:contrast", "digits:gaussian_blur:2"]
    alone = verbs.ood(nets, "digits", sets, options=DataOptions(limit=60), **HOW)
    for name in ("id", "rows", "means"):
        assert report.facts["ood"][name] == list(alone.records[name])


def test_differences_are_those_of_compare_but_for_the_family_of_holm(report: Report) -> None:
    names = ("digits-vgg13-baseline", "digits-vgg13-ahsar")
    sets = ["photo-patches", "digits:contrast", "digits:gaussian_blur:2"]
    how: dict[str, Any] = {
        "options": DataOptions(limit=60),
        "metrics": ("accuracy", "auroc"),
        "replicates": 200,
    }
    # Of both networks as they are: without --adapt no sample is left out, so the sets differ.
    plain = report_of(
        [ae.load(name) for name in names], "digits", sets, options=how["options"], replicates=200
    )
    alone = ae.compare(*map(ae.load, names), "digits", sets, **how)
    mine = [
        {key: row[key] for key in row if key not in ("label", "against")}
        for row in plain.facts["comparison"]
    ]
    assert mine == list(alone.records["differences"])


def test_one_family_holds_all_differences_of_a_page(report: Report) -> None:
    rows = report.facts["comparison"]
    pairs = {(one["label"], one["against"]) for one in rows}
    plain = ("digits-vgg13-ahsar", "digits-vgg13-baseline")
    assert plain in pairs
    assert len(pairs) == 3
    for label, against in pairs - {plain}:  # what adapts, from itself without
        assert label.startswith(f"{against} (")
    tested = [one for one in rows if one["p_value"] is not None]
    assert [one["p_holm"] for one in tested] == holm([one["p_value"] for one in tested])


@pytest.mark.parametrize("name", PROFILES)
def test_counts_times_prices_are_the_energy_of_every_profile(report: Report, name: str) -> None:
    for facts, network in zip(
        report.facts["energy"]["networks"], report.found.networks, strict=True
    ):
        known = estimate(network.recording, PROFILES[name], checkpoint="x").row
        prices = facts["prices"][name]
        total = sum(
            line["count"] * price
            for line, price in zip(facts["lines"], prices, strict=True)
            if price is not None
        )
        assert total == pytest.approx(known["total_energy_pj"], rel=1e-12)
        assert facts["totals_pj"][name] == pytest.approx(known["total_energy_pj"], rel=1e-12)
        missing = {f"{one['operation']} of {one['part']}" for one in known["unpriced"]}
        assert set(facts["unpriced"][name]) == missing


def test_energy_on_a_shift_is_that_of_energy(report: Report) -> None:
    net = ae.load("digits-vgg13-baseline")
    how: dict[str, Any] = {"adapt": "channel", "adapt_samples": 12}
    alone = verbs.energy(net, "digits", shift="contrast:3", options=DataOptions(limit=60), **how)
    (known,) = (
        row["total_energy_pj"]
        for row in alone.records["shift"]
        if row["severity"] == 3 and "adaptation" not in row
    )
    mine = report.facts["networks"][0]["energy_pj"]["digits:contrast:3"]
    assert mine == pytest.approx(known, rel=1e-12)


def test_conventions_and_ledgers_are_those_of_energy(report: Report) -> None:
    energy = report.facts["energy"]
    ours = {one["convention"]: one for one in energy["conventions"] if one["thresholds"] == "base"}
    assert set(ours) == {"ahsar-eval", "neurobench", "spikingjelly", "syops", "rate-flops"}
    walks: dict[str, list[dict[str, Any]]] = {}
    for step in energy["ledger"]:
        if step["thresholds"] == "base":
            walks.setdefault(step["end"], []).append(step)
    for name, walk in walks.items():
        start, *steps, end = walk
        for kind in ("macs", "acs"):
            key = f"{kind}_per_inference"
            moved = start[key] + sum(step[key] for step in steps)
            assert moved == pytest.approx(end[key], rel=1e-9)
            assert end[key] == pytest.approx(ours[name][key], rel=1e-12)


# --- its own


def test_dead_and_saturated_neurons_are_counted(report: Report) -> None:
    for facts, network in zip(report.facts["spikes"], report.found.networks, strict=True):
        for layer, activity in zip(facts["layers"], network.recording.layers, strict=True):
            rates = activity.rate_map.ravel().tolist()
            assert layer["dead"] == sum(rate == 0 for rate in rates)
            assert layer["saturated"] == sum(rate >= 0.95 for rate in rates)
            assert layer["rate"] == pytest.approx(np.mean(rates), rel=1e-9)


def test_samples_are_the_extremes_of_their_kind(report: Report) -> None:
    network = report.found.networks[0]
    kinds = {kind: _samples(report, kind) for kind in (CONFIDENT, DOUBTFUL, SHIFTED, CERTAIN)}
    clean = network.result.id_set
    found = outcomes(clean.logits, clean.labels)
    wrong = sorted(np.flatnonzero(~found.correct), key=lambda i: (-found.confidence[i], i))[:4]
    assert [one["index"] for one in kinds[CONFIDENT]] == wrong
    assert all(one["class"] != one["predicted"] for one in kinds[CONFIDENT] + kinds[SHIFTED])
    doubtful = np.argsort(-clean.scores["entropy"], kind="stable")[:4]
    assert [one["index"] for one in kinds[DOUBTFUL]] == doubtful.tolist()
    strange = next(one for one in network.result.others if one.name == "photo-patches")
    certain = np.argsort(strange.scores["entropy"], kind="stable")[:4]
    assert [one["index"] for one in kinds[CERTAIN]] == certain.tolist()
    assert {one["set"] for one in kinds[SHIFTED]} <= {"digits:contrast:5", "digits:gaussian_blur:2"}


def _samples(report: Report, kind: str) -> list[dict[str, Any]]:
    label = report.found.networks[0].label
    return [one for one in report.facts["samples"] if (one["label"], one["kind"]) == (label, kind)]


def test_bins_of_calibration_hold_every_sample_within_wilsons_interval(report: Report) -> None:
    sets = [one["ood"] for one in report.facts["calibration"] if one["label"] == _first(report)]
    assert sets == ["digits", "digits:contrast:5", "digits:gaussian_blur:2"]
    for one in report.facts["calibration"]:
        assert sum(bin["n"] for bin in one["bins"]) == one["n"]
        row = next(
            row
            for row in report.facts["ood"]["rows"] + report.facts["ood"]["id"]
            if (row["label"], row["ood"]) == (one["label"], one["ood"])
        )
        mean = sum(bin["accuracy"] * bin["n"] for bin in one["bins"]) / one["n"]
        known = row["accuracy"] if "accuracy" in row else row["accuracy_ood"]
        assert mean == pytest.approx(known if known is not None else row["accuracy_ood"], rel=1e-9)
        for bin in one["bins"]:
            assert 0 <= bin["accuracy_low"] <= bin["accuracy"] <= bin["accuracy_high"] <= 1
            assert bin["accuracy_low"] < bin["accuracy_high"]
        assert one["risk"][-1] == pytest.approx(1 - mean, abs=1e-4)


def _first(report: Report) -> str:
    return report.found.networks[0].label


def test_a_point_is_on_the_front_where_none_is_as_accurate_for_less(report: Report) -> None:
    points = report.facts["energy"]["points"]
    assert {one["on"] for one in points} == {"ID set", "shifts"}
    for one in points:
        beaten = any(
            other["on"] == one["on"]
            and other["accuracy"] >= one["accuracy"]
            and other["energy_pj"] <= one["energy_pj"]
            and other is not one
            for other in points
        )
        assert one["front"] == (not beaten)


def test_histograms_hold_every_sample_and_curves_both_ends(report: Report) -> None:
    for one in report.facts["distributions"]:
        assert sum(one["id"]) == pytest.approx(1, abs=1e-3)
        assert sum(one["values"]) == pytest.approx(1, abs=1e-3)
        assert len(one["edges"]) == len(one["id"]) + 1 == len(one["values"]) + 1
        assert (one["fpr"][0], one["tpr"][0]) == (0, 0)
        assert (one["fpr"][-1], one["tpr"][-1]) == (1, 1)
        assert len(one["fpr"]) <= 64


def test_few_points_of_a_curve_keep_its_ends() -> None:
    kept = _few(np.linspace(0, 2, 1001))
    assert kept[0] == 0
    assert kept[-1] == 1000
    assert 50 <= len(kept) <= 62
    assert _few(np.zeros(5)).tolist() == [0, 4]


@pytest.mark.parametrize(
    ("samples", "traces", "known"),
    [(10, 0, ()), (10, 1, (0,)), (10, 2, (0, 9)), (10, 4, (0, 3, 6, 9)), (2, 4, (0, 1))],
)
def test_traced_samples_are_spread_over_the_set(
    samples: int, traces: int, known: tuple[int, ...]
) -> None:
    assert traced_samples(samples, traces) == known


def test_axes_and_paths_by_hand() -> None:
    x, y = Axis(0, 10, 100, 200), Axis(0, 1, 50, 0)
    assert x.at(2.5) == 125
    assert path([(0, 0), (10, 1)], x, y) == "M100 50 200 0"
    assert Axis(1, 1, 5, 9).at(1) == 5


@pytest.mark.parametrize(
    ("most", "steps"),
    [(1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (17.6, [0, 5, 10, 15]), (1999, [0, 500, 1000, 1500])],
)
def test_steps_of_an_axis_are_round(most: float, steps: list[float]) -> None:
    assert round_steps(most) == pytest.approx(steps)


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        ("fraction", 0.12345, "0.123"),
        ("whole", 12345.6, "12,346"),
        ("difference", -0.0126, "−0.013"),
        ("difference", 0.0126, "+0.013"),
        ("difference", -0.0001, "0.000"),
        ("p", 0.0004, "< 0.001"),
        ("p", 0.0126, "0.013"),
        ("nanojoule", 1234567.0, "1,234.57"),
        ("threshold", 0.96666, "0.9667"),
    ],
)
def test_numbers_are_written(form: str, value: float, text: str) -> None:
    assert FORMATS[form](value) == text


def test_a_key_with_dots_ends_a_path() -> None:
    facts = {"a": [{"truenorth-2.5": 3, "b": {"digits:gaussian_blur:2": 4}}]}
    assert at(facts, "a.0.truenorth-2.5") == 3
    assert at(facts, "a.0.b.digits:gaussian_blur:2") == 4


# --- what it says


def test_the_verdict_is_one_sentence_of_numbers_on_the_page(report: Report) -> None:
    verdict = report.facts["verdict"]
    assert verdict.count(". ") == 0
    for row in report.facts["ood"]["id"]:
        assert f"{row['accuracy']:.3f} for {row['label']}" in verdict


def test_doubts_are_said(report: Report) -> None:
    told = {one["kind"]: one["text"] for one in report.facts["banners"]}
    assert "one training" in told
    assert "chance level" in told  # digits:contrast:5 leaves less than a guess needs


def test_layers_that_are_silent_are_said() -> None:
    layers = [
        {"name": name, "neurons": 10, "dead": dead}
        for name, dead in (("a", 4), ("b", 5), ("c", 10))
    ]
    spikes = [{"label": "mine", "layers": layers}, {"label": "other", "layers": layers[:1]}]
    ((kind, said),) = _silent({"spikes": spikes, "id": {"name": "digits"}})
    assert kind == "silent neurons"
    assert said.endswith("on no sample of digits in b (50 %), c (100 %) of mine.")


def test_few_samples_ties_and_strange_layers_are_said() -> None:
    small = report_of(
        ae.load("digits-vgg13-baseline"),
        "digits",
        "photo-patches",
        options=DataOptions(limit=30),
        replicates=100,
        traces=0,
        examples=0,
        profile="loihi",
    )
    told = {one["kind"]: one["text"] for one in small.facts["banners"]}
    assert "digits (30)" in told["few samples"]
    assert "loihi has no price for" in told["not priced"]
    assert small.facts["samples"] == []
    assert small.facts["spikes"][0]["samples"] == []
    assert 'id="comparison"' not in small.html
    assert "No examples were asked for" in small.html


# --- what is required


def test_requirements_are_decided_by_ood_and_by_energy() -> None:
    required = [
        "accuracy>=0.5",
        "accuracy(gaussian_blur:2)>=0.999",
        "auroc(photo-patches)>=0.1",
        "energy<=1J",
        "energy(gaussian_blur:2)<=1pJ",
    ]
    found = report_of(
        ae.load("digits-vgg13-baseline"),
        "digits",
        ["photo-patches", "digits:gaussian_blur:2"],
        options=DataOptions(limit=60),
        replicates=100,
        require=required,
    )
    assert [one["passed"] for one in found.facts["requirements"]] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert found.passed is False
    assert found.facts["verdict"].startswith("2 of 5 requirements are not met (accuracy(")
    energy = found.facts["requirements"][4]
    known = found.facts["networks"][0]["energy_pj"]["digits:gaussian_blur:2"]
    assert energy["value"] == pytest.approx(known, rel=1e-12)
    assert energy["low"] < energy["value"] < energy["high"]


@pytest.mark.parametrize(
    ("required", "said"),
    [
        ("energy(photo-patches)<=1J", "photo-patches, which is not evaluated"),
        ("auroc(svhn)>=0.5", "svhn, which is not evaluated"),
        ("speed>=1", "unknown metric 'speed'"),
    ],
)
def test_requirements_that_can_never_be_decided_are_refused(required: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        report_of(ae.load("digits-vgg13-baseline"), "digits", "photo-patches", require=required)


def test_the_command_ends_with_1_where_a_requirement_is_not_met(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    out, junit = tmp_path / "page.html", tmp_path / "gate.xml"
    asked = ["--id", "digits", "--ood", "photo-patches", "--limit", "30", "--out", out]
    asked += ["--junit", junit, "--require"]
    told = command("report", "digits-vgg13-baseline", *asked, "accuracy>=0.999")
    assert told.code == 1
    assert "accuracy>=0.999" in told.err
    assert "not met" in out.read_text(encoding="utf-8")
    assert junit.read_text(encoding="utf-8").count("<failure") == 1
    assert command("report", "digits-vgg13-baseline", *asked, "accuracy>=0.1").code == 0


# --- the file


def test_the_page_holds_the_json_once_and_unchanged(page: Path, report: Report) -> None:
    text = page.read_text(encoding="utf-8")
    (held,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    written = page.with_suffix(".json").read_text(encoding="utf-8")
    assert held == written
    assert json.loads(written)["ood"]["rows"] == report.facts["ood"]["rows"]
    assert len(text.encode()) < 5_000_000


def test_nothing_is_fetched_and_the_script_is_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href|action)="(?!data:|#)', text)
    assert "url(" not in text
    assert "@import" not in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(script.splitlines()) <= 300


def test_the_same_input_gives_the_same_bytes_but_for_the_time(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    out, asked = tmp_path / "page.html", ["--id", "digits", "--ood", "photo-patches"]
    pages = []
    for _ in range(2):
        told = command("report", "digits-vgg13-baseline", *asked, "--limit", "30", "--out", out)
        assert told.code == 0, told.err
        time = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
        pages.append(out.read_text(encoding="utf-8").replace(time["provenance"]["time"], "now"))
    assert pages[0] == pages[1]


def test_pages_of_others_are_not_replaced(report: Report, tmp_path: Path) -> None:
    mine = tmp_path / "report.html"
    mine.write_text("<!DOCTYPE html><title>mine</title>")
    with pytest.raises(OutputError, match=r"is no report of ahsar-eval; name another file"):
        report.save(mine)
    other = tmp_path / "other.html"
    other.with_suffix(".json").write_text('{"a": 1}')
    with pytest.raises(OutputError, match=r"other\.json' is there and is no report"):
        report.save(other)
    assert not other.exists()
    with pytest.raises(OutputError, match=r"a report is HTML; name a file that ends in \.html"):
        report.save(tmp_path / "report.pdf")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        report.save(mine / "report.html")
    (free,) = {tmp_path / "new.html"}
    assert report.save(free) == report.save(free) == [free, free.with_suffix(".json")]


# --- the commands


def test_the_command_writes_the_page_of_the_verb(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    asked = [
        "--id",
        "digits",
        "--ood",
        "digits:gaussian_blur:2",
        "--limit",
        "40",
        "--bootstrap",
        "100",
    ]
    told = command("report", "digits-vgg13-baseline", *asked, "--traces", "1", "--out", out)
    assert told.code == 0, told.err
    assert f"wrote {out}" in told.err
    assert "digits-vgg13-baseline" in told.out
    verb = report_of(
        ae.load("digits-vgg13-baseline"),
        "digits",
        "digits:gaussian_blur:2",
        options=DataOptions(limit=40),
        replicates=100,
        traces=1,
    )
    written = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    same = json.loads(verb.json)
    for facts in (written, same):
        facts["provenance"]["command"] = facts["provenance"]["time"] = ""
    assert written == same


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--ood", "photo-patches", "--traces", "13"],
            "--traces is 13; expected a whole number from 0 to 12",
        ),
        (["--ood", "photo-patches", "--examples", "-1"], "--examples is -1; expected"),
        (["--ood", "photo-patches", "--out", "page.txt"], "a report is HTML; name a file"),
        (["--ood", "photo-patches", "--profile", "loihi2"], "Loihi 2"),
        ([], "no OOD set was named; give at least one with --ood"),
        (["--ood", "photo-patches", "--by", "class"], "No such option"),
    ],
)
def test_misuse_is_one_sentence(
    command: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    told = command("report", "digits-vgg13-baseline", "--id", "digits", *options)
    assert told.code == 2
    assert said in told.err
    assert told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_verb_refuses_what_is_not_its_own() -> None:
    net = ae.load("digits-vgg13-baseline")
    with pytest.raises(UsageError, match="unknown setting 'metrics': report has none"):
        report_of(net, "digits", "photo-patches", metrics=("auroc",))
    with pytest.raises(OutputError, match="a report is HTML"):
        report_of(net, "digits", "photo-patches", out="x.pdf")


def test_warnings_reach_the_page(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHSAR_EVAL_DATA", str(tmp_path / "none"))
    out = tmp_path / "page.html"
    asked = ["--ood", "photo-patches", "--limit", "20", "--bootstrap", "100", "--out", out]
    told = command("report", "cifar10-jpeg-vgg13-baseline", *asked)
    assert told.code == 0, told.err
    (warned,) = [line for line in told.err.splitlines() if "warning:" in line]
    assert "cifar10-mini stands in" in warned
    banners = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["banners"]
    assert warned.partition("warning: ")[2] in [one["text"] for one in banners]
