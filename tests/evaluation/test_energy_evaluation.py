"""A whole energy evaluation: what is refused before the first pass, how often each set is read,
what becomes of shifts and scales.
"""

from dataclasses import replace

import numpy as np
import pytest

from ahsar_eval.data import open_split
from ahsar_eval.data.split import subset
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.conventions import reconcile
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.energy.result import samples_key
from ahsar_eval.energy.shift import relative_terms
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.evaluation.energy import evaluation, own_scale, plan, requested
from ahsar_eval.evaluation.requests import EnergyRequest
from ahsar_eval.networks.checkpoints import load_checkpoint
from ahsar_eval.recording import RecordingStore, record
from ahsar_eval.recording.runner import Runner

FP32, INT8 = "45nm-fp32", "45nm-int8"


@pytest.fixture
def few(tmp_path):
    """Twelve test digits as an archive, with labels."""
    split = open_split("digits", (1, 16, 16))
    np.savez(tmp_path / "few.npz", x=split.tensors(np.arange(12))[0].numpy(), y=split.labels[:12])
    return f"npz:{tmp_path / 'few.npz'}"


@pytest.fixture
def passes(monkeypatch):
    """Name of the split and first threshold of every pass made."""
    made = []

    def counted(net, split, **options):
        found = record(net, split, **options)
        made.append((split.name.rpartition(".npz")[2], next(iter(found.thresholds.values()))))
        return found

    monkeypatch.setattr("ahsar_eval.recording.runner.record", counted)
    return made


def evaluated(request, *runners):
    asked = requested(request)
    return evaluation(asked, [plan(asked, runner) for runner in runners])


def changes(row):
    return {name: value for name, value in row.items() if "_change" in name}


def test_one_pass_over_each_set_and_scale_serves_every_profile(few, passes, make_tiny):
    request = EnergyRequest(
        few, (FP32, INT8), shifts=("contrast:5", "rotation:1"), scales=(0.5, 1.0)
    )
    found = evaluated(request, Runner(make_tiny(regulated=True))).records
    assert passes == [
        ("", 0.75),
        (":contrast:5", 0.75),
        (":rotation:1", 0.75),
        ("", 0.5),
        ("", 1.0),
    ]
    assert [row["profile"] for row in found["total"]] == ["45nm-fp32", "45nm-int8"]
    fp32, int8 = ([row for row in found["shift"] if row["profile"] == one] for one in (FP32, INT8))
    assert [one["synops_change"] for one in fp32] == [one["synops_change"] for one in int8]
    assert found["total"][0]["total_energy_pj"] > found["total"][1]["total_energy_pj"]
    curve = [row for row in found["scale"] if row["profile"] == FP32]
    assert [(point["scale"], point["own"]) for point in curve] == [
        (0.5, False),
        (1.0, False),
        (None, True),
    ]
    assert [point["thresholds"] for point in curve] == ["scale 0.5", "scale 1", "replay"]


def test_what_was_recorded_is_not_recorded_again(few, passes, make_tiny, tmp_path):
    checkpoint, request = (
        make_tiny(),
        EnergyRequest(few, shifts=("contrast:5",), scales=(0.5,)),
    )
    store = RecordingStore(tmp_path)
    first = evaluated(replace(request, scales=None), Runner(checkpoint, store=store))
    passes.clear()
    again = evaluated(request, Runner(checkpoint, store=store))
    assert passes == [("", 0.5)]
    assert changes(again.records["shift"][0]) == changes(first.records["shift"][0])


def test_the_networks_own_scale_is_not_recorded_twice(few, passes, make_tiny):
    curve = evaluated(EnergyRequest(few, scales="1,0.5"), Runner(make_tiny())).records["scale"]
    assert passes == [("", 1.0), ("", 0.5)]
    assert [(point["scale"], point["own"]) for point in curve] == [(0.5, False), (1.0, True)]
    assert own_scale(Runner(make_tiny())) == 1
    assert own_scale(Runner(make_tiny(regulated=True))) is None
    assert own_scale(Runner(make_tiny(regulated=True), scale=2.0)) == 2
    assert own_scale(Runner(replace(make_tiny(), fixed_scale=0.8))) == 0.8


