"""Figures of an energy study: drawn from its results, what cannot be drawn left out, files whole
and the same each time.
"""

from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ahsar_eval.energy import EnergyResult, estimate, profile_of
from ahsar_eval.energy.conventions import ConventionTotals
from ahsar_eval.energy.curve import ScalePoint, with_fronts
from ahsar_eval.energy.ledger import Ledger, Step
from ahsar_eval.energy.shift import mean_under_shift, samples_of, under_shift
from ahsar_eval.errors import OutputError
from ahsar_eval.evaluation.energy import EnergyStudy
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    SynapseActivity,
)
from ahsar_eval.recording.activity import ADDITION, AVERAGE_POOL
from ahsar_eval.report.energy_figures import price_note, save_energy_figures, save_ledger_figures
from ahsar_eval.report.layer_rows import layer_energies, row_of

LIF = NeuronModel("LIFNode", leaky=True, reset="subtract", known=True)
N = 40


def geometry(outputs: int) -> Geometry:
    return Geometry(
        "Linear", (10,), (outputs,), (outputs, 10), (), (), 1, False, True, 10 * outputs
    )


def recorded(
    shift: str | None = None, severity: int = 0, *, seed: int = 0, labels: bool = True
) -> Recording:
    """A block of two layers with a residual addition, and a linear layer behind it; each severity
    lets every tenth more through.
    """
    rng = np.random.default_rng(seed)
    spikes = (rng.integers(20, 40, N) * (1 + severity / 10)).astype(np.int64)
    name = "letters" if shift is None else f"letters:{shift}:{severity}"
    split = {
        "name": name,
        "shift": shift,
        "severity": severity,
        "labels_preserved": labels,
        "label_space": "letters",
        "modality": "image",
    }
    right = rng.random(N) < 0.9 - severity / 10
    return Recording(
        split=split,
        spec={"timesteps": 4},
        thresholds={"block.lif1": 1.0, "block.lif2": 1.0},
        logits=np.stack([right, ~right], axis=1)[:, None].astype(np.float32),
        labels=np.zeros(N, dtype=np.int64),
        layers=(
            LayerActivity("block.lif1", (10,), spikes, np.full(10, 0.2), LIF),
            LayerActivity("block.lif2", (10,), spikes // 2, np.full(10, 0.1), LIF),
        ),
        synapses=(
            SynapseActivity("stem", "analog", "input", np.full(N, 90), 100, 1, geometry(10)),
            SynapseActivity(
                "block.conv", "spikes", "block.lif1", spikes * 10, 100, 4, geometry(10)
            ),
            SynapseActivity("linear", "spikes", "block.lif2", spikes // 2 * 2, 20, 4, geometry(2)),
        ),
        operators=(
            OperatorActivity(
                "block: addition 1", ADDITION, "add", 10, 10, 4, operand_kinds=("analog", "analog")
            ),
            OperatorActivity(
                "pool", AVERAGE_POOL, "AvgPool2d", 40, 10, 4, window=4, folded_into=("linear",)
            ),
        ),
    )


def priced(
    recording: Recording, checkpoint: str, profile: str = "45nm-fp32", **options: Any
) -> EnergyResult:
    return estimate(recording, profile_of(profile), checkpoint=checkpoint, **options)


@cache
def study(
    names: tuple[str, ...] = ("base", "ahsar"), *, labels: bool = True, profile: str = "45nm-fp32"
) -> EnergyStudy:
    clean, shifted, points = [], [], []
    for seed, name in enumerate(names):
        before = recorded(seed=seed, labels=labels)
        result = priced(before, name, profile)
        own = [
            under_shift(priced(after, name, profile), after, result, before)
            for shift, severities in (("fog", (3, 1, 5)), ("snow", (2,)))
            for severity in severities
            for after in [recorded(shift, severity, seed=seed, labels=labels)]
        ]
        clean.append(result)
        shifted += [
            *own,
            mean_under_shift(own, samples_of(result, before), "letters, mean of 2 shifts"),
        ]
        scales = [
            (None, True, result),
            *(
                (scale, False, priced(recorded("x", k, seed=seed), name, profile))
                for k, scale in enumerate((1.0, 0.5))
            ),
        ]
        points.append(
            [ScalePoint(name, scale, own_setting, found) for scale, own_setting, found in scales]
        )
    return EnergyStudy(profile, tuple(clean), tuple(shifted), curve=tuple(with_fronts(points)))


def total(convention: str, macs: Any, acs: Any) -> ConventionTotals:
    return ConventionTotals(convention, macs, acs, {}, (), (), samples=4, batch_size=2)


@pytest.fixture(scope="module")
def figures(tmp_path_factory) -> list[Path]:
    """The figures of the study, written once."""
    return save_energy_figures(study(), tmp_path_factory.mktemp("figures") / "one", "svg")


def table(written: list[Path], name: str) -> pd.DataFrame:
    (path,) = [path for path in written if path.name == f"{name}.csv"]
    return pd.read_csv(path, float_precision="round_trip")


# --- files
# --------------------------------------------------------------------------------------------------


def test_every_figure_of_a_study_is_written_whole_and_the_same_each_time(figures, tmp_path):
    names = ["energy_layers", "energy_severity", "energy_pareto", "energy_distribution"]
    assert [path.name for path in figures] == [
        f"{name}.{suffix}" for name in names for suffix in ("svg", "csv")
    ]
    assert sorted(figures[0].parent.iterdir()) == sorted(figures)
    again = save_energy_figures(study(), tmp_path / "two", "svg")
    assert [path.read_bytes() for path in figures] == [path.read_bytes() for path in again]


def test_what_cannot_be_drawn_is_left_out(tmp_path):
    made = study()
    written = save_energy_figures(replace(made, shifted=(), curve=()), tmp_path / "bare", "svg")
    assert [path.name for path in written if path.suffix == ".svg"] == [
        "energy_layers.svg",
        "energy_distribution.svg",
    ]
    unlabelled = replace(
        study(labels=False),
        curve=tuple(replace(p, result=replace(p.result, accuracy=None)) for p in made.curve),
    )
    written = save_energy_figures(unlabelled, tmp_path / "unlabelled", "svg")
    assert "energy_pareto.svg" not in [path.name for path in written]
    assert set(table(written, "energy_severity").quantity) == {"rate", "synops", "energy"}


def test_a_file_that_cannot_be_written_leaves_no_half(tmp_path):
    (tmp_path / "energy_layers.svg").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        save_energy_figures(study(("a",)), tmp_path, "svg")
    assert [path.name for path in tmp_path.iterdir()] == ["energy_layers.svg"]


# --- numbers
# --------------------------------------------------------------------------------------------------


def test_a_layer_that_is_alone_in_the_network_takes_nothing_that_may_lie_elsewhere():
    result = priced(recorded(), "a")
    assert (
        row_of(
            "maxpool",
            replace(
                result,
                layers=(
                    replace(result.layers[0], name="features.conv"),
                    replace(result.layers[0], name="fc"),
                ),
            ),
        )
        == "maxpool"
    )


def test_bars_by_hand_and_in_sum():
    result = priced(recorded(), "a")
    rows, energies = layer_energies(result)
    assert rows == ["stem", "block.conv", "linear"]
    spikes = np.array([layer.spikes for layer in result.neurons])
    updates = 40 * (3.7 + 0.9 + 0.9)  # leak, integrate, compare of 10 neurons at 4 steps
    assert energies["mac"] == pytest.approx([460, 0, 0])
    assert energies["ac"] == pytest.approx([0, 9 * spikes[0], 0.9 * result.layers[2].acs])
    assert energies["neurons"] == pytest.approx(
        [updates + 0.9 * spikes[0], updates + 0.9 * spikes[1], 0]
    )
    assert energies["residual"] == pytest.approx([0, 36, 0])
    assert energies["bias"] == pytest.approx([9, 36, 7.2])
    assert sum(map(np.sum, energies.values())) == pytest.approx(result.total_energy_pj)


def test_work_that_no_layer_is_found_for_has_a_row_of_its_own_and_the_sum_stays():
    recording = recorded()
    alone = replace(recording.operators[0], name="mixer: addition 1")
    result = priced(replace(recording, operators=(alone,)), "a")
    rows, energies = layer_energies(result)
    assert rows == ["stem", "block.conv", "linear", "mixer: addition 1"]
    assert energies["residual"] == pytest.approx([0, 0, 0, 36])
    assert sum(map(np.sum, energies.values())) == pytest.approx(result.total_energy_pj)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("features.conv1_2", "features.conv1_2"),  # its bias
        ("features.lif1_1", "features.conv1_1"),  # feeds conv1_2
        ("features.bn1_2", "features.conv1_2"),  # the same number
        ("features.pool1", "features.pool1"),
        ("layer1.0: addition 1", "layer1.0.downsample.0"),  # the block's last
        ("layer1.0.bn2", "layer1.0.conv2"),
        ("layer1.0.downsample.1", "layer1.0.downsample.0"),  # the only one of its module
        ("seq.3", "seq.2"),  # the last with a smaller index
        ("seq.12", "seq.10"),  # numbers, not letters
        ("seq.0", "seq.0"),
        ("shortcut.bn", "shortcut.conv"),
        ("maxpool", "maxpool"),
        ("bn1", "conv1"),
        ("7", "5"),
    ],
)
def test_rows_by_place_and_by_name(name, row):
    layers = [
        "features.conv1_1",
        "features.conv1_2",
        "layer1.0.conv1",
        "layer1.0.conv2",
        "layer1.0.downsample.0",
        "seq.2",
        "seq.10",
        "shortcut.conv",
        "conv1",
        "5",
    ]
    result = priced(recorded(), "a")
    first = result.layers[0]
    sources = {"features.conv1_2": "features.lif1_1"}
    assert (
        row_of(
            name,
            replace(
                result,
                layers=tuple(
                    replace(first, name=n, source=sources.get(n, "measured")) for n in layers
                ),
            ),
        )
        == row
    )


