"""Evaluations with networks that adapt at test time beside those that do not: told apart in every
list, compared on the same samples, and nothing is fitted or carried where it must not be.
"""

import math
from dataclasses import replace
from typing import Any

import pytest

import ahsar_eval
from ahsar_eval.data import DataOptions
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation import energy as energies
from ahsar_eval.evaluation import ood as separation
from ahsar_eval.evaluation import sweep as sweeps
from ahsar_eval.evaluation.adapting import effort_notes
from ahsar_eval.evaluation.calibration import calibrated
from ahsar_eval.evaluation.inputs import planned
from ahsar_eval.evaluation.requests import EnergyRequest, Request, SweepRequest
from ahsar_eval.options import made
from ahsar_eval.plots import drawn
from ahsar_eval.recording import RecordingStore, record
from ahsar_eval.recording.adaptation import record_adapted
from ahsar_eval.recording.runner import Runner

ONLINE = {"adapt": "channel", "protocol": "online", "adapt_batch": 16}
EPISODE = {"adapt": "channel", "adapt_samples": 10}
ae: Any = ahsar_eval  # with its folders that are verbs
WORDS = ("adapted", "adapting", "adapts", "regulation", "Protocol", "test time")
PLAIN, ADAPTED = "tiny", "tiny (channel, episodic)"


