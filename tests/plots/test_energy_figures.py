"""Figures of energy: they draw the numbers of results, lie beside them as CSV, and fit a paper
whatever the names are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from page_layout import check_layout, headings
from page_layout import words as words_of

from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.energy.result import EnergyResult, samples_key, with_fronts
from ahsar_eval.energy.shift import under_shift, with_means
from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.evaluation.energy_records import NetworkEnergy, point_of, records_of
from ahsar_eval.evaluation.energy_tables import ENERGY
from ahsar_eval.plots import FIGURES, plot, save_all
from ahsar_eval.plots import drawn as drawn_of
from ahsar_eval.plots.energy import BANDS, FEW_SAMPLES, QUANTILES, SEVERITY, price_note
from ahsar_eval.plots.energy_layers import MOST_BARS, MOST_NETWORKS, PARTS, layer_energies, row_of
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    SINGLE_IN,
    TALLEST_IN,
    energy_unit,
    looks,
    styled,
    three_digits,
)
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    SynapseActivity,
)
from ahsar_eval.recording.activity import ADDITION, AVERAGE_POOL
from ahsar_eval.results.results import Results

LONG = (
    "runs/2024-11-02/cifar10-vgg13-T8-homeostatic-lr0.001-wd5e-4-{}_$x$_best-on-holdout"
    "-of-a-study-with-a-long-name-{}"
)
FEW_LAYERS = [f"features.conv{number}" for number in range(9)] + ["linear"]
MANY_LAYERS = [
    "stem.conv",
    *(f"stages.stage{s}.block{b}.conv{c}" for s in range(1, 6) for b in (1, 2) for c in (1, 2)),
]
drawn_layers = partial(drawn_of, name="layers")
drawn_severities = partial(drawn_of, name="severity")
drawn_pareto = partial(drawn_of, name="pareto")
drawn_distribution = partial(drawn_of, name="distribution")
drawn_ledgers = partial(drawn_of, name="ledger")
PRICES = "45nm-fp32"


# --- results by hand


def results(
    result: Iterable[Mapping[str, Any]], arrays: Mapping[str, Any] | None = None, **records: Any
) -> Results:
    lists = {"result": list(result), **records}
    return Results(ENERGY, lists, {}, arrays=dict(arrays or {}))


def network(
    checkpoint: str = "a",
    energies: Mapping[str, Mapping[str, float]] | None = None,
    *,
    data: str = "x",
    profile: str = PRICES,
    unpriced: Sequence[str] = (),
) -> dict[str, Any]:
    """A network on the set as it is: pJ by layer and part."""
    parts = [
        {
            "layer": layer,
            "part": "synapses" if part in ("ac", "mac") else part,
            "operation": part,
            "energy_pj": pj,
        }
        for layer, own in (energies or {"conv": {"ac": 1e6}}).items()
        for part, pj in own.items()
    ]
    return {
        "checkpoint": checkpoint,
        "thresholds": "replay",
        "data": data,
        "profile": profile,
        "layers": [{"name": name, "source": "measured"} for name in energies or ["conv"]],
        "parts": parts,
        "unpriced": [
            {"operation": "add", "part": part, "reason": "the profile has no price for it"}
            for part in unpriced
        ],
        "n": 40,
        "accuracy": 0.9,
        "mean_rate": 0.2,
        "total_acs": 4e6,
    }


def bars(
    checkpoint: str = "a", layers: list[str] = FEW_LAYERS, *, seed: int = 0, scale: float = 1e5
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    small = ("neurons", "bias", "residual", "pooling", "products")
    energies = {
        layer: {
            "ac" if at else "mac": float(rng.gamma(2.0, scale)) if at else 3e5,
            **{part: float(rng.gamma(2.0, scale * 0.1)) for part in small},
        }
        for at, layer in enumerate(layers)
    }
    return network(checkpoint, energies)


def total_of(one: Mapping[str, Any]) -> float:
    return float(sum(part["energy_pj"] for part in one["parts"]))


def severities(
    checkpoint: str = "a",
    shift: str = "fog",
    *,
    labels: bool = True,
    grows: float = 0.1,
    intervals: bool = True,
) -> list[dict[str, Any]]:
    """Rows of a shift at severities 1 to 5; each adds `grows` of the clean value."""
    rows = []
    for severity in range(1, 6):
        change = grows * severity
        row = {
            **{name: network(checkpoint)[name] for name in ("checkpoint", "thresholds", "profile")},
            "data": f"x:{shift}:{severity}",
            "kind": "set",
            "set": "x",
            "shift": shift,
            "severity": severity,
            "accuracy": 0.9 - 0.1 * severity if labels else None,
            "mean_rate": 0.2 * (1 + change),
            "total_acs": 4e6 * (1 + change),
            "energy_change": change,
        }
        for name, value in (("rate", change), ("synops", change), ("accuracy", -0.1 * severity)):
            ends = (value - 0.02, value + 0.03) if intervals else (None, None)
            row |= {f"{name}_change_low": ends[0], f"{name}_change_high": ends[1]}
        rows.append(row)
    return rows


def scales(checkpoint: str = "a", points: int = 5, *, cheaper: float = 1.0) -> list[dict[str, Any]]:
    """Scales from 0.5; energy falls and accuracy first rises with the scale, so that all from the
    best one on are on the front.
    """
    rows = []
    for scale in 0.5 + 0.25 * np.arange(points):
        place = (3e6 * cheaper / scale, 0.9 - 0.1 * (scale - 1) ** 2)
        rows.append(setting(float(scale), *place, checkpoint=checkpoint, own=bool(scale == 1)))
    return rows


def setting(
    scale: float | None,
    energy_pj: float,
    accuracy: float | None,
    *,
    own: bool = False,
    checkpoint: str = "a",
) -> dict[str, Any]:
    named = {"checkpoint": checkpoint, "profile": PRICES, "scale": scale, "own": own}
    return {**named, "total_energy_pj": energy_pj, "accuracy": accuracy}


def curves(*points: Mapping[str, Any]) -> Results:
    names = dict.fromkeys(point["checkpoint"] for point in points)
    return results(map(network, names), scale=with_fronts(points))


def sampled(
    names: Sequence[str], sets: Sequence[str] = (), *, n: int = 100, data: str = "x"
) -> Results:
    """Energies of `n` samples on the set as it is, and on shifts of it."""
    clean = [network(name, data=data) for name in names]
    shifts = [
        {**one, "data": shift, "kind": "set", "set": data, "shift": shift, "severity": 1}
        for shift in sets
        for one in clean
    ]
    arrays = {
        samples_key(row): np.random.default_rng(seed).gamma(20.0, 1e5, n)
        for seed, row in enumerate((*clean, *shifts))
    }
    return results(clean, arrays, shift=shifts)


def counted(convention: str, macs: Any, acs: Any) -> dict[str, Any]:
    numbers = {"macs_total": macs, "acs_total": acs, "samples": 2, "batch_size": 2}
    return {"convention": convention, **numbers}


def ledger(
    checkpoint: str = "a", steps: Mapping[str, tuple[Any, Any]] | None = None
) -> dict[str, Any]:
    steps = steps or {
        "padding": (2 * 28_288, 0),
        "neurons": (7, 2 * 69_161),
        "pooling": (0, -2 * 49_631),
        "nothing": (0, 0),
    }
    return {
        **{name: network(checkpoint)[name] for name in ("checkpoint", "thresholds", "data")},
        "start": counted("ahsar-eval", 2 * 203_136, 2 * 98_289),
        "end": counted("spikingjelly", 462_855, 2 * 117_819),
        "steps": [
            {"name": name, "macs_total": macs, "acs_total": acs}
            for name, (macs, acs) in steps.items()
        ],
    }


def pages(drawn: Sequence[tuple[str, list[Any], pd.DataFrame]]) -> list[Any]:
    (one,) = drawn
    return one[1]


def numbers(drawn: Sequence[tuple[str, list[Any], pd.DataFrame]]) -> pd.DataFrame:
    (one,) = drawn
    return one[2]


def bar_pages(names, sets):
    kinds = (FEW_LAYERS, MANY_LAYERS)
    made = [bars(name, kinds[k % 2], seed=k) for k, name in enumerate(names)]
    return pages(drawn_layers(results(made)))


def severity_pages(names, sets):
    rows = [
        row
        for s in sets
        for k, name in enumerate(names)
        for row in severities(name, s, labels=s != sets[-1], grows=k / 10)
    ]
    return pages(drawn_severities(results(map(network, names), shift=rows)))


def pareto_pages(names, sets):
    rows = [row for k, name in enumerate(names) for row in scales(name, 4 + k, cheaper=1 + 0.1 * k)]
    return pages(drawn_pareto(curves(*rows)))


def distribution_pages(names, sets):
    return pages(drawn_distribution(sampled(names, sets, data="clean")))


def waterfall_pages(names, sets):
    steps = {
        f"{name} {sets[0]}": amounts
        for name, amounts in {"padding": (9, 0), "neurons": (7, 9), "pooling": (0, -5)}.items()
    }
    rows = [ledger(name, steps) for name in names]
    return pages(drawn_ledgers(results(map(network, names), ledgers=rows)))


KINDS = [bar_pages, severity_pages, pareto_pages, distribution_pages, waterfall_pages]


def panel(figures, label: str):
    (found,) = [axes for figure in figures for axes in figure.axes if axes.get_label() == label]
    return found


def drawn_line(axes, label: str):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def words(figures) -> list[str]:
    return [word for figure in figures for word in words_of(figure)]


# --- results of recordings

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
        "set": "letters",
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
    recording: Recording, checkpoint: str, profile: str = PRICES, **options: Any
) -> EnergyResult:
    return estimate(recording, profile_of(profile), checkpoint=checkpoint, **options)


@cache
def evaluated(
    names: tuple[str, ...] = ("base", "ahsar"), *, labels: bool = True, bare: bool = False
) -> Results:
    """Networks on letters, under fog at three severities and snow at one, and at three scales."""
    networks = []
    for seed, name in enumerate(names):
        clean = priced(recorded(seed=seed, labels=labels), name)
        found = [
            under_shift(priced(after, name), clean)
            for shift, steps in (("fog", (3, 1, 5)), ("snow", (2,)))
            for severity in steps
            for after in [recorded(shift, severity, seed=seed, labels=labels)]
        ]
        others = [
            point_of(priced(recorded("x", k, seed=seed, labels=labels), name), scale, False)
            for k, scale in enumerate((1.0, 0.5))
        ]
        plan: Any = SimpleNamespace(id_split=SimpleNamespace(source=SimpleNamespace(identity="i")))
        networks.append(
            NetworkEnergy(
                plan=plan,
                clean=clean,
                shifted=[] if bare else with_means(found, clean.samples, "letters"),
                curve=[] if bare else [point_of(clean, None, True), *others],
            )
        )
    records, arrays = records_of([[one] for one in networks])
    return Results(ENERGY, records, {}, arrays=arrays)


@pytest.fixture(scope="module")
def figures(tmp_path_factory) -> list[Path]:
    """The figures of the networks on letters, written once."""
    return save_all(evaluated(), tmp_path_factory.mktemp("figures") / "one", "svg")


def table(written: list[Path], name: str) -> pd.DataFrame:
    (path,) = [path for path in written if path.name == f"{name}.csv"]
    return pd.read_csv(path, float_precision="round_trip")


# --- pages


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "sets"),
    [
        (["a"], ["x"]),
        (
            ["digits-vgg13-baseline", "digits-vgg13-ahsar"],
            ["digits:gaussian_noise:3", "digits:fog:5"],
        ),
        ([LONG.format(k, k) for k in range(4)], [LONG.format("set", k) for k in range(3)]),
    ],
)
def test_text_fits_the_page_and_meets_no_other(kind, names, sets):
    for figure in kind(names, sets):
        check_layout(figure)


@pytest.mark.parametrize(
    ("kind", "names", "count"), [(severity_pages, ["a"], 4), (distribution_pages, list("abcd"), 2)]
)
def test_nineteen_shifts_go_on_pages_that_hold_each_once(kind, names, count):
    shifts = [f"shift{number}" for number in range(19)]
    made = kind(names, shifts)
    assert len(made) == count
    assert all(figure.get_size_inches()[1] <= TALLEST_IN for figure in made)
    assert sorted(word for word in words(made) if word in shifts) == sorted(shifts)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_names_read_the_same(kind):
    names = [LONG.format(k, "end") for k in range(3)]
    made = kind(names, ["x"])
    if kind is bar_pages:
        shown = [
            [label.get_text() for label in panel(made, "total").get_yticklabels()],
            [headings(panel(made, n))[0] for n in names],
        ]
    elif kind is waterfall_pages:
        shown = [[headings(panel(made, f"{name} macs"))[-2] for name in names]]
    else:
        signs = [text.get_text() for text in made[0].legends[0].get_texts()[:3]]
        shown = [[sign.removesuffix(" (mean)") for sign in signs]]
    for three in shown:
        assert len(set(three)) == 3
        assert all("…" in short or short in names for short in three)


@pytest.mark.parametrize("kind", [severity_pages, pareto_pages, distribution_pages])
def test_a_checkpoint_looks_the_same_in_every_figure(kind):
    with styled():
        expected = {to_hex(look["color"]) for look in looks(["a", "b"]).values()}
    drawn = {
        to_hex(line.get_color())
        for figure in kind(["a", "b"], ["x"])
        for axes in figure.axes
        for line in axes.lines
    }
    assert expected <= drawn


def test_a_network_that_is_in_some_figures_only_keeps_its_look():
    with styled():
        first, second = (to_hex(look["color"]) for look in looks(["a", "b"]).values())
    both = [network("a"), network("b")]
    for made in (
        pages(drawn_severities(results(both, shift=severities("b")))),
        pages(drawn_pareto(results(both, scale=with_fronts(scales("b"))))),
    ):
        drawn = {to_hex(line.get_color()) for axes in made[0].axes for line in axes.lines}
        assert second in drawn
        assert first not in drawn


# --- files


def test_every_figure_is_written_whole_and_the_same_each_time(figures, tmp_path):
    names = ["energy_layers", "energy_severity", "energy_pareto", "energy_distribution"]
    assert [path.name for path in figures] == [
        f"{name}.{suffix}" for name in names for suffix in ("svg", "csv")
    ]
    assert sorted(figures[0].parent.iterdir()) == sorted(figures)
    assert "<text" in figures[0].read_text(), "text of an SVG stays text"
    again = save_all(evaluated(), tmp_path / "two", "svg")
    assert [path.read_bytes() for path in figures] == [path.read_bytes() for path in again]


def test_what_cannot_be_drawn_is_left_out(tmp_path):
    written = save_all(evaluated(bare=True), tmp_path / "bare", "svg")
    assert [path.name for path in written if path.suffix == ".svg"] == [
        "energy_layers.svg",
        "energy_distribution.svg",
    ]
    written = save_all(evaluated(labels=False), tmp_path / "unlabelled", "svg")
    assert "energy_pareto.svg" not in [path.name for path in written]
    assert set(table(written, "energy_severity").quantity) == {"rate", "synops", "energy"}


def test_several_profiles_have_a_folder_each(tmp_path):
    both = results(
        [bars("a"), {**bars("a", scale=2e5), "profile": "mine"}],
        {samples_key({**network(), "profile": name}): np.ones(40) for name in (PRICES, "mine")},
    )
    written = save_all(both, tmp_path, "svg")
    assert [path.relative_to(tmp_path).parts for path in written if path.suffix == ".svg"] == [
        (profile, f"energy_{name}.svg")
        for name in ("layers", "distribution")
        for profile in (PRICES, "mine")
    ]


def test_a_failure_leaves_no_half(tmp_path, monkeypatch):
    (tmp_path / "energy_layers.svg").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        save_all(evaluated(("a",)), tmp_path, "svg")
    assert [path.name for path in tmp_path.iterdir()] == ["energy_layers.svg"]
    from matplotlib.figure import Figure

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        plot(evaluated(("a",)), "layers", tmp_path / "sub" / "x.png")
    assert not list((tmp_path / "sub").glob("*"))


def test_thresholds_that_are_not_the_networks_own_are_named():
    made = evaluated(("a",))
    records = {
        name: [{**row, "thresholds": "scale 0.5"} if "thresholds" in row else row for row in rows]
        for name, rows in made.records.items()
    }
    scaled = replace(made, records=records)
    for name in FIGURES["energy"]:
        for _, _, drawn in drawn_of(scaled, name):
            assert set(drawn.checkpoint) == {"a (scale 0.5)"}


# --- bars by layer


def stacked(axes) -> dict[str, list[tuple[float, float, float]]]:
    """Part → (row, start, length) of each of its bars."""
    return {
        bar.get_label(): [
            (patch.get_y() + patch.get_height() / 2, patch.get_x(), patch.get_width())
            for patch in bar
        ]
        for bar in axes.containers
    }


def test_bars_stack_every_part_of_every_layer_from_the_left():
    energies = {"conv": {"mac": 4.6e6, "neurons": 2e5}, "fc": {"ac": 9e5, "neurons": 1e5}}
    axes = panel(pages(drawn_layers(results([network("a", energies)]))), "a")
    found = stacked(axes)
    titles = {title: part for part, (title, _) in PARTS.items()}
    found = {titles[title]: bars for title, bars in found.items()}
    assert list(found) == ["ac", "mac", "neurons"], "parts that no network has are left out"
    assert np.allclose(found["ac"], [(0, 0, 0), (1, 0, 0.9)])
    assert np.allclose(found["mac"], [(0, 0, 4.6), (1, 0.9, 0)])
    assert np.allclose(found["neurons"], [(0, 4.6, 0.2), (1, 0.9, 0.1)])
    assert axes.get_ylim() == (1.5, -0.5), "the first layer is on top"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "fc"]


def test_totals_are_the_sum_of_the_layers_with_their_number():
    pair = [bars("a", seed=1), bars("b", seed=2, scale=2e5)]
    made = pages(drawn_layers(results(pair)))
    axes = panel(made, "total")
    for place, one in enumerate(pair):
        lengths = [parts[place][2] for parts in stacked(axes).values()]
        assert sum(lengths) == pytest.approx(total_of(one) / 1e6)
    assert {three_digits(total_of(one) * 1e-12, "J") for one in pair} <= set(words(made))
    assert "energy per inference (µJ), 45nm-fp32" in words(made)


def test_a_long_note_stands_in_a_line_of_its_own():
    profile = "a profile with a long name"
    missing = ("neurons", "bias", "normalisation", "residual", "pooling")

    def noted(one: Mapping[str, Any]) -> dict[str, Any]:
        return {**one, "profile": profile, "unpriced": network(unpriced=missing)["unpriced"]}

    name = "a set with a long name"
    key = samples_key({**network(data=name), "profile": profile})
    points = [{**row, "profile": profile} for row in with_fronts(scales())]
    for made in (
        pages(drawn_layers(results([noted(bars())]))),
        pages(drawn_pareto(results([noted(network())], scale=points))),
        pages(drawn_distribution(results([noted(network(data=name))], {key: 1e6 * np.ones(40)}))),
    ):
        check_layout(made[0])
        said = made[0]._supxlabel.get_text().split("\n")
        assert said[0].startswith("energy per inference (µJ), ")
        assert said[-1].startswith("set ")
        assert len(said) > 2
        assert profile in " ".join(said)


def test_networks_share_one_scale_and_the_names_of_equal_layers():
    made = pages(drawn_layers(results([bars("a", seed=1), bars("b", seed=2, scale=3e5)])))
    first, second = panel(made, "a"), panel(made, "b")
    assert first.get_xlim() == second.get_xlim()
    assert first.bbox.width == pytest.approx(second.bbox.width)
    assert first.bbox.height == pytest.approx(second.bbox.height)
    assert [label.get_text() for label in first.get_yticklabels()] == FEW_LAYERS
    assert not any(label.get_text() for label in second.get_yticklabels())


def test_two_networks_take_both_columns_of_a_paper_where_one_would_cut_their_names():
    for names, width in (
        (("short", "names"), SINGLE_IN),
        (("digits-resnet18-baseline", "digits-resnet18-ahsar"), DOUBLE_IN),
    ):
        (figure,) = pages(drawn_layers(results([bars(name, MANY_LAYERS) for name in names])))
        assert figure.get_size_inches()[0] == width
        assert words([figure]).count(names[0]) == 2, "over the panel and beside the total"


def test_networks_with_other_layers_stand_below_with_names_of_their_own():
    made = pages(drawn_layers(results([bars("a"), bars("r", MANY_LAYERS), bars("b")])))
    first, second, other = (panel(made, name) for name in "abr")
    assert first.bbox.y0 == pytest.approx(second.bbox.y0)
    assert other.bbox.y1 < first.bbox.y0
    assert [label.get_text() for label in other.get_yticklabels()] == MANY_LAYERS
    assert first.bbox.height / len(FEW_LAYERS) == pytest.approx(
        other.bbox.height / len(MANY_LAYERS)
    ), "bars are equally thick"


def test_the_numbers_of_the_bars_lie_beside_them():
    pair = [bars("a", seed=1), bars("b", MANY_LAYERS, seed=2)]
    drawn = numbers(drawn_layers(results(pair)))
    for one in pair:
        names = [layer["name"] for layer in one["layers"]]
        for part in PARTS:
            own = drawn[(drawn.checkpoint == one["checkpoint"]) & (drawn.part == part)]
            if part == "regulation":  # of networks that adapt
                assert own.empty
                continue
            assert list(own.layer) == names
            known = {
                line["layer"]: line["energy_pj"]
                for line in one["parts"]
                if part in (line["part"], line["operation"])
            }
            assert list(own.energy_pj) == [known.get(name, 0.0) for name in names]


def test_five_networks_with_the_same_layers_are_four_and_one():
    made = pages(drawn_layers(results([bars(name) for name in "abcde"])))
    first, *others = (panel(made, name) for name in "abcde")
    same = [axes.bbox.y0 == pytest.approx(first.bbox.y0) for axes in others]
    assert same == [True, True, True, False]


def test_parts_differ_in_grey_from_what_stands_beside_them():
    greys = [np.dot(to_rgb(colour), [0.299, 0.587, 0.114]) for _, colour in PARTS.values()]
    assert all(abs(one - other) > 0.12 for one, other in pairwise(greys))


@pytest.mark.parametrize("lengths", [(1,), (3, 3, 3, 3, 3), (MOST_BARS + 1,), (100, 7, 100, 2)])
def test_every_layer_of_every_network_is_on_a_page_once(lengths):
    networks = [bars(f"net{k}", [f"l{i}" for i in range(n)]) for k, n in enumerate(lengths)]
    made = pages(drawn_layers(results(networks)))
    for k, length in enumerate(lengths):
        parts = [axes for figure in made for axes in figure.axes if axes.get_label() == f"net{k}"]
        drawn = [len(next(iter(stacked(axes).values()))) for axes in parts]
        assert sum(drawn) == length
        assert max(drawn) <= MOST_BARS
    for figure in made:
        check_layout(figure)
        rows: dict[float, int] = {}
        for axes in figure.axes:
            rows[round(axes.bbox.y0)] = rows.get(round(axes.bbox.y0), 0) + 1
        assert max(rows.values()) <= MOST_NETWORKS


def test_bars_by_hand_and_in_sum():
    result = priced(recorded(), "a").row
    energies = layer_energies(result)
    assert list(energies.index) == ["stem", "block.conv", "linear"]
    spikes = np.array([layer["spikes"] for layer in result["neurons"]])
    updates = 40 * (3.7 + 0.9 + 0.9)  # leak, integrate, compare of 10 neurons at 4 steps
    found = {part: list(energies[part]) for part in energies}
    assert found["mac"] == pytest.approx([460, 0, 0])
    assert found["ac"] == pytest.approx([0, 9 * spikes[0], 0.9 * result["layers"][2]["acs"]])
    assert found["neurons"] == pytest.approx(
        [updates + 0.9 * spikes[0], updates + 0.9 * spikes[1], 0]
    )
    assert found["residual"] == pytest.approx([0, 36, 0])
    assert found["bias"] == pytest.approx([9, 36, 7.2])
    assert energies.to_numpy().sum() == pytest.approx(result["total_energy_pj"])


def test_work_that_no_layer_is_found_for_has_a_row_of_its_own_and_the_sum_stays():
    recording = recorded()
    alone = replace(recording.operators[0], name="mixer: addition 1")
    result = priced(replace(recording, operators=(alone,)), "a").row
    energies = layer_energies(result)
    assert list(energies.index) == ["stem", "block.conv", "linear", "mixer: addition 1"]
    assert list(energies.residual) == pytest.approx([0, 0, 0, 36])
    assert energies.to_numpy().sum() == pytest.approx(result["total_energy_pj"])


def test_a_layer_that_is_alone_in_the_network_takes_nothing_that_may_lie_elsewhere():
    assert row_of("maxpool", {"features.conv": "input", "fc": "measured"}) == "maxpool"


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
    sources = dict.fromkeys(layers, "measured") | {"features.conv1_2": "features.lif1_1"}
    assert row_of(name, sources) == row


def test_parts_without_a_price_are_named_beside_the_profile():
    assert price_note(PRICES, [priced(recorded(), "a").row]) == PRICES
    bare = priced(recorded(), "a", "spinnaker2-10").row
    assert {line["part"] for line in bare["unpriced"]} >= {"synapses", "bias", "residual"}, (
        "it prices spikes through synapses alone"
    )
    expected = "spinnaker2-10 (no price: MACs, bias, neurons, residual)"
    assert price_note("spinnaker2-10", [bare, bare]) == expected


# --- severity


def test_energy_severity_draws_values_and_bands():
    rows = [*severities("a"), *severities("b", grows=-0.05)]
    drawn = drawn_severities(results([network("a"), network("b")], shift=rows))
    points = numbers(drawn)
    for quantity in ("accuracy", "rate", "synops"):
        axes = panel(pages(drawn), f"fog {quantity}")
        for name, line, area in zip("ab", axes.lines, axes.collections, strict=True):
            own = points[(points.checkpoint == name) & (points.quantity == quantity)]
            assert np.array_equal(line.get_xydata(), own[["severity", "value"]])
            corners = {tuple(point) for point in area.get_paths()[0].vertices}
            for end in ("low", "high"):
                assert corners >= set(zip(own.severity, own[end], strict=True))
    assert f"severity (0: clean); bands: {BANDS}" in words(pages(drawn))
    assert list(dict.fromkeys(points.quantity)) == list(SEVERITY)


def test_energy_is_drawn_beside_the_line_of_the_clean_set_and_without_intervals_has_no_band():
    rows = severities(grows=0.2, intervals=False)
    made = pages(drawn_severities(results([network()], shift=rows)))
    axes = panel(made, "fog energy")
    clean, line = axes.lines
    assert set(clean.get_ydata()) == {1.0}
    assert np.allclose(line.get_ydata(), 1 + 0.2 * np.arange(6))
    assert not axes.collections
    assert "severity (0: clean)" in words(made), "no band, no word of bands"


def test_a_row_of_severities_has_one_scale_and_unkept_labels_are_said():
    rows = [
        row
        for number in range(7)
        for row in severities("a", f"shift{number}", labels=number != 6, grows=number / 10)
    ]
    made = pages(drawn_severities(results([network()], shift=rows)))
    assert len(made) == 2
    for quantity in SEVERITY:
        limits = {
            axes.get_ylim()
            for figure in made
            for axes in figure.axes
            if axes.get_label().endswith(quantity) and axes.lines
        }
        assert len(limits) == 1
    empty = panel(made, "shift6 accuracy")
    assert {"no labels to compare", "shift6"} <= {text.get_text().strip() for text in empty.texts}
    assert not panel(made, "shift6 accuracy").lines
    low, high = panel(made, "shift6 energy").get_ylim()
    assert low < 1
    assert high > 4


def test_severities_ascend_from_the_clean_set_with_the_interval_of_the_change(figures):
    made, drawn = evaluated().records, table(figures, "energy_severity")
    assert set(drawn["shift"]) == {"fog"}, "one severity is no curve, and a mean is no shift"
    for clean in made["result"]:
        own = {
            row["severity"]: row
            for row in made["shift"]
            if (row["checkpoint"], row["shift"]) == (clean["checkpoint"], "fog")
        }
        rows = {
            quantity: drawn[
                (drawn.checkpoint == clean["checkpoint"]) & (drawn.quantity == quantity)
            ]
            for quantity in set(drawn.quantity)
        }
        assert list(rows["energy"].severity) == [0, 1, 3, 5]
        ratios = [own[at]["total_energy_pj"] / clean["total_energy_pj"] for at in (1, 3, 5)]
        assert list(rows["energy"].value) == pytest.approx([1.0, *ratios])
        for quantity, key in (
            ("synops", "total_acs"),
            ("accuracy", "accuracy"),
            ("rate", "mean_rate"),
        ):
            expected = [clean[key], *(own[at][key] for at in (1, 3, 5))]
            assert list(rows[quantity].value) == pytest.approx(expected)
        ends = ("low", "high")
        synops, accuracy = (
            np.array([own[3][f"{what}_change_{end}"] for end in ends], dtype=float)
            for what in ("synops", "accuracy")
        )
        assert list(rows["synops"][[*ends]].iloc[2]) == pytest.approx(
            clean["total_acs"] * (1 + synops)
        )
        assert list(rows["accuracy"][[*ends]].iloc[2]) == pytest.approx(
            np.clip(float(clean["accuracy"]) + accuracy, 0, 1)
        )
        for band in rows.values():
            assert (band.low <= band.value + 1e-12).all()
            assert (band.value <= band.high + 1e-12).all()
            assert band.low.iloc[0] == band.high.iloc[0] == band.value.iloc[0]


def test_shifts_of_one_name_of_two_sets_are_told_apart_by_the_set():
    copies = [{**row, "set": "cifar10-c"} for row in severities()]
    drawn = numbers(drawn_severities(results([network()], shift=[*severities(), *copies])))
    assert list(dict.fromkeys(drawn["shift"])) == ["x:fog", "cifar10-c:fog"]


# --- accuracy against energy


def test_a_network_is_a_line_over_its_scales_with_its_front_filled_and_its_setting_ringed():
    drawn = drawn_pareto(curves(*scales(), setting(None, 2.5e6, 0.8)))
    axes, points = panel(pages(drawn), "pareto"), numbers(drawn)
    places = [
        (pj / 1e6, accuracy) for pj, accuracy in zip(points.energy_pj, points.accuracy, strict=True)
    ]
    line = drawn_line(axes, "a")
    assert np.allclose(line.get_xydata(), places[:-1]), "what has no scale is on no line"
    filled = drawn_line(axes, "on its network's front")
    hollow = drawn_line(axes, "beaten by its own network")
    fronts = list(points.front)
    for marks, on_front in ((filled, True), (hollow, False)):
        expected = [place for place, front in zip(places, fronts, strict=True) if front is on_front]
        assert np.allclose(marks.get_xydata(), expected)
    assert fronts == [False, False, True, True, True, False]
    assert hollow.get_markerfacecolor() == "white"
    assert filled.get_markerfacecolor() == line.get_color()
    assert np.allclose(drawn_line(axes, "the network's own setting").get_xydata(), [(3.0, 0.9)])


def test_the_common_front_is_a_stair_through_its_points_to_the_right_edge():
    axes = panel(pages(drawn_pareto(curves(*scales("a"), *scales("b", cheaper=2.0)))), "pareto")
    stair = drawn_line(axes, "Pareto front of all")
    on = [
        (3e6 / row["scale"] / 1e6, 0.9 - 0.1 * (row["scale"] - 1) ** 2)
        for row in with_fronts(scales())
        if row["front"]
    ]
    assert np.allclose(stair.get_xydata(), [*sorted(on), (axes.get_xlim()[1], 0.9)])
    assert stair.get_drawstyle() == "steps-post"
    assert stair.get_zorder() < drawn_line(axes, "b").get_zorder()


def test_scales_are_named_beside_their_points_where_there_is_room():
    (figure,) = pages(drawn_pareto(curves(*scales(), setting(None, 2.5e6, 0.8, own=True))))
    found = {
        text.get_text(): text.xy
        for text in panel([figure], "pareto").texts
        if text.get_text()[0] in "×o"
    }
    assert {"×0.5", "×0.75", "×1", "own"} <= set(found)
    assert np.allclose(found["×1"], (3.0, 0.9))
    assert np.allclose(found["own"], (2.5, 0.8))
    crowd = [setting(1 + k / 1000, 1e6 + k, 0.5 + k / 1e6) for k in range(40)]
    far = setting(1.0, 3e6, 0.9, checkpoint="far")
    (figure,) = pages(drawn_pareto(curves(far, *crowd)))
    named = sum(text.get_text().startswith("×1.0") for text in panel([figure], "pareto").texts)
    assert 1 <= named < 10, "labels without room are left out"
    check_layout(figure)


@pytest.mark.parametrize(("own", "other"), [(1.0, 1.1), (1.1, 1.0)])
def test_the_setting_that_is_used_is_named_first_where_a_label_stands_best(own, other):
    points = [(0.5, 1e6, 0.5), (1.0, 3e6, 0.9), (1.1, 3.15e6, 0.9), (2.0, 4e6, 0.5)]
    made = pages(drawn_pareto(curves(*(setting(*one, own=one[0] == own) for one in points))))
    offsets = {text.get_text(): text.xyann for text in panel(made, "pareto").texts}
    across, up = offsets[f"×{own:g}"]
    assert (across, up > 0) == (0, True)
    assert offsets.get(f"×{other:g}", (1, 0))[0] != 0, "there was room for one above"


def test_energies_far_apart_stand_on_a_logarithmic_axis():
    wide = [setting(1.0, 1e6, 0.5), setting(2.0, 5e7, 0.9)]

    def scale(*points: Mapping[str, Any]) -> str:
        return str(panel(pages(drawn_pareto(curves(*points))), "pareto").get_xscale())

    assert scale(*wide) == "log"
    assert scale(*scales()) == "linear"
    assert scale(setting(1.0, 0.0, 0.5), wide[1]) == "linear"


def test_the_front_of_the_figure_is_that_of_all_points(figures):
    made, drawn = evaluated().records["scale"], table(figures, "energy_pareto")
    points = list(zip(drawn.energy_pj, drawn.accuracy, strict=True))
    beaten = [
        any(e <= pj and a >= accuracy and (e, a) != (pj, accuracy) for e, a in points)
        for pj, accuracy in points
    ]
    assert list(drawn.common_front) == [not one for one in beaten]
    for mark, column in (("own", "own"), ("front", "front"), ("total_energy_pj", "energy_pj")):
        assert list(drawn[column]) == [point[mark] for point in made]
    assert drawn.scale.isna().sum() == 2, "thresholds of their own that are no single factor"


def test_the_front_of_results_that_were_added_is_that_of_both():
    one, other = curves(*scales("a")), curves(*scales("b", cheaper=2.0))
    drawn = numbers(drawn_pareto(one + other))
    assert set(drawn[drawn.common_front].checkpoint) == {"a"}
    assert drawn[drawn.front].checkpoint.nunique() == 2


# --- samples


def test_a_box_is_the_quartiles_and_its_line_the_outer_quantiles():
    made = sampled(["a"], n=1000)
    (energies,) = made.arrays.values()
    drawn = drawn_distribution(made)
    axes = panel(pages(drawn), "distribution")
    low, first, median, third, high = np.quantile(energies, QUANTILES) / 1e6
    (box,) = axes.containers[0]
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((first, third))
    lines = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata())]
    expected = [(energies.mean() / 1e6,), (low, high), (median,)]
    for line, ends in zip(lines, expected, strict=True):
        assert line == pytest.approx(ends)
    left, right = axes.get_xlim()
    assert left < low < high < right
    rows = numbers(drawn)
    assert np.array_equal(
        rows[[f"quantile_{level:g}_pj" for level in QUANTILES]].iloc[0],
        np.quantile(energies, QUANTILES),
    )
    assert (rows.n[0], rows.mean_pj[0]) == (1000, energies.mean())


@pytest.mark.parametrize("n", [3, 1000])
@pytest.mark.parametrize("limits", [(9.3, 18.2), (1.21, 1.82), (0.0, 0.4)])
def test_ticks_stand_around_all_that_is_drawn(n, limits):
    made = sampled(["a"], n=n)
    ((key, _),) = made.arrays.items()
    energies = np.linspace(limits[0], limits[1], n) * 1e6
    made = replace(made, arrays={key: energies})
    axes = panel(pages(drawn_distribution(made)), "distribution")
    unit = energy_unit(energies.max())[1]
    ends = np.quantile(energies, (0.05, 0.95) if n > FEW_SAMPLES else (0, 1)) / unit
    left, right = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
    assert ticks[0] <= ends[0] < ticks[1]
    assert ticks[-2] < ends[1] <= ticks[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_says_its_set_and_samples(kind):
    said = r"set (clean|x), n = (40|2)"
    assert any(re.fullmatch(said, word) for word in words(kind(["a", "b"], ["x"])))


@pytest.mark.parametrize("n", [1, 10, FEW_SAMPLES])
def test_few_samples_are_drawn_one_by_one(n):
    made = sampled(["a"], n=n)
    (energies,) = made.arrays.values()
    axes = panel(pages(drawn_distribution(made)), "distribution")
    samples = drawn_line(axes, "sample")
    assert np.allclose(samples.get_xdata(), energies / 1e6)
    assert not axes.containers
    left, right = axes.get_xlim()
    assert left < energies.min() / 1e6
    assert energies.max() / 1e6 < right


def test_the_clean_set_stands_first_and_its_medians_cross_all_sets():
    made = sampled("ab", ["fog"], data="digits")
    axes = panel(pages(drawn_distribution(made)), "distribution")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["digits (clean)", "fog"]
    medians = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert medians == pytest.approx([np.median(one) / 1e6 for one in [*made.arrays.values()][:2]])
    boxes = [bar[0].get_y() + bar[0].get_height() / 2 for bar in axes.containers]
    first, second = boxes[::2], boxes[1::2]  # of a and of b, in each row
    assert first[0] < second[0] < 0.5 < first[1] < second[1], "one order in every row"


def test_distributions_are_of_the_clean_set_and_the_largest_severity_of_each_shift(figures):
    made, drawn = evaluated().records, table(figures, "energy_distribution")
    assert list(dict.fromkeys(drawn.data)) == ["letters", "letters:fog:5", "letters:snow:2"]
    own = drawn[(drawn.checkpoint == "base") & (drawn.data == "letters")]
    clean = made["result"][0]
    assert own["quantile_0.25_pj"].iloc[0] == pytest.approx(clean["quantiles_pj"]["0.25"])
    assert own.mean_pj.iloc[0] == pytest.approx(clean["total_energy_pj"])
    fog = next(row for row in made["shift"] if row["data"] == "letters:fog:5")
    own = drawn[(drawn.checkpoint == "base") & (drawn.data == "letters:fog:5")]
    assert own.mean_pj.iloc[0] == pytest.approx(fog["total_energy_pj"])


# --- ledgers


def ledgers_of(*found: Mapping[str, Any]) -> list[tuple[str, list[Any], pd.DataFrame]]:
    return drawn_ledgers(results([network()], ledgers=found))


def test_each_step_starts_where_the_last_one_ended():
    made = pages(ledgers_of(ledger()))
    axes = panel(made, "a acs")
    names = [label.get_text() for label in panel(made, "a macs").get_yticklabels()]
    found = [
        (name, patch.get_x(), patch.get_x() + patch.get_width())
        for name, bar in zip(names, axes.containers, strict=True)
        for patch in bar
    ]
    labels = [bar.get_label() for bar in axes.containers]
    assert labels == ["total", "_container1", "added", "taken away", "total"]
    assert found == [
        ("ahsar-eval", 0, 98_289),
        ("padding", 98_289, 98_289),
        ("neurons", 98_289, 167_450),
        ("pooling", 117_819, 167_450),
        ("spikingjelly", 0, 117_819),
    ]
    added, taken = (axes.containers[place].patches[0].get_facecolor() for place in (2, 3))
    assert added != taken
    names = [label.get_text() for label in panel(made, "a macs").get_yticklabels()]
    assert names == ["ahsar-eval", "padding", "neurons", "pooling", "spikingjelly"], (
        "steps that change nothing are left out"
    )
    assert headings(axes)[-1] == "ACs"
    assert [text.get_text() for text in axes.texts] == [
        "98.3 k",
        "0",
        "+69.2 k",
        "−49.6 k",
        "118 k",
    ]
    assert "operations per inference, in batches of 2" in words(made)


def test_the_steps_of_a_ledger_lie_beside_it_exactly():
    large = ledger(steps={"neurons": (1, 2 * 19_530)})
    large["start"] = counted("ahsar-eval", 7, 2 * (10**15 + 1))
    large["end"] = counted("spikingjelly", 8, 2 * (10**15 + 19_531))
    drawn = numbers(ledgers_of(large))
    own = drawn[drawn.operation == "acs"]
    assert list(own["amount"]) == [10**15 + 1, 19_530, 10**15 + 19_531]
    assert list(own.bar) == ["start", "step", "end"]
    assert list(drawn[drawn.operation == "macs"]["amount"]) == [3.5, 0.5, 4]


def test_a_file_for_each_pair():
    there, back = ledger("a"), ledger("a")
    back["start"], back["end"] = back["end"], back["start"]
    thirds = {**ledger("b"), "end": counted("spikingjelly", "319/3", 2 * 117_819)}
    drawn = ledgers_of(there, back, thirds)
    assert [stem for stem, _, _ in drawn] == [
        "energy_ledger_ahsar-eval_spikingjelly",
        "energy_ledger_spikingjelly_ahsar-eval",
    ]
    assert set(drawn[1][2].checkpoint) == {"a"}
    own = drawn[0][2][drawn[0][2].checkpoint == "b"]
    assert own[own.operation == "macs"].amount.iloc[-1] == pytest.approx(319 / 6)


# --- refusals


@pytest.mark.parametrize("name", ["layers", "severity", "pareto", "distribution"])
def test_the_same_network_twice_is_refused_in_one_sentence(name):
    found = results(
        [network(), network()],
        {samples_key(network()): np.ones(3)},
        shift=severities(),
        scale=with_fronts(scales()),
    )
    with pytest.raises(DataError, match="the energy of a was given twice; give it once"):
        drawn_of(found, name)
    with pytest.raises(DataError, match="the ledger of a was given twice"):
        ledgers_of(ledger(), ledger())


# --- names and numbers
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "J", "0 J"),
        (999e-12, "J", "999 pJ"),
        (999.6e-12, "J", "1 nJ"),
        (1.234e-8, "J", "12.3 nJ"),
        (8.34e-6, "J", "8.34 µJ"),
        (7, "", "7"),
        (-3.5, "", "−3.5"),
        (999_999, "", "1 M"),
        (98_289, "", "98.3 k"),
        (-(10**9), "", "−1 G"),
    ],
)
def test_numbers_are_written_with_three_digits_and_a_unit(value, unit, text):
    assert three_digits(value, unit) == text


@given(st.floats(1e-3, 1e15))
def test_the_unit_leaves_one_to_three_digits_before_the_point(energy_pj):
    unit, of = energy_unit(energy_pj)
    assert unit in ("pJ", "nJ", "µJ", "mJ", "J")
    assert energy_pj / of < 1000 or unit == "J"
    assert energy_pj / of >= 1 or unit == "pJ"


@pytest.mark.parametrize(("low", "ratio"), [(1e6, 8.1), (0.3, 40), (2e-3, 1e3), (5, 1e6)])
def test_a_logarithmic_axis_has_a_few_round_ticks(low, ratio):
    points = setting(1.0, low, 0.5), setting(2.0, low * ratio, 0.9)
    axis = panel(pages(drawn_pareto(curves(*points))), "pareto").xaxis
    first, last = axis.get_view_interval()
    ticks = [tick for tick in axis.get_ticklocs() if first <= tick <= last]
    assert axis.get_scale() == "log"
    assert 1 <= len(ticks) <= 9
    digits = {f"{tick:.6e}"[:8] for tick in ticks}
    assert digits <= {"1.000000", "2.000000", "3.000000", "5.000000"}
