"""Which trainings are compared, with whom, and what is claimed of them."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import holm
from ahsar_eval.study.comparisons import BEST_FIXED, claim_rows, pooled
from ahsar_eval.study.folder import CellResult
from ahsar_eval.study.matching import (
    BEST,
    COMBINATION,
    PRIMARY,
    factor_of,
    log_ratios,
    matched,
    names_of,
    title_of,
)

Cell = Callable[..., CellResult]


inferred = functools.partial(pooled, replicates=1999)


def combinations(results: list[CellResult]) -> list[dict[str, Any]]:
    """The combinations of settings, in order."""
    return matched(results).rows[[*COMBINATION]].drop_duplicates().to_dict("records")


def test_pairs_are_of_the_same_settings_and_seed(cell: Cell) -> None:
    made = [
        *(cell("baseline", seed) for seed in (0, 1, 3)),
        *(cell("ahsar", seed) for seed in (2, 1, 0)),
        cell("ahsar", 3, learning_rate=0.01),
        cell("ahsar", 3, timesteps=4),
    ]
    assert [one["timesteps"] for one in combinations(made)] == [4, 6, 6]
    found = matched(made)
    assert [len(rows) for _, rows in found.rows.groupby("place")] == [1, 6, 1]
    pairs = found.against("baseline")
    pairs = pairs[pairs.named == "ahsar"]
    assert [
        (ours.key, theirs.key)
        for ours, theirs in zip(pairs.result, pairs["result.rival"], strict=True)
    ] == [(cell("ahsar", seed).key, cell("baseline", seed).key) for seed in (0, 1)]


def test_every_setting_but_the_methods_own_parts_combinations(cell: Cell) -> None:
    changes: list[dict[str, Any]] = [
        {"paradigm": "rate"},
        {"step_mode": "s"},
        {"backbone": "resnet18"},
        {"timesteps": 8},
        {"data": "n-mnist"},
        {"width": 0.5},
    ]
    changes += [{"epochs": 9}, {"threads": 2}, {"modality": "event"}]
    assert len(combinations([cell(), *(cell(**one) for one in changes)])) == 1 + len(changes)
    same = combinations(
        [
            cell(),
            cell("ahsar", controller={"beta": 0.2}),
            cell("ahsar", sensing="surrogate"),
            cell("frozen:ahsar"),
        ]
    )
    assert len(same) == 1


def test_the_same_training_twice_is_refused(cell: Cell) -> None:
    with pytest.raises(
        DataError, match=r"cells a and b are the same training \(ahsar, seed 2\) made twice"
    ):
        matched([cell("ahsar", 2, key="a"), cell("ahsar", 2, key="b")])


def test_names_carry_the_controllers_settings_where_there_are_several(cell: Cell) -> None:
    one = matched(
        [
            cell(),
            cell("ahsar", controller={"beta": 0.2}),
            cell("ahsar-no-rt", controller={"beta": 0.2}),
        ]
    )
    assert one.methods == ["baseline", "ahsar", "ahsar-no-rt"]
    assert one.settings["ahsar"] == {"beta": 0.2}
    several = matched(
        [
            cell(),
            cell("ahsar"),
            cell("ahsar", controller={"beta": 0.2, "use_gain": False}),
            cell("ahsar", sensing="surrogate"),
        ]
    )
    assert several.methods == [
        "baseline",
        "ahsar",
        "ahsar beta=0.2, use_gain=False",
        "ahsar sensing=surrogate",
    ]
    assert title_of("ahsar-no-rt beta=0.2") == "AHSAR(no RT) beta=0.2"
    assert title_of("fixed:0.8") == "fixed:0.8"


def test_methods_stand_in_order(cell: Cell) -> None:
    names = [
        "fixed:1.2",
        "frozen:ahsar",
        "fixed:0.8",
        "ahsar-no-gain",
        "ahsar",
        "baseline",
        "frozen:runs/x.pt",
        "fixed:10",
    ]
    found = matched([cell(name, place) for place, name in enumerate(names)])
    assert found.methods == [
        "baseline",
        "ahsar",
        "ahsar-no-gain",
        "frozen",
        "fixed:0.8",
        "fixed:1.2",
        "fixed:10",
    ]
    assert matched([cell("frozen:ahsar-no-rt")]).methods == ["frozen:ahsar-no-rt"]
    assert [factor_of(name) for name in ("baseline", "fixed:0.8", "ahsar", "frozen")] == [
        1.0,
        0.8,
        None,
        None,
    ]


def test_combinations_stand_as_in_the_paper_and_are_named_by_what_differs(cell: Cell) -> None:
    found = combinations(
        [
            cell(paradigm=paradigm, step_mode=mode, backbone=backbone, width=width)
            for width in (0.5, 0.25)
            for backbone in ("vgg13", "resnet18")
            for mode in "ms"
            for paradigm in ("rate", "bptt")
        ]
    )
    shown = list(names_of(found).values())
    assert shown[:3] == [
        "digits, BPTT, s, ResNet-18, T=6, width=0.25",
        "digits, BPTT, s, ResNet-18, T=6, width=0.5",
        "digits, BPTT, s, VGGNet-13, T=6, width=0.25",
    ]
    assert shown[-1] == "digits, rate, m, VGGNet-13, T=6, width=0.5"
    alone = combinations([cell(), cell(data="mnist", width=0.5)])
    assert list(names_of(alone).values()) == [
        "digits, BPTT, m, VGGNet-13, T=6",
        "mnist, BPTT, m, VGGNet-13, T=6",
    ]
    short = names_of(found, ("paradigm", "step_mode", "backbone"))
    assert next(iter(short.values())) == "BPTT, s, ResNet-18, width=0.25"


def test_the_best_factor_has_the_lowest_mean_area_under_the_validation_nll(cell: Cell) -> None:
    def of(method: str, areas: list[float], **changes: Any) -> list[CellResult]:
        # Training loss, accuracies and the test set say the opposite, and must not be asked.
        test = {"set": "digits", "accuracy": areas[0] / 10, "nll": 1 / areas[0], "mean_rate": 0.1}
        return [
            cell(method, s, train=[9 - area] * 2, validation=[area] * 2, id=test, **changes)
            for s, area in enumerate(areas)
        ]

    def best(*results: list[CellResult]) -> str | None:
        rows = matched([one for part in results for one in part]).rows
        return next(iter(rows.method[rows.named == BEST]), None)

    baseline, better, worse = (
        of("baseline", [2.0, 2.0]),
        of("fixed:0.8", [1.0, 2.5]),
        of("fixed:0.5", [3.0, 3.0]),
    )
    assert best(baseline, better, worse) == "fixed:0.8"
    assert best(baseline, worse) == "baseline"
    assert best(baseline, of("ahsar", [0.1, 0.1])) is None
    assert best(of("fixed:0.5", [3.0, 3.0]), of("ahsar", [0.1, 0.1])) == "fixed:0.5"
    assert best(baseline, worse, of("fixed:0.7", [0.5])) == "baseline"  # one seed of two


def ratios(results: list[CellResult], rival: str) -> dict[int, float]:
    """Log ratios of AHSAR's area under the training loss over the rival's, by seed."""
    pairs = matched(results).against(rival)
    logs = log_ratios(pairs[pairs.named == "ahsar"], "train_area")
    return {} if logs.empty else logs.loc[0].to_dict()


def test_ratios_are_of_matched_seeds(cell: Cell) -> None:
    made = [
        cell("baseline", 0, train=[2.0, 2.0]),
        cell("baseline", 1, train=[4.0, 4.0]),
        cell("ahsar", 1, train=[1.0, 1.0]),
        cell("ahsar", 2),
    ]
    assert ratios(made, "baseline") == {1: pytest.approx(math.log(1 / 4))}
    assert ratios(made, "frozen") == {}
    with pytest.raises(
        DataError,
        match=r"area under the training loss of ahsar and baseline, seed 0: 0\.0 and .* no ratio",
    ):
        ratios([cell("baseline", 0), cell("ahsar", 0, train=[0.0, 0.0, 0.0])], "baseline")


def test_steps_are_counted_to_the_other_seeds_of_the_baseline(cell: Cell) -> None:
    curves = {0: [0.5, 0.8], 1: [0.6, 1.0]}
    rows = matched(
        [cell("baseline", s, train=[2.0, 1.0], accuracies=a) for s, a in curves.items()]
        + [cell("ahsar", 0, train=[2.0, 1.0], accuracies=[0.9, 1.0])]
    ).rows
    assert [*rows.method] == ["baseline", "baseline", "ahsar"]
    # 1.0 is never reached: one epoch beyond 20; 0.8; at once
    assert [*rows.steps] == [30.0, pytest.approx(15.0), pytest.approx(20.0)]
    assert [*rows.late] == [True, False, False]


def test_claims_of_a_study_with_a_known_answer(study: list[CellResult]) -> None:
    found = claim_rows(matched(study), inferred)
    assert [(one["rival"], one["endpoint"]) for one in found] == [
        (r, e) for r in ("baseline", BEST_FIXED, "frozen") for e in PRIMARY
    ]
    signs = [np.sign(one["log_ratio"]) for one in found]
    assert (
        signs == [-1] * 3 + [1] * 3 + [-1] * 3
    )  # faster than the baseline and frozen, slower than fixed:0.8
    assert all((one["combinations"], one["pairs"]) == (8, 24) for one in found)
    assert [one["p_holm"] for one in found] == holm([one["p"] for one in found])
    assert all(one["p_holm"] < 0.05 for one in found[:6])
    assert claim_rows(matched(study[::-1]), inferred) == found


def test_without_an_effect_nothing_is_claimed(cell: Cell) -> None:
    rng = np.random.default_rng(8)
    made = []
    for backbone in ("vgg13", "resnet18"):
        for mode in "sm":
            for method in ("baseline", "ahsar"):
                for seed in range(5):
                    losses = (
                        2.0 * np.exp(-np.arange(1, 6) * (0.4 + 0.02 * rng.standard_normal()))
                    ).tolist()
                    made.append(
                        cell(
                            method,
                            seed,
                            train=losses,
                            accuracies=[1 - one / 2.1 for one in losses],
                            backbone=backbone,
                            step_mode=mode,
                        )
                    )
    found = claim_rows(matched(made), inferred)
    assert len(found) == 3  # no rival but the baseline
    assert all(one["p_holm"] > 0.05 and one["verdict"] == "not shown" for one in found)


def test_a_combination_counts_only_where_it_has_the_rival(cell: Cell) -> None:
    made = [
        cell(m, s, backbone=b, train=[2.0 + s / 10, 1.0])
        for m in ("baseline", "ahsar")
        for s in (0, 1)
        for b in ("vgg13", "resnet18")
    ]
    fixed = [cell("fixed:0.8", seed, train=[1.0, 1.0]) for seed in (0, 1)]
    found = claim_rows(matched([*made, *fixed]), inferred)
    assert {one["rival"]: one["combinations"] for one in found} == {"baseline": 2, BEST_FIXED: 1}
    assert claim_rows(matched([cell(), cell("fixed:0.8")]), inferred) == []