@pytest.fixture(scope="module")
def set_points(make_tiny):
    return calibrated(Runner(make_tiny()), "digits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture
def net(make_tiny, folder):
    return Runner(replace(make_tiny(), name="tiny"), store=RecordingStore(folder))


@pytest.fixture
def few(few_digits):
    return f"npz:{few_digits}"


@pytest.fixture
def passes(monkeypatch):
    """Role and shift of every split that was recorded, and whether the network adapted to it."""
    seen = []

    def noted(recorder, adapts):
        def recorded(net, split, *arguments, **options):
            seen.append((split.source.role, split.shift, adapts))
            return recorder(net, split, *arguments, **options)

        return recorded

    for name, recorder in (("record", record), ("record_adapted", record_adapted)):
        wrapped = noted(recorder, name != "record")
        monkeypatch.setattr(f"ahsar_eval.recording.runner.{name}", wrapped)
    return seen


# --- energy


def test_energy_tells_a_network_that_adapts_from_itself_without(net, few, set_points):
    asked = {**ONLINE, "set_points": set_points}
    found = ae.energy(net, few, shift=("contrast:2", "contrast:4"), scales="0.5,1", **asked)
    results = found.records["result"]
    assert [row["thresholds"] for row in results] == ["base", "channel, online"]
    assert [row.get("adaptation") for row in results] == [None, "channel, online"]
    # Each list holds both, and arrays of both are there.
    for name in ("layer", "account", "total", "shift"):
        origins = {row["thresholds"] for row in found.records[name]}
        assert origins == {"base", "channel, online"}
    keys = [key for key in found.arrays if "contrast:2" in key]
    assert len(keys) == 2
    assert "tiny (channel, online)" in keys[1]
    contrasts = found.records["contrast"]
    assert {(row["first"], row["second"]) for row in contrasts} == {
        ("tiny", "tiny (channel, online)")
    }
    # The scales are of the network without; adapting is one point more, with a front of its own.
    points = [(row["scale"], row.get("adaptation"), row["own"]) for row in found.records["scale"]]
    assert points == [(0.5, None, False), (1.0, None, True), (None, "channel, online", True)]
    text = found.to_text(width=200)
    assert "adapted (own)" in text
    assert "regulation: add, counters" in text
    assert "Protocol online: samples come in an order drawn by seed 0, in batches of 16" in text


def test_a_stream_pays_for_its_counters_and_an_episode_says_what_it_took(net, few, set_points):
    stream = ae.energy(net, few, **ONLINE, set_points=set_points)
    plain, regulated = stream.records["result"]
    lines = [row for row in regulated["parts"] if row["part"] == "regulation"]
    spikes = sum(row["spikes"] for row in regulated["neurons"])
    assert sum(row["count"] for row in lines if row["detail"] == "counters") == spikes
    writes = sum(row["count"] for row in lines if row["operation"] == "write")
    number = sum(len(point.rates) for point in set_points.layers.values())
    assert writes == pytest.approx(number * math.ceil(40 / 16) / 40)
    assert not [row for row in plain["parts"] if row["part"] == "regulation"]
    episode = ae.energy(net, few, **EPISODE, set_points=set_points)
    adapted = episode.records["result"][1]
    assert adapted["n"] == 30
    assert adapted["regulation"]["operations"] == 0
    took = adapted["regulation"]["passes"]
    assert took > 0
    assert adapted["regulation"]["once_pj"] == pytest.approx(took * adapted["total_energy_pj"])
    (note,) = [one for one in episode.notes if "sample passes" in one]
    assert f"took {took:,} sample passes" in note
    assert "regulation: " not in episode.to_text(width=200)


def test_without_adapt_energy_says_nothing_of_it(net, few):
    found = ae.energy(net, few, shift="contrast:2", scales="0.5,1")
    told = found.to_text() + found.to_csv() + str(found.kind.content(found))
    assert not [word for word in WORDS if word in told]


@pytest.mark.parametrize("module", [energies, separation, sweeps])
def test_a_stream_without_reset_begins_with_the_id_set_whenever_it_is_run(
    net, few, set_points, module
):
    kind: Any = {energies: EnergyRequest, separation: Request, sweeps: SweepRequest}[module]
    names = (f"{few}:contrast:5", f"{few}:contrast:1")
    sets = {"shifts": names} if module is energies else {"ood_names": names, "replicates": 100}
    more = {"scales": "1"} if module is sweeps else {}
    asked = {**ONLINE, "protocol": "continual", "set_points": set_points, **sets, **more}
    net.store = RecordingStore(None)
    made_request: Any = made(kind, data_name=few, **asked)
    plans, request = planned(module, [net], made_request)
    first, second = (module.evaluation(request, plans).to_csv() for _ in range(2))
    assert first == second
    online, request = planned(module, [net], replace(made_request, protocol="online"))
    assert module.evaluation(request, online).to_csv().replace("online", "continual") != first


# --- ood


@pytest.fixture
def found(net, few, set_points):
    return ae.ood(net, few, f"{few}:contrast", **EPISODE, set_points=set_points, replicates=100)


def test_what_adaptation_costs_is_recorded_for_every_set_with_and_without(found, net, few):
    rows = found.records["test_time"]
    assert [(row["label"], row["severity"]) for row in rows] == [
        (label, severity) for label in (PLAIN, ADAPTED) for severity in range(6)
    ]
    for row in rows:
        assert {"effort", "at_bound", "passes"} <= row.keys() or row["label"] == PLAIN
        assert row["n"] == 30
    by_set = {(one["label"], one["ood"]): one for one in found.records["rows"]}
    for row in rows[1:6]:
        other = by_set[row["label"], row["ood"]]
        assert (row["accuracy"], row["mean_rate"]) == (
            other["accuracy_ood"],
            other["mean_rate_ood"],
        )
    (clean,) = [row for row in found.records["id"] if row["label"] == PLAIN]
    assert rows[0]["accuracy"] == clean["accuracy"]
    assert "At test time" in found.to_text(detail=True)


def test_energies_are_those_of_the_same_recordings(net, few, set_points):
    shifted = f"{few}:contrast:3"
    rows = ae.ood(net, few, shifted, **EPISODE, set_points=set_points, replicates=100)
    energies = ae.energy(net, few, shift="contrast:3", **EPISODE, set_points=set_points)
    by_name = {(row["thresholds"], row["data"]): row for row in energies.records["shift"]}
    for row in rows.records["test_time"]:
        if row["shift"]:
            other = by_name[row["thresholds"], row["ood"]]
            assert row["energy_pj"] == pytest.approx(other["total_energy_pj"])


def test_notes_say_what_adapts_and_what_it_takes_from_detectors(found):
    notes = "\n".join(found.notes)
    assert "Protocol episodic: 10 unlabelled samples of each set, drawn by seed 0, adapt" in notes
    assert f"{ADAPTED}: a threshold of each channel goes for the channel's mean rate on" in notes
    assert f"{ADAPTED}, effort" in notes
    assert "AUROC falls and FPR rises towards chance by design" in notes


def test_a_limit_is_told_beside_the_samples_that_adapt(net, few, set_points):
    found = ae.ood(
        net,
        few,
        f"{few}:contrast:3",
        options=DataOptions(limit=24),
        set_points=set_points,
        replicates=100,
        **EPISODE,
    )
    notes = "\n".join(found.notes)
    assert "the first 24 of a fixed shuffle of 40 samples (--limit)." in notes
    assert "Protocol episodic: 10 unlabelled samples" in notes


def test_samples_that_are_left_out_for_nothing_are_told(net, few):
    found = ae.ood(net, few, f"{few}:contrast:3", adapt="none", adapt_samples=10, replicates=100)
    told = [note for note in found.notes if "left out" in note]
    assert told == [
        "10 samples of each set are left out, those that networks would adapt to (--adapt none, "
        "--adapt-samples)."
    ]
    stream = ae.ood(net, few, f"{few}:contrast:3", adapt="none", protocol="online", replicates=100)
    assert not [note for note in stream.notes if "left out" in note]


def test_a_stream_goes_on_from_results_named_by_a_text(net, few, set_points, tmp_path):
    asked = {"set_points": set_points, "replicates": 100, **ONLINE}
    file = tmp_path / "ood.json"
    file.write_text(ae.ood(net, few, f"{few}:contrast:3", **asked).to("json"))
    found = ae.ood(net, few, f"{few}:contrast:3", adapt_start=str(file), **asked)
    assert "it begins where an earlier stream ended" in "\n".join(found.notes)


def test_of_norms_alone_nothing_is_said_of_regulation(net, few):
    found = ae.ood(
        net, few, f"{few}:contrast:3", adapt="batchnorm", adapt_samples=10, replicates=100
    )
    notes = "\n".join(found.notes)
    assert "by design" not in notes
    assert "effort" not in notes
    assert "batch norms take the statistics" in notes


def test_effort_and_bound_are_told_set_by_set_and_layers_left_out():
    sets: dict[str, Any] = {
        "a": {"effort": 0.1, "at_bound": 0.0, "left_out": "odd, other"},
        "b": {"effort": 0.25, "at_bound": 0.5},
    }
    first, second = effort_notes("net", sets)
    assert first.endswith("0.100 on a, 0.250 on b; at the bound: 50 % on b.")
    assert second == "net: not regulated, without a v_threshold: odd, other."
    many: dict[str, Any] = {"a": {"effort": 0.1, "at_bound": 0.0}} | {
        str(i): {"effort": i / 10, "at_bound": 0.1} for i in range(1, 9)
    }
    (note,) = effort_notes("net", many)
    assert "0.100 to 0.800 on 8 others; at the bound: 10 % on 1, 10 % on 2" in note
    assert note.endswith("and 2 more sets.")
    assert effort_notes("net", {"a": {"passes": 3}}) == []


@pytest.mark.parametrize("protocol", ["online", "episodic"])
def test_scores_are_fitted_on_the_network_as_it_is(
    net, few, set_points, passes, protocol, tmp_path
):
    net.store = RecordingStore(tmp_path)
    asked = {**EPISODE, "protocol": protocol, "set_points": set_points}
    found = ae.ood(net, few, f"{few}:contrast:3", score="mahalanobis", fit_name="digits", **asked)
    # Training data are seen once for both networks, by the one that does not adapt.
    assert [one for one in passes if one[0] == "train"] == [("train", None, False)]
    assert [(shift, adapts) for role, shift, adapts in passes if role != "train"] == [
        *((None, False), ("contrast", False), (None, True), ("contrast", True))
    ]
    assert len(found.records["rows"]) == 2


def test_odin_is_refused_with_adaptation(net, few, set_points, command, tiny_pair):
    with pytest.raises(UsageError, match="odin steps against the gradient of one fixed network"):
        ae.ood(net, few, f"{few}:contrast:3", score="odin", set_points=set_points, **EPISODE)
    none = {"adapt": "none", "adapt_samples": 10, "replicates": 100}
    ae.ood(net, few, f"{few}:contrast:3", score="odin", **none)
    found = command(
        "ood", tiny_pair[0], "--id", few, "--ood", f"{few}:contrast:3", "--score", "odin",
        "--adapt", "batchnorm",
    )  # fmt: skip
    assert found.code == 2
    assert found.err.count("\n") == 1


def test_the_baseline_is_the_network_without(net, few, set_points):
    # A baseline among networks of one name is the one that does not adapt.
    ood = ae.ood(
        net, few, f"{few}:contrast:3", baseline="tiny", set_points=set_points, **EPISODE,
        replicates=100,
    )  # fmt: skip
    assert any("Nothing is relative to tiny" in note for note in ood.notes)


# --- compare


def test_one_checkpoint_is_compared_with_itself_adapting(net, few, set_points):
    asked = {**EPISODE, "set_points": set_points, "replicates": 100}
    metrics = ("accuracy", "mean_rate")
    found = ae.compare(net, id=few, ood=f"{few}:contrast:3", metrics=metrics, **asked)
    assert (found.facts["a"], found.facts["b"]) == ([PLAIN], [ADAPTED])
    alone = ae.ood(net, few, f"{few}:contrast:3", **asked)
    without, with_ = alone.records["rows"]
    for row in found.records["differences"]:
        if row["kind"] == "set":
            metric = f"{row['metric']}_ood"
            assert (row["a"], row["b"]) == (without[metric], with_[metric])
            assert row["difference"] == pytest.approx(with_[metric] - without[metric])
    assert any(note.startswith(f"A: {PLAIN}. B: {ADAPTED}.") for note in found.notes)


def test_of_two_checkpoints_both_adapt(net, few, set_points, make_tiny, tmp_path):
    other = Runner(replace(make_tiny(regulated=True), name="ours"), store=net.store)
    points = [set_points, calibrated(other, "digits")]
    asked = {"set_points": points, "replicates": 100, "metrics": "accuracy", **EPISODE}
    found = ae.compare(net, other, few, f"{few}:contrast:3", **asked)
    assert (found.facts["a"], found.facts["b"]) == ([ADAPTED], ["ours (channel, episodic)"])


def test_seeds_are_each_compared_with_themselves(net, few, set_points, make_tiny):
    second = make_tiny()
    weights = {name: tensor * 1.01 for name, tensor in second.weights.items()}
    facts = {**second.provenance, "seed": 4}
    checkpoint = replace(second, name="second", weights=weights, provenance=facts, sha256="other")
    both = [net, Runner(checkpoint, store=net.store)]
    points = [set_points, calibrated(both[1], "digits")]
    asked = {"set_points": points, "replicates": 100, "metrics": "accuracy", **EPISODE}
    found = ae.compare(both, id=few, ood=f"{few}:contrast:3", **asked)
    assert found.facts["a"] == [PLAIN, "second"]
    assert found.facts["b"] == [ADAPTED, "second (channel, episodic)"]
    assert any("Matched by seed: 3, 4" in note for note in found.notes)


def test_what_compare_refuses(net, few, set_points, command):
    two = {**EPISODE, "adapt": "channel,batchnorm", "set_points": set_points}
    with pytest.raises(UsageError, match="--adapt names 2 ways to adapt, and B can have one"):
        ae.compare(net, id=few, ood=f"{few}:contrast:3", **two)
    for more in ({}, {"adapt": "none"}):
        with pytest.raises(UsageError, match="A names 1 checkpoints and B 0"):
            ae.compare(net, id=few, ood=f"{few}:contrast:3", **more)
    found = command("compare", "digits-vgg13-baseline", "--ood", "digits:contrast")
    assert (found.code, found.out) == (2, "")
    assert found.err == ("ahsar-eval: Missing argument 'B' (see ahsar-eval compare --help)\n")


def test_the_command_compares_a_checkpoint_with_itself(command, tiny_pair, few):
    asked = ("compare", tiny_pair[0], "--adapt", "batchnorm", "--adapt-samples", 10)
    found = command(
        *asked, "--id", few, "--ood", f"{few}:contrast:3", "--bootstrap", 100, "--no-cache"
    )
    assert found.code == 0, found.err
    assert "B: small-baseline (batchnorm, episodic)" in found.out


# --- sweep


def test_a_sweep_has_one_point_more_for_a_network_that_adapts(net, few, set_points):
    asked = {**EPISODE, "set_points": set_points, "scales": "0.5,1", "replicates": 100}
    found = ae.sweep(net, few, f"{few}:contrast:3", **asked)
    points = {(row["row"], row["scale"]): row for row in found.records["point"]}
    assert [row for row, _ in points] == ["own", "scale", "adapted"]
    (adapted,) = [row for (kind, _), row in points.items() if kind == "adapted"]
    own = points["own", 1.0]
    assert (own["n"], adapted["n"]) == (30, 30)  # the same samples are left out
    assert adapted["adaptation"] == "channel, episodic"
    assert [adapted[name] for name in ("rate", "gate", "slope")] == [None, None, None]
    assert own["gate"] is not None
    moved = ae.ood(net, few, f"{few}:contrast:3", **EPISODE, set_points=set_points, replicates=100)
    clean = moved.records["test_time"][2]
    assert (clean["label"], clean["ood"]) == (ADAPTED, own["set"])
    assert adapted["accuracy"] == clean["accuracy"]
    assert adapted["energy_pj"] == pytest.approx(clean["energy_pj"])
    assert 0 < adapted["scale_low"] <= adapted["scale"] <= adapted["scale_high"]
    shown = found.to_text(width=200)
    assert "(channel, episodic)" in shown
    assert "not measured there (–)" in shown
    drawn(found, "threshold_sweep")


def test_the_point_of_a_stream_without_reset_is_of_its_first_pass(net, few, set_points):
    asked = {**ONLINE, "protocol": "continual", "set_points": set_points, "replicates": 100}
    swept = ae.sweep(net, few, f"{few}:contrast:3", scales="1", **asked)
    (adapted,) = [row for row in swept.records["point"] if row["row"] == "adapted"]
    alone = ae.ood(net, few, f"{few}:contrast:3", **asked)
    assert adapted["mean_rate"] == alone.records["id"][1]["mean_rate"]
    assert adapted[f"auroc {few}:contrast:3"] == alone.records["rows"][1]["auroc"]


def test_a_sweep_without_adapt_says_nothing_of_it(net, few):
    found = ae.sweep(net, few, f"{few}:contrast:3", scales="0.5,1", replicates=100)
    told = found.to_text() + found.to_csv() + str(found.kind.content(found))
    assert not [word for word in WORDS if word in told]