def test_severities_ascend_from_the_clean_set_with_the_interval_of_the_change(figures):
    made = study()
    drawn = table(figures, "energy_severity")
    assert set(drawn["shift"]) == {"fog"}, "one severity is no curve, and a mean is no shift"
    for label, clean in zip(("base", "ahsar"), made.clean, strict=True):
        own = {
            one.severities[0]: one
            for one in made.shifted
            if (one.checkpoint, one.shift) == (label, "fog")
        }
        rows = {
            quantity: drawn[(drawn.checkpoint == label) & (drawn.quantity == quantity)]
            for quantity in set(drawn.quantity)
        }
        assert list(rows["energy"].severity) == [0, 1, 3, 5]
        ratios = [1.0, *(own[severity].energy_pj / clean.total_energy_pj for severity in (1, 3, 5))]
        assert list(rows["energy"].value) == pytest.approx(ratios)
        assert list(rows["synops"].value) == pytest.approx(
            [clean.total_acs, *(own[severity].synops for severity in (1, 3, 5))]
        )
        assert list(rows["accuracy"].value) == pytest.approx(
            [clean.accuracy, *(own[severity].accuracy for severity in (1, 3, 5))]
        )
        rates = [
            np.mean([layer.rate for layer in clean.neurons]),
            *(own[severity].rate for severity in (1, 3, 5)),
        ]
        assert list(rows["rate"].value) == pytest.approx(rates)
        synops, accuracy = (
            np.array([own[3].changes[what].low, own[3].changes[what].high], dtype=float)
            for what in ("synops", "accuracy")
        )
        assert list(rows["synops"][["low", "high"]].iloc[2]) == pytest.approx(
            clean.total_acs * (1 + synops)
        )
        assert list(rows["accuracy"][["low", "high"]].iloc[2]) == pytest.approx(
            np.clip(float(clean.accuracy or 0) + accuracy, 0, 1)
        )
        for band in rows.values():
            assert (band.low <= band.value + 1e-12).all()
            assert (band.value <= band.high + 1e-12).all()
            assert band.low.iloc[0] == band.high.iloc[0] == band.value.iloc[0]


