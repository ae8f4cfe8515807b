"""Each convention by hand, and against the counter's rule looped over the values of every call."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.energy.calls import Run, exact
from ahsar_eval.energy.conventions import CONVENTIONS, convention_of, totals
from ahsar_eval.errors import RecordingError, UsageError
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    SynapseActivity,
    Uncounted,
)
from ahsar_eval.recording.activity import ADDITION, NORMALISATION

RUNS = {
    "seed": st.integers(0, 10_000),
    "samples": st.integers(1, 5),
    "steps": st.integers(1, 3),
    "step_mode": st.sampled_from("ms"),
    "batch_size": st.integers(1, 6),
}


def exact_totals(*given: Any) -> SimpleNamespace:
    """`totals`, its numbers exact."""
    found = totals(*given)
    return SimpleNamespace(
        macs=Fraction(found["macs_total"]),
        acs=Fraction(found["acs_total"]),
        extra={name: Fraction(number) for name, number in found["extra_total"].items()},
        notes=found["notes"],
        per_layer=[
            SimpleNamespace(
                layer=row["layer"],
                part=row["part"],
                macs=Fraction(row["macs_total"]),
                acs=Fraction(row["acs_total"]),
            )
            for row in found["layers"]
        ],
    )


# By hand


def by_hand(handmade: Any, step_mode: str = "m") -> Recording:
    """Two samples, two steps. Three pixels into a convolution of kernel 3 and padding 1 (one
    channel), its batch norm, a LIF layer, and its spikes into a linear layer of two outputs. A
    pixel at a border reaches two outputs, the middle one three.
    """
    reach, fan = np.array([2, 3, 2]), np.full(3, 2)
    image = np.array([[0.5, 0, 1], [0, 0, 0]])  # the second image is dark
    spikes = np.array([[[0, 0, 0], [0, 0, 0]], [[1, 1, 0], [0, 1, 0]]], dtype=float)  # [T, N, 3]
    first, second = np.stack([image, image]), spikes
    calls = 1 if step_mode == "m" else 2
    return Recording(
        split={"name": "hand"},
        spec={"timesteps": 2, "step_mode": step_mode},
        thresholds={},
        logits=np.zeros((2, 2, 2), dtype=np.float32),
        labels=np.zeros(2, dtype=np.int64),
        layers=(
            LayerActivity(
                "lif",
                (3,),
                np.array([2, 1]),
                np.zeros(3),
                NeuronModel("LIFNode", True, "subtract", True, (2, 4, 5)),
                np.array([0, 1]),
            ),
        ),
        synapses=(
            SynapseActivity(
                "conv",
                "analog",
                "input",
                np.array([4, 0]),
                7,
                1,
                Geometry("Conv1d", (1, 3), (1, 3), (1, 1, 3), (3,), (1,), 1, False, False, 9),
                handmade.seen_of(first, 1, reach),
                calls=calls,
            ),
            SynapseActivity(
                "linear",
                "spikes",
                "lif",
                np.array([4, 2]),
                6,
                2,
                Geometry("Linear", (3,), (2,), (2, 3), (), (), 1, False, True, 6),
                handmade.seen_of(second, 1, fan),
                calls=calls,
            ),
        ),
        operators=(
            OperatorActivity(
                *("bn", NORMALISATION, "BatchNorm1d", 3, 3, 2),
                channels=1,
                affine=True,
                behind="conv",
                calls=calls,
            ),
        ),
    )


def test_our_own_by_hand(handmade):
    found = exact_totals(by_hand(handmade), "ahsar-eval", 2)
    assert (found.macs, found.acs) == (7 * 2, 3 * 2), (
        "a static image once, every spike reaches two outputs"
    )


@pytest.mark.parametrize(("batch_size", "macs", "acs"), [(2, 8, 6), (1, 8, 6)])
def test_neurobench_by_hand(handmade, batch_size, macs, acs):
    # The lit image: pixels 0 and 2 reach 2 outputs each, at two steps; the dark one uses nothing,
    # whatever it is taken for.
    found = exact_totals(by_hand(handmade), "neurobench", batch_size)
    assert (found.macs, found.acs, found.extra) == (macs, acs, {"Dense": (7 + 6) * 2 * 2})


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_spikingjelly_by_hand(handmade, step_mode):
    calls = 1 if step_mode == "m" else 2
    # In one batch: 9 products × 2 samples × 2 steps, 12 elements normalised, 6 SynOps. The batch
    # has a sample that is lit at once: its
    # three neurons begin at the first step (4), then 5.
    found = exact_totals(by_hand(handmade, step_mode), "spikingjelly", 2)
    assert (found.macs, found.acs) == (36 + 12, 6 + (12 + calls) + 2 * 3 * (4 + 5))
    assert found.extra == {"SynOps": 6}
    # One by one: the dark image's convolution holds only zeros and is an accumulation of none; its
    # neurons are quiet for a step.
    found = exact_totals(by_hand(handmade, step_mode), "spikingjelly", 1)
    assert (found.macs, found.acs) == (18 + 12, 6 + (12 + 2 * calls) + 3 * (4 + 5) + 3 * (2 + 4))


def test_syops_by_hand(handmade):
    # One batch: 9 products × 4 as MACs; 3 of 12 inputs of the linear layer spike: 12 · 2 products +
    # 2 biases once, × 1/4.
    found = exact_totals(by_hand(handmade), "syops", 2)
    assert found.macs == 9 * 4 + 2 * 12 + 12
    assert found.acs == Fraction(26, 4) + 12
    # One by one, the lit image holds three values, the dark one none but zero: a rate of zero.
    found = exact_totals(by_hand(handmade), "syops", 1)
    assert found.macs == 9 * 2 + 2 * 12 + 12
    assert found.acs == Fraction(14 * 2, 6) + Fraction(14 * 1, 6) + 12


def test_rate_times_flops_by_hand(handmade):
    found = exact_totals(by_hand(handmade), "rate-flops", 2)
    assert (found.macs, found.acs) == (9 * 2, Fraction(3, 12) * 6 * 4)


# Against loops over the values


@given(**RUNS)
@settings(max_examples=60)
def test_every_convention_counts_the_calls_of_drawn_values(
    handmade, seed, samples, steps, step_mode, batch_size
):
    made = handmade.Made(seed, samples, steps, step_mode)
    found = {name: exact_totals(made.recording, name, batch_size) for name in CONVENTIONS}
    assert (found["ahsar-eval"].macs, found["ahsar-eval"].acs) == handmade.hub(made)
    assert (found["neurobench"].macs, found["neurobench"].acs) == handmade.neurobench(
        made, batch_size
    )
    jelly = found["spikingjelly"]
    assert (jelly.macs, jelly.acs, jelly.extra["SynOps"]) == handmade.spikingjelly(made, batch_size)
    assert (found["syops"].macs, found["syops"].acs) == handmade.syops(made, batch_size)
    assert (found["rate-flops"].macs, found["rate-flops"].acs) == handmade.rate_flops(made)


@given(**RUNS)
@settings(max_examples=20)
def test_rows_sum_to_the_totals(handmade, seed, samples, steps, step_mode, batch_size):
    for name in CONVENTIONS:
        recording = handmade.Made(seed, samples, steps, step_mode).recording
        found = exact_totals(recording, name, batch_size)
        assert found.macs == sum(row.macs for row in found.per_layer)
        assert found.acs == sum(row.acs for row in found.per_layer)
        rows = totals(recording, name, batch_size)["layers"]
        assert all(row["macs_total"] or row["acs_total"] for row in rows), "a row of nothing"


def test_integers_stay_integers(handmade):
    found = totals(handmade.Made(3, 4, 2, "m").recording, "spikingjelly", 3)
    assert isinstance(found["macs_total"], int)
    assert isinstance(found["acs_total"], int)
    assert isinstance(totals(by_hand(handmade), "rate-flops", 2)["acs_total"], int), (
        "a fraction that comes out even"
    )


@pytest.mark.parametrize(
    ("values", "spiking"),
    [
        ((0, 1), True),
        ((0, 0.5), True),
        ((0.5, 0.5), True),
        ((0, 2), False),
        ((-1, 1), False),
        ((0, 0.5, 1), False),
    ],
)
def test_two_values_between_0_and_1_are_spikes_to_syops(handmade, values, spiking):
    recording = by_hand(handmade)
    received = np.resize(np.array(values, dtype=float), (2, 2, 3))
    synapse = replace(
        recording.synapses[0], seen=handmade.seen_of(received, 1, np.array([2, 3, 2]))
    )
    row = exact_totals(replace(recording, synapses=(synapse,)), "syops", 2).per_layer[0]
    assert (row.macs, row.acs) == (
        (0, Fraction(float(received.sum())) * 9 / 3) if spiking else (36, 0)
    )


def test_two_samples_of_two_values_each_may_be_three(handmade):
    recording = by_hand(handmade)
    received = np.array([[[0, 0.5, 0], [0, 0.25, 0]]] * 2)
    synapse = replace(
        recording.synapses[0], seen=handmade.seen_of(received, 1, np.array([2, 3, 2]))
    )
    shown = replace(recording, synapses=(synapse,))
    assert [exact_totals(shown, "syops", size).per_layer[0].acs > 0 for size in (1, 2)] == [
        True,
        False,
    ]


def test_sums_are_exact_beyond_the_reach_of_floating_point():
    assert exact(np.array([2.0**52] * 4 + [1.0])) == 2**54 + 1
    assert exact(np.array([2.0**60, 1.0])) == 2**60 + 1
    assert exact(np.array([0.1, 0.2])) == Fraction(0.1) + Fraction(0.2)
    assert exact(np.array([True, True])) == 2


@pytest.mark.parametrize(
    ("source", "step_mode", "acs"), [("input", "m", 8), ("measured", "m", 0), ("input", "s", 0)]
)
def test_the_bias_of_a_linear_layer_that_meets_a_repeated_image_is_a_call_of_its_own(
    handmade, source, step_mode, acs
):
    recording = by_hand(handmade, step_mode)
    image = np.full((2, 2, 3), 0.5)
    meets = replace(
        recording.synapses[1],
        kind="analog",
        source=source,
        charged_steps=1,
        seen=handmade.seen_of(image, 1, np.full(3, 2)),
    )
    found = exact_totals(replace(recording, synapses=(meets,)), "spikingjelly", 2)
    assert sum(row.acs for row in found.per_layer if row.part == "bias") == acs, (
        "two outputs, two samples, two steps"
    )


# Batches, notes, refusals


def test_batches_are_consecutive_and_the_last_one_is_what_is_left(handmade):
    run = Run(handmade.Made(3, 7, 2, "m").recording, 3)
    assert (run.starts.tolist(), run.sizes.tolist()) == ([0, 3, 6], [3, 3, 1])
    whole = Run(run.recording, 64)
    assert (whole.starts.tolist(), whole.sizes.tolist()) == ([0], [7])
    with pytest.raises(UsageError, match="batch size is 0; expected at least 1"):
        totals(run.recording, "syops", 0)


def test_what_the_batch_decides_is_said_and_what_is_not_counted_listed(handmade):
    recording = replace(
        by_hand(handmade),
        uncounted=(Uncounted("attention", "no rule counts a MultiheadAttention"),),
    )
    for name, convention in CONVENTIONS.items():
        notes = " ".join(totals(recording, name, 5)["notes"])
        assert ("batches of 5" in notes) == convention.judges_calls
        assert "attention (no rule counts a MultiheadAttention)" in notes


def test_a_transposed_convolution_is_named_where_neurobench_leaves_it_out(handmade):
    recording = by_hand(handmade)
    conv = recording.synapses[0]
    assert conv.geometry is not None
    turned = replace(conv, geometry=replace(conv.geometry, type="ConvTranspose1d", transposed=True))
    found = exact_totals(
        replace(recording, synapses=(turned, recording.synapses[1])), "neurobench", 2
    )
    assert (found.macs, found.acs) == (0, 6)
    assert any("leaves out conv" in note for note in found.notes)


def test_an_unknown_convention_is_refused_with_those_known(handmade):
    with pytest.raises(
        UsageError,
        match=(
            "unknown convention 'fvcore'; known are ahsar-eval, neurobench, spikingjelly, "
            "syops, "
            "rate-flops"
        ),
    ):
        convention_of("fvcore")
    with pytest.raises(UsageError, match="unknown convention"):
        totals(by_hand(handmade), "fvcore", 2)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_recording_without_calls_is_refused(handmade, name):
    recording = by_hand(handmade)
    bare = replace(
        recording, synapses=(replace(recording.synapses[0], seen=None), recording.synapses[1])
    )
    with pytest.raises(RecordingError, match="no calls of layer 'conv'; record the network again"):
        totals(bare, name, 2)


@pytest.mark.parametrize("name", ["spikingjelly", "syops"])
def test_a_recording_without_silent_steps_is_refused(handmade, name):
    recording = by_hand(handmade)
    bare = replace(recording, layers=(replace(recording.layers[0], silent_steps=None),))
    with pytest.raises(
        RecordingError, match="no silent steps of spiking layer 'lif'; record the network again"
    ):
        totals(bare, name, 2)


def test_json_keeps_every_digit(handmade):
    content = totals(by_hand(handmade), "syops", 2)
    assert (content["macs_total"], content["acs_total"]) == (72, "37/2")
    assert (content["macs_per_inference"], content["acs_per_inference"]) == (36.0, 9.25)
    # per inference, of the two samples, in batches of whatever size
    alone = totals(by_hand(handmade), "ahsar-eval", 1)
    assert (alone["macs_per_inference"], alone["acs_per_inference"]) == (7.0, 3.0)
    assert [(row["layer"], row["part"], row["acs_total"]) for row in content["layers"]] == [
        ("conv", "synapses", 0),
        ("linear", "synapses", 6),
        ("linear", "bias", "1/2"),
        ("bn", "normalisation", 0),
        ("lif", "neurons", 12),
    ]


def test_an_addition_in_place_is_said(handmade):
    recording = by_hand(handmade)
    zeros = np.zeros((2, 2, 3))
    added = OperatorActivity(
        "sum",
        ADDITION,
        "add_",
        3,
        3,
        2,
        operand_kinds=("spikes",) * 2,
        operands=(handmade.seen_of(zeros, 1, np.zeros(3)),) * 2,
    )
    found = exact_totals(replace(recording, operators=(added,)), "spikingjelly", 2)
    assert any("addition in place" in note and "for sum " in note for note in found.notes)
    assert not any("in place" in note for note in totals(recording, "spikingjelly", 2)["notes"])
