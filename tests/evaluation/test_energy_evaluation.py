"""A whole energy evaluation: what is refused before the first pass, how often each set is read,
what becomes of shifts and scales.
"""

from dataclasses import replace

import numpy as np
import pytest

from ahsar_eval.data import open_split
from ahsar_eval.energy import Choices, estimate, profile_of
from ahsar_eval.energy.ledger import ledger
from ahsar_eval.energy.paired import relative_change
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.evaluation.energy import EnergyRequest, own_scale, plan, run, studies
from ahsar_eval.networks.checkpoints import load_checkpoint
from ahsar_eval.recording import RecordingStore, record
from ahsar_eval.recording.runner import Runner

FP32, INT8 = profile_of("45nm-fp32"), profile_of("45nm-int8")


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
    return studies([run(request, plan(request, runner)) for runner in runners])


def test_one_pass_over_each_set_and_scale_serves_every_profile(few, passes, make_tiny):
    request = EnergyRequest(
        few, (FP32, INT8), shifts=("contrast:5", "rotation:1"), scales=(0.5, 1.0)
    )
    found = evaluated(request, Runner(make_tiny(regulated=True)))
    assert passes == [
        ("", 0.75),
        (":contrast:5", 0.75),
        (":rotation:1", 0.75),
        ("", 0.5),
        ("", 1.0),
    ]
    assert [study.profile for study in found] == ["45nm-fp32", "45nm-int8"]
    fp32, int8 = found
    assert [one.changes["synops"] for one in fp32.shifted] == [
        one.changes["synops"] for one in int8.shifted
    ]
    assert fp32.clean[0].total_energy_pj > int8.clean[0].total_energy_pj
    assert [(point.scale, point.own) for point in fp32.curve] == [
        (0.5, False),
        (1.0, False),
        (None, True),
    ]
    assert [point.result.thresholds for point in fp32.curve] == ["scale 0.5", "scale 1", "replay"]


def test_what_was_recorded_is_not_recorded_again(few, passes, make_tiny, tmp_path):
    checkpoint, request = (
        make_tiny(),
        EnergyRequest(few, (FP32,), shifts=("contrast:5",), scales=(0.5,)),
    )
    first = evaluated(
        replace(request, scales=()), Runner(checkpoint, store=RecordingStore(tmp_path))
    )
    passes.clear()
    (again,) = evaluated(request, Runner(checkpoint, store=RecordingStore(tmp_path)))
    assert passes == [("", 0.5)]
    assert again.shifted[0].changes == first[0].shifted[0].changes


def test_the_networks_own_scale_is_not_recorded_twice(few, passes, make_tiny):
    request = EnergyRequest(few, (FP32,), scales=(0.5, 1.0))
    (study,) = evaluated(request, Runner(make_tiny()))
    assert passes == [("", 1.0), ("", 0.5)]
    assert [(point.scale, point.own) for point in study.curve] == [(0.5, False), (1.0, True)]
    assert own_scale(Runner(make_tiny())) == 1
    assert own_scale(Runner(make_tiny(regulated=True))) is None
    assert own_scale(Runner(make_tiny(regulated=True), scale=2.0)) == 2
    assert own_scale(Runner(replace(make_tiny(), fixed_scale=0.8))) == 0.8


def test_results_are_those_of_the_recordings(few, make_tiny):
    runner = Runner(make_tiny())
    request = EnergyRequest(few, (FP32,), Choices(first_layer="every-step"), shifts=("contrast:3",))
    (study,) = evaluated(request, runner)
    clean, shifted = (
        runner.recording(open_split(name, runner.view)) for name in (few, f"{few}:contrast:3")
    )
    assert study.clean[0].to_dict() == estimate(
        clean, FP32, checkpoint="network", choices=request.choices
    ).to_dict() | {
        "checkpoint": study.clean[0].checkpoint,
        "thresholds": "base",
    }
    (one,) = study.shifted
    before, after = (
        np.sum([s.operations for s in found.synapses if s.is_spiking], axis=0)
        for found in (clean, shifted)
    )
    assert one.changes["synops"] == relative_change(before, after)
    assert one.energy_pj == pytest.approx(one.result.total_energy_pj)
    assert one.accuracy == one.result.accuracy


def test_means_weigh_every_shift_alike(few, make_tiny):
    request = EnergyRequest(few, (FP32,), shifts=("contrast", "rotation:2"))
    (study,) = evaluated(request, Runner(make_tiny()))
    names = [one.data.removeprefix(few) for one in study.shifted]
    assert names == [
        *(f":contrast:{severity}" for severity in range(1, 6)),
        ":rotation:2",
        ":contrast:1–5",
        ", 2 shifts",
    ]
    sets, (over_severities, over_shifts) = study.shifted[:6], study.shifted[6:]
    assert over_severities.samples.energy_pj == pytest.approx(
        np.mean([one.samples.energy_pj for one in sets[:5]], axis=0)
    )
    assert over_shifts.energy_pj == pytest.approx(
        (over_severities.energy_pj + sets[5].energy_pj) / 2
    )
    assert (over_severities.members, over_shifts.members) == (5, 6)