def test_the_front_of_the_figure_is_that_of_all_points(figures):
    made = study()
    drawn = table(figures, "energy_pareto")
    points = list(zip(drawn.energy_pj, drawn.accuracy, strict=True))
    beaten = [
        any(e <= energy and a >= accuracy and (e, a) != (energy, accuracy) for e, a in points)
        for energy, accuracy in points
    ]
    assert list(drawn.common_front) == [not one for one in beaten]
    assert list(drawn.own) == [point.own for point in made.curve]
    assert list(drawn.energy_pj) == [point.result.total_energy_pj for point in made.curve]
    assert drawn.scale.isna().sum() == 2, "thresholds of their own that are no single factor"


def test_distributions_are_of_the_clean_set_and_the_largest_severity_of_each_shift(figures):
    made = study()
    drawn = table(figures, "energy_distribution")
    assert list(dict.fromkeys(drawn.data)) == ["letters", "letters:fog:5", "letters:snow:2"]
    own = drawn[(drawn.checkpoint == "base") & (drawn.data == "letters")]
    assert own["quantile_0.25_pj"].iloc[0] == pytest.approx(made.clean[0].quantiles_pj["0.25"])
    assert own.mean_pj.iloc[0] == pytest.approx(made.clean[0].total_energy_pj)
    (fog,) = [
        one
        for one in made.shifted
        if (one.checkpoint, one.shift, one.severities) == ("base", "fog", (5,))
    ]
    own = drawn[(drawn.checkpoint == "base") & (drawn.data == "letters:fog:5")]
    assert own.mean_pj.iloc[0] == pytest.approx(fog.energy_pj)