def test_results_are_those_of_the_recordings(few, make_tiny):
    runner = Runner(make_tiny())
    choices = Choices(first_layer="every-step")
    found = evaluated(EnergyRequest(few, choices=choices, shifts=("contrast:3",)), runner)
    clean, shifted = (
        runner.recording(open_split(name, runner.view)) for name in (few, f"{few}:contrast:3")
    )
    before, after = (
        estimate(one, profile_of(FP32), checkpoint="tiny", thresholds="base", choices=choices)
        for one in (clean, shifted)
    )
    (result,) = found.records["result"]
    assert result == before.row | {"checkpoint": result["checkpoint"]}
    assert np.array_equal(found.arrays[samples_key(result)], before.samples["energy_pj"])
    (one,) = found.records["shift"]
    assert np.array_equal(found.arrays[samples_key(one)], after.samples["energy_pj"])
    terms = relative_terms(
        *(
            np.sum([s.operations for s in some.synapses if s.is_spiking], axis=0)
            for some in (clean, shifted)
        )
    )
    assert terms is not None
    synops = terms.change()
    assert (one["synops_change"], one["synops_change_low"]) == (synops.value, synops.low)
    assert one["total_energy_pj"] == pytest.approx(after.row["total_energy_pj"])
    assert one["accuracy"] == after.row["accuracy"]


def test_means_weigh_every_shift_alike(few, make_tiny):
    request = EnergyRequest(few, shifts=("contrast", "rotation:2"))
    found = evaluated(request, Runner(make_tiny()))
    rows = found.records["shift"]
    assert [row["data"].removeprefix(few) for row in rows] == [
        *(f":contrast:{severity}" for severity in range(1, 6)),
        ":rotation:2",
        ":contrast:1–5",
        ", 2 shifts",
    ]
    assert {row["set"] for row in rows} == {few}
    sets, (over_severities, over_shifts) = rows[:6], rows[6:]
    energies = [row["total_energy_pj"] for row in sets]
    assert over_severities["total_energy_pj"] == pytest.approx(np.mean(energies[:5]))
    samples = [found.arrays[samples_key(row)] for row in sets[:5]]
    assert over_severities["energy_std_pj"] == pytest.approx(np.mean(samples, axis=0).std(ddof=1))
    assert over_shifts["total_energy_pj"] == pytest.approx(
        (over_severities["total_energy_pj"] + energies[5]) / 2
    )
    assert (over_severities["members"], over_shifts["members"]) == (5, 6)


def test_severities_with_gaps_are_listed(few, make_tiny):
    request = EnergyRequest(few, shifts=("contrast:1", "contrast:4"))
    found = evaluated(request, Runner(make_tiny()))
    assert found.records["shift"][-1]["data"] == f"{few}:contrast:1,4"


def test_exactly_two_networks_are_compared(few, make_tiny):
    request = EnergyRequest(few, shifts=("contrast:5",))
    pair = [Runner(make_tiny()), Runner(make_tiny(regulated=True))]
    pair = [
        replace(runner, checkpoint=replace(runner.checkpoint, name=name))
        for runner, name in zip(pair, "ab", strict=True)
    ]
    found = evaluated(request, *pair).records
    assert [(one["first"], one["second"], one["quantity"]) for one in found["contrast"]] == [
        ("a", "b", quantity) for quantity in ("energy_pj", "synops", "rate", "accuracy")
    ]
    a, b = (one["synops_change"] for one in found["shift"])
    assert found["contrast"][1]["difference"] == pytest.approx(b - a)
    assert "contrast" not in evaluated(request, pair[0]).records
    third = replace(pair[0], checkpoint=replace(pair[0].checkpoint, name="c"))
    assert "contrast" not in evaluated(request, *pair, third).records


def test_networks_that_met_other_samples_are_not_compared(few, make_tiny):
    """Two sets of one name, each network on its own: no sample stands beside its twin."""
    whole = replace(open_split(few, (1, 16, 16)).source, name="mine")
    sets = [whole, subset(whole, np.arange(12)[::-1])]
    asked = [requested(EnergyRequest(one, shifts=("contrast:5",))) for one in sets]
    runners = [Runner(make_tiny()), Runner(make_tiny(regulated=True))]
    plans = [plan(one, runner) for one, runner in zip(asked, runners, strict=True)]
    found = evaluation(asked[0], plans).records
    assert [one["data"] for one in found["shift"]] == ["mine:contrast:5"] * 2
    assert "contrast" not in found


