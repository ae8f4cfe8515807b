"""Energy under shift by hand: changes and intervals paired by sample, means over shifts, two
networks compared, layer by layer.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.energy.shift import (
    Change,
    Terms,
    contrasts_of,
    difference_terms,
    mean_under_shift,
    relative_terms,
    under_shift,
)
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    Recording,
    SynapseActivity,
)

UNKNOWN = NeuronModel("MyNode", False, "", False)
PLAIN = Geometry("Linear", (1,), (1,), (1, 1), (), (), 1, False, False, 1)

FP32 = profile_of("45nm-fp32")
SPIKES, SYNOPS = [4, 6, 2], [40, 60, 20]


def recorded(
    spikes: list[int],
    synops: list[int],
    shift: str | None = None,
    severity: int = 0,
    **changes: Any,
) -> Recording:
    """Three samples, two steps: a convolution on values, one of 10 neurons' spikes behind it;
    classes 0, 1, 0, all called 0.
    """
    name = "letters" if shift is None else f"letters:{shift}:{severity}"
    split = {
        "name": name,
        "set": "letters",
        "shift": shift,
        "severity": severity,
        "labels_preserved": True,
        "label_space": "letters",
        "modality": "image",
    }
    base = Recording(
        split=split,
        spec={"timesteps": 2},
        thresholds={"lif": 1.0},
        logits=np.array([[[1, 0]]] * len(spikes), dtype=np.float32),
        labels=np.arange(len(spikes)) % 2,
        layers=(LayerActivity("lif", (10,), np.array(spikes), np.full(10, 0.2), UNKNOWN),),
        synapses=(
            SynapseActivity("conv1", "analog", "input", np.full(len(spikes), 90), 100, 1, PLAIN),
            SynapseActivity("conv2", "spikes", "lif", np.array(synops), 10, 2, PLAIN),
        ),
    )
    return replace(base, **changes)


def priced(recording: Recording, checkpoint: str = "net", **options: Any) -> Any:
    return estimate(recording, FP32, checkpoint=checkpoint, **options)


def shifted(
    spikes: list[int],
    synops: list[int],
    shift: str = "fog",
    severity: int = 1,
    checkpoint: str = "net",
    **changes: Any,
) -> Any:
    return under_shift(
        priced(recorded(spikes, synops, shift, severity, **changes), checkpoint),
        priced(recorded(SPIKES, SYNOPS), checkpoint),
    )


def relative(clean: Any, other: Any) -> Terms:
    found = relative_terms(np.asarray(clean), np.asarray(other))
    assert found is not None
    return found


def relative_change(clean: Any, other: Any) -> Change:
    return relative(clean, other).change()


def ends(change: Change) -> tuple[float, float]:
    assert change.low is not None
    assert change.high is not None
    return change.low, change.high


def test_hand_count_of_a_shift():
    found = shifted(
        [2, 3, 1], [30, 60, 12], logits=np.array([[[1, 0]], [[0, 1]], [[1, 0]]], dtype=np.float32)
    )
    assert (
        found.checkpoint,
        found.data,
        found.shift,
        found.severities,
        len(found.samples["energy_pj"]),
    ) == (
        "net",
        "letters:fog:1",
        "fog",
        (1,),
        3,
    )
    # 100 MACs once and an accumulation per operation.
    assert found.samples["energy_pj"] == pytest.approx([460 + 27, 460 + 54, 460 + 10.8])
    mean = {quantity: values.mean() for quantity, values in found.samples.items()}
    assert mean["energy_pj"] == pytest.approx(460 + 91.8 / 3)
    assert (mean["synops"], mean["rate"]) == (34, pytest.approx(6 / 60))
    assert mean["accuracy"] == 1
    assert found.changes["synops"].value == pytest.approx(102 / 120 - 1)
    assert found.changes["rate"].value == pytest.approx(-0.5)
    assert found.changes["energy_pj"].value == pytest.approx((460 + 30.6) / (460 + 36) - 1)
    assert found.changes["accuracy"].value == pytest.approx(1 / 3)  # a difference, not a ratio


def test_the_interval_of_a_relative_change_by_hand():
    # r = 102 / 120 = 0.85; errors (s − 0.85 c) / 40 = (−4, 9, −5) / 40; sd = √(122 / 2) / 40; t of
    # 2 degrees of freedom: 4.302653.
    change = shifted([2, 3, 1], [30, 60, 12]).changes["synops"]
    half = 4.302652729911275 * (61**0.5 / 40) / 3**0.5
    assert ends(change) == pytest.approx((-0.15 - half, -0.15 + half))


def test_a_change_that_all_samples_share_has_no_interval():
    rate = shifted([2, 3, 1], [30, 60, 12]).changes["rate"]
    assert (rate.low, rate.high) == (None, None)  # every sample fires half as often: nothing varies


def test_one_sample_has_no_interval_and_silence_no_relative_change():
    assert relative_change(np.array([2.0]), np.array([3.0])) == Change(0.5, None, None)
    assert relative_terms(np.zeros(4), np.arange(4.0)) is None


def test_the_interval_of_a_difference_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.random(50), rng.random(50)
    peer = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert ends(difference_terms(a, b).change()) == pytest.approx((peer.low, peer.high))
    assert difference_terms(a, b).errors.sum() == pytest.approx(0, abs=1e-12)


def test_the_interval_of_a_ratio_is_that_of_the_paired_bootstrap():
    rng = np.random.default_rng(1)
    clean = rng.gamma(20, 10, size=800)
    other = clean * rng.normal(0.9, 0.15, size=800) + rng.normal(0, 5, size=800)
    drawn = rng.integers(800, size=(4000, 800))
    low, high = np.quantile(other[drawn].mean(1) / clean[drawn].mean(1) - 1, [0.025, 0.975])
    found = ends(relative(clean, other).change())
    assert found == pytest.approx((low, high), abs=0.05 * (high - low))
    unpaired = (
        (np.var(clean) / 800 / clean.mean() ** 2 + np.var(other) / 800 / other.mean() ** 2) ** 0.5
        * other.mean()
        / clean.mean()
    )
    assert found[1] - found[0] < 0.7 * 2 * 1.96 * unpaired  # pairing is worth something


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        clean = rng.gamma(5, 1, size=30)
        low, high = ends(
            relative(clean, clean * rng.gamma(4, 0.2, size=30)).change()
        )  # the truth: 0.8, so −0.2
        covered += low <= -0.2 <= high
    assert 0.91 < covered / 400 < 0.98


@given(
    arrays(np.float64, st.integers(2, 30), elements=st.floats(1, 1e6)),
    st.floats(0.01, 100),
    st.integers(0, 1000),
)
def test_a_relative_change_does_not_depend_on_the_unit_and_its_errors_sum_to_nothing(
    clean, unit, seed
):
    other = np.random.default_rng(seed).permutation(clean) * 1.5
    terms, scaled = relative(clean, other), relative(clean * unit, other * unit)
    assert scaled.value == pytest.approx(terms.value, rel=1e-9, abs=1e-12)
    assert scaled.errors == pytest.approx(terms.errors, rel=1e-9, abs=1e-9)
    assert abs(terms.errors.sum()) < 1e-9 * len(clean) * max(1, np.abs(terms.errors).max())


def test_a_set_against_itself_changes_nothing():
    found = shifted(SPIKES, SYNOPS)
    assert {name: change.value for name, change in found.changes.items()} == dict.fromkeys(
        ("energy_pj", "synops", "rate", "accuracy"), 0
    )
    assert {change.low for change in found.changes.values()} == {None}


def test_no_accuracy_where_a_shift_does_not_keep_the_labels():
    lost = recorded(SPIKES, SYNOPS, "shuffle", 1)
    lost = replace(lost, split={**lost.split, "labels_preserved": False})
    found = under_shift(priced(lost), priced(recorded(SPIKES, SYNOPS)))
    assert "accuracy" not in found.samples
    assert "accuracy" not in found.changes
    mean = mean_under_shift(
        [found, shifted(SPIKES, SYNOPS)], priced(recorded(SPIKES, SYNOPS)).samples, "both"
    )
    assert "accuracy" not in mean.samples


def test_layers_with_their_changes():
    found = shifted([2, 3, 1], [30, 60, 12])
    conv1, conv2, lif = found.layers
    assert [(layer["name"], layer["kind"]) for layer in found.layers] == [
        ("conv1", "synapses"),
        ("conv2", "synapses"),
        ("lif", "neurons"),
    ]
    numbers = ("rate", "acs", "energy_pj")
    assert [conv1[name] for name in numbers] == [None, 0, pytest.approx(460)]
    assert {name: change.value for name, change in conv1["changes"].items()} == {"energy_pj": 0}
    assert tuple(conv2[name] for name in numbers) == (
        pytest.approx(0.1),
        34,
        pytest.approx(30.6),
    )
    assert conv2["changes"]["synops"] == found.changes["synops"]
    assert conv2["changes"]["energy_pj"].value == pytest.approx(-0.15)
    assert tuple(lif[name] for name in numbers) == (
        pytest.approx(0.1),
        None,
        None,
    )  # no neuron model: uncounted, not free
    assert lif["changes"]["rate"].value == pytest.approx(-0.5)


def test_a_mean_averages_every_sample_first():
    members = [shifted([2, 3, 1], [30, 60, 12]), shifted([6, 6, 6], [50, 40, 60], severity=2)]
    mean = mean_under_shift(members, priced(recorded(SPIKES, SYNOPS)).samples, "letters:fog:1–2")
    assert (mean.data, mean.shift, mean.severities, mean.members, mean.layers) == (
        "letters:fog:1–2",
        "fog",
        (1, 2),
        2,
        (),
    )
    assert mean.samples["synops"].tolist() == [40, 50, 36]
    assert mean.changes["synops"].value == pytest.approx(
        np.mean([one.changes["synops"].value for one in members])
    )
    assert mean.changes["synops"] == relative_change(np.array(SYNOPS), np.array([40, 50, 36]))


def test_two_networks_are_compared_on_the_same_samples():
    clean = priced(recorded(SPIKES, SYNOPS)).samples
    a, b = shifted([2, 3, 1], [30, 60, 12]), shifted([4, 7, 3], [50, 62, 32], checkpoint="other")
    found = {contrast["quantity"]: contrast for contrast in contrasts_of(a, b, (clean, clean))}
    synops = found["synops"]
    assert [synops[name] for name in ("first", "second", "data", "set", "shift", "severity")] == [
        *("net", "other", "letters:fog:1", "letters", "fog", 1)
    ]
    assert [synops[name] for name in ("a", "b", "difference")] == pytest.approx([-0.15, 0.2, 0.35])
    # With one clean set for both, the difference of changes is the mean difference over the clean
    # mean, corrected for the ratios.
    errors = (
        (np.array([50, 62, 32]) - 1.2 * np.array(SYNOPS))
        - (np.array([30, 60, 12]) - 0.85 * np.array(SYNOPS))
    ) / 40
    peer = stats.ttest_1samp(errors, 0).confidence_interval(0.95)
    assert synops["high"] - 0.35 == pytest.approx(peer.high)


def test_a_contrast_without_labels_has_no_accuracy():
    clean = priced(recorded(SPIKES, SYNOPS)).samples
    bare = {name: values for name, values in clean.items() if name != "accuracy"}
    one = shifted([2, 3, 1], [30, 60, 12])
    assert [found["quantity"] for found in contrasts_of(one, one, (bare, clean))] == [
        "energy_pj",
        "synops",
        "rate",
    ]


@pytest.mark.parametrize(
    "choices", [Choices(), Choices(first_layer="every-step", macs="effective")]
)
def test_synops_by_sample_average_to_those_of_the_result(choices):
    recording = recorded(SPIKES, SYNOPS)
    result = estimate(recording, FP32, checkpoint="net", choices=choices)
    assert result.samples["synops"].mean() == result.row["total_acs"] == 40
    assert list(result.synops) == ["conv2"]