def test_severities_with_gaps_are_listed(few, make_tiny):
    (study,) = evaluated(
        EnergyRequest(few, (FP32,), shifts=("contrast:1", "contrast:4")), Runner(make_tiny())
    )
    assert study.shifted[-1].data == f"{few}:contrast:1,4"


def test_exactly_two_networks_are_compared(few, make_tiny):
    request = EnergyRequest(few, (FP32,), shifts=("contrast:5",))
    pair = [Runner(make_tiny()), Runner(make_tiny(regulated=True))]
    pair = [
        replace(runner, checkpoint=replace(runner.checkpoint, name=name))
        for runner, name in zip(pair, "ab", strict=True)
    ]
    (study,) = evaluated(request, *pair)
    assert [(one.first, one.second, one.quantity) for one in study.contrasts] == [
        ("a", "b", quantity) for quantity in ("energy_pj", "synops", "rate", "accuracy")
    ]
    a, b = (one.changes["synops"].value for one in study.shifted)
    assert study.contrasts[1].difference.value == pytest.approx(b - a)
    assert evaluated(request, pair[0])[0].contrasts == ()
    third = replace(pair[0], checkpoint=replace(pair[0].checkpoint, name="c"))
    assert evaluated(request, *pair, third)[0].contrasts == ()


def test_conventions_and_ledgers_of_the_clean_run(few, make_tiny):
    request = EnergyRequest(
        few, (FP32, INT8), conventions=("neurobench",), ledgers=(("ahsar-eval", "neurobench"),)
    )
    runner = Runner(make_tiny(), batch_size=5)
    found = evaluated(request, runner)
    expected = ledger(runner.recording(open_split(few, runner.view)), "ahsar-eval", "neurobench", 5)
    for study in found:
        ((totals,),), ((walk,),) = study.conventions, study.ledgers
        assert (totals.convention, totals.batch_size, totals.macs) == (
            "neurobench",
            5,
            expected.end.macs,
        )
        assert walk.to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    ("data", "shifts", "words"),
    [
        (
            "digits",
            ("photo-patches:contrast",),
            "--shift photo-patches:contrast is of another set than digits",
        ),
        ("digits", ("npz:x.npz:contrast",), "of another set than digits; name a shift alone"),
        ("digits", ("contrast:9",), "severity '9' in 'digits:contrast:9' is none"),
        ("digits", ("blurr",), "unknown shift 'blurr' in 'digits:blurr'"),
        ("digits", ("digits",), "--shift digits names no shift; known are gaussian_noise"),
        (
            "digits",
            ("contrast:5", "digits:contrast"),
            "the shift digits:contrast:5 was named twice; name it once",
        ),
        ("digits:contrast:5", ("rotation",), "digits:contrast:5 is a shifted set already"),
    ],
)
def test_shifts_that_cannot_be_served_are_refused_before_the_first_pass(
    data, shifts, words, passes, make_tiny
):
    with pytest.raises((UsageError, DataError), match=words):
        plan(EnergyRequest(data, (FP32,), shifts=shifts), Runner(make_tiny()))
    assert passes == []


def test_an_unknown_shift_of_a_file_is_no_part_of_its_path(few, make_tiny):
    for text in ("blurr", "x:contrast"):
        with pytest.raises(
            UsageError, match=f"--shift {text} names no shift; known are gaussian_noise"
        ):
            plan(EnergyRequest(few, (FP32,), shifts=(text,)), Runner(make_tiny()))


def test_a_shift_with_the_sets_name_is_the_same_as_alone(few, make_tiny):
    runner = Runner(make_tiny())
    alone, whole = (
        plan(EnergyRequest(few, (FP32,), shifts=(text,)), runner).shifted
        for text in ("contrast", f"{few}:contrast")
    )
    assert [split.identity for split in alone] == [split.identity for split in whole]
    assert (
        len(plan(EnergyRequest(few, (FP32,), shifts=("all",)), runner).shifted) == 24 * 5
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
        monkeypatch.setattr(
            "ahsar_eval.data.images.cifar.cifar_c", lambda *_, copies=copies: copies
        )
        request = EnergyRequest("digits", (FP32,), shifts=("cifar10-c:fog:3",))
        if accepted:
            assert [found.name for found in plan(request, Runner(make_tiny())).shifted] == [
                "cifar10-c:fog:3"
            ]
        else:
            with pytest.raises(
                UsageError, match="does not hold the samples of digits in their order"
            ):
                plan(request, Runner(make_tiny()))


def test_a_shipped_checkpoint_fires_less_where_contrast_is_lost():
    runner = Runner(load_checkpoint("digits-vgg13-baseline"))
    (study,) = evaluated(EnergyRequest("digits", (FP32,), shifts=("contrast:2",)), runner)
    (one,) = study.shifted
    assert one.changes["energy_pj"].high < -0.1
    assert {layer.kind for layer in one.layers} == {"synapses", "neurons"}
    assert one.changes["accuracy"].high < -0.4