def test_thresholds_that_are_not_the_networks_own_are_named_and_one_network_may_stand_alone(
    tmp_path,
):
    made = study(("a",))
    scaled = replace(
        made, clean=tuple(replace(result, thresholds="scale 0.5") for result in made.clean)
    )
    written = save_energy_figures(scaled, tmp_path, "svg")
    for path in written:
        if path.suffix == ".csv":
            assert set(pd.read_csv(path).checkpoint) == {"a (scale 0.5)"}


def test_parts_without_a_price_are_named_beside_the_profile():
    assert price_note([priced(recorded(), "a")]) == "45nm-fp32"
    bare = priced(recorded(), "a", "spinnaker2-10")
    assert {line["part"] for line in bare.unpriced} >= {"synapses", "bias", "residual"}, (
        "it prices spikes through synapses alone"
    )
    assert price_note([bare, bare]) == "spinnaker2-10 (no price: MACs, bias, neurons, residual)"


# --- ledgers
# --------------------------------------------------------------------------------------------------


def test_a_ledger_is_drawn_per_inference_a_file_for_each_pair(tmp_path):
    steps = (
        Step("padding", "r", 6, 0),
        Step("neurons", "r", Fraction(1, 3), -8),
        Step("nothing", "r", 0, 0),
    )
    there = Ledger(total("ahsar-eval", 100, 40), total("syops", Fraction(319, 3), 32), steps)
    back = Ledger(total("syops", 12, 8), total("ahsar-eval", 4, 8), (Step("padding", "r", -8, 0),))
    written = save_ledger_figures({"a": [there, back], "b": [there]}, tmp_path, "svg")
    pairs = ["energy_ledger_ahsar-eval_syops", "energy_ledger_syops_ahsar-eval"]
    assert [path.name for path in written] == [
        f"{name}.{suffix}" for name in pairs for suffix in ("svg", "csv")
    ]
    drawn = table(written, pairs[0])
    own = drawn[(drawn.checkpoint == "b") & (drawn.operation == "macs")]
    assert list(own.name) == ["ahsar-eval", "padding", "neurons", "syops"], (
        "steps that change nothing are left out"
    )
    assert list(own.amount) == pytest.approx([25, 1.5, 1 / 12, 319 / 12])
    assert set(table(written, pairs[1]).checkpoint) == {"a"}
    assert "in batches of 2" in (tmp_path / f"{pairs[0]}.svg").read_text()