def test_conventions_and_ledgers_of_the_clean_run(few, make_tiny):
    request = EnergyRequest(
        few, (FP32, INT8), conventions=("neurobench",), explain="ahsar-eval:neurobench"
    )
    runner = Runner(make_tiny(), batch_size=5)
    found = evaluated(request, runner).records
    recording = runner.recording(open_split(few, runner.view))
    expected = reconcile(recording, "ahsar-eval", "neurobench", 5)
    (totals,), (ledger,) = found["conventions"], found["ledgers"]
    assert expected.items() <= ledger.items()
    assert expected["end"].items() <= totals.items()
    assert (totals["batch_size"], totals["data"]) == (5, few)


def test_a_set_in_memory_is_evaluated_like_a_named_one(few, make_tiny):
    named = evaluated(EnergyRequest(few, shifts=("contrast:2",)), Runner(make_tiny())).records
    source = replace(open_split(few, (1, 16, 16)).source, name="mine")
    given = evaluated(EnergyRequest(source, shifts=("contrast:2",)), Runner(make_tiny())).records
    assert given["shift"][0]["data"] == "mine:contrast:2"
    assert changes(given["shift"][0]) == changes(named["shift"][0])


@pytest.mark.parametrize(
    ("data", "shifts", "words"),
    [
        (
            "digits",
            ("photo-patches:contrast",),
            "--shift photo-patches:contrast is no shift of digits",
        ),
        ("digits", ("npz:x.npz:contrast",), "is no shift of digits; name one alone"),
        ("digits", ("contrast:9",), "severity '9' in 'digits:contrast:9' is none"),
        ("digits", ("blurr",), "unknown shift 'blurr' in 'digits:blurr'"),
        ("digits", ("digits",), "--shift digits is no shift of digits; name one alone"),
        (
            "digits",
            ("contrast:5", "digits:contrast"),
            "digits:contrast:5 was named twice; name it once",
        ),
        ("digits:contrast:5", ("rotation",), "digits:contrast:5 is a shifted set already"),
    ],
)
def test_shifts_that_cannot_be_served_are_refused_before_the_first_pass(
    data, shifts, words, passes, make_tiny
):
    with pytest.raises((UsageError, DataError), match=words):
        plan(requested(EnergyRequest(data, shifts=shifts)), Runner(make_tiny()))
    assert passes == []


def test_an_unknown_shift_of_a_file_is_no_part_of_its_path(few, make_tiny):
    for text in ("blurr", "x:contrast"):
        with pytest.raises(
            DataError,
            match=f"unknown shift '{text.partition(':')[0]}' in .*; known are gaussian_noise",
        ):
            plan(EnergyRequest(few, shifts=(text,)), Runner(make_tiny()))


def test_a_shift_with_the_sets_name_is_the_same_as_alone(few, make_tiny):
    runner = Runner(make_tiny())
    alone, whole = (
        plan(EnergyRequest(few, shifts=(text,)), runner).others
        for text in ("contrast", f"{few}:contrast")
    )
    assert [split.identity for split in alone] == [split.identity for split in whole]
    assert (
        len(plan(EnergyRequest(few, shifts=("all",)), runner).others) == 24 * 5
    )  # grey: no shifts of colour


def test_stored_copies_stand_in_for_a_shift_where_they_hold_the_samples(make_tiny, monkeypatch):
    """A set of corrupted images in files is a shift of the set that it declares to be copies of, in
    its order.
    """
    split = open_split("digits", (1, 16, 16))
    for labels, accepted in ((split.labels, True), (np.roll(split.labels, 1), False)):
        copies = replace(
            split.source, name="cifar10-c", labels=labels, identity="stored", copies_of="digits"
        )
        monkeypatch.setattr("ahsar_eval.data.array_files.cifar_c", lambda *_, copies=copies: copies)
        request = EnergyRequest("digits", shifts=("cifar10-c:fog:3",))
        if accepted:
            assert [found.name for found in plan(request, Runner(make_tiny())).others] == [
                "cifar10-c:fog:3"
            ]
        else:
            with pytest.raises(
                UsageError, match="does not hold the samples of digits in their order"
            ):
                plan(request, Runner(make_tiny()))


def test_a_shipped_checkpoint_fires_less_where_contrast_is_lost():
    runner = Runner(load_checkpoint("digits-vgg13-baseline"))
    found = evaluated(EnergyRequest("digits", shifts=("contrast:2",)), runner).records
    (one,) = found["shift"]
    assert one["energy_change_high"] < -0.1
    assert {layer["kind"] for layer in found["shift layer"]} == {"synapses", "neurons"}
    assert one["accuracy_change_high"] < -0.4
