"""Endpoints by hand count, against numpy's integration, and what must hold for any curve."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.study.folder import CellResult
from ahsar_eval.study.matching import (
    primary,
    secondary,
    steps_to,
    target_accuracies,
    train_area,
    validation_area,
)

Cell = Callable[..., CellResult]
ENDS = [10, 20, 40]


def test_the_area_of_the_training_loss_weighs_epochs_by_their_steps() -> None:
    assert train_area(ENDS, [4.0, 2.0, 1.0]) == (10 * 4 + 10 * 2 + 20 * 1) / 40
    assert train_area([7], [3.0]) == 3.0


def test_the_area_of_the_validation_nll_holds_its_first_value_and_then_joins_epoch_ends() -> None:
    # 10 steps at 4, ten from 4 to 2, twenty from 2 to 1
    assert validation_area(ENDS, [4.0, 2.0, 1.0]) == (10 * 4 + 10 * 3 + 20 * 1.5) / 40
    assert validation_area([7], [3.0]) == 3.0


def test_steps_to_a_target_lie_between_the_epoch_ends_about_it() -> None:
    accuracies = [0.5, 0.7, 0.9]
    assert steps_to(0.6, ENDS, accuracies) == pytest.approx(15.0)
    assert steps_to(0.7, ENDS, accuracies) == 20.0
    assert steps_to(0.75, ENDS, accuracies) == pytest.approx(25.0)
    assert steps_to(0.9, ENDS, accuracies) == pytest.approx(40.0)


def test_a_target_reached_before_the_first_measurement_counts_the_first_epoch() -> None:
    assert steps_to(0.2, ENDS, [0.5, 0.7, 0.9]) == 10.0


def test_a_target_never_reached_counts_one_mean_epoch_beyond_the_last() -> None:
    assert steps_to(0.95, ENDS, [0.5, 0.7, 0.9]) == pytest.approx(40 + 40 / 3)


def test_the_first_arrival_counts_although_it_falls_again() -> None:
    assert steps_to(0.8, ENDS, [0.5, 0.9, 0.6]) == pytest.approx(10 + 10 * 0.3 / 0.4)


def test_targets_are_the_means_of_the_other_seeds() -> None:
    assert target_accuracies({0: 0.8, 1: 0.9, 5: 1.0}) == pytest.approx({0: 0.95, 1: 0.9, 5: 0.85})
    assert target_accuracies({3: 0.8}) == {3: 0.8}
    assert target_accuracies({}) == {}


def test_without_an_effect_steps_do_not_favour_the_baseline() -> None:
    """The reason for the rule: two arms of the same law, compared by either's own final accuracy or
    by that of other seeds.
    """
    rng = np.random.default_rng(0)
    ends = np.arange(1, 8)
    own: list[float] = []
    others: list[float] = []
    for _ in range(400):
        arms = (
            0.97 * (1 - np.exp(-ends / 2))
            + 0.003 * rng.standard_normal((2, 5, 1))
            + 0.01 * rng.standard_normal((2, 5, 7))
        )
        finals = {seed: float(arms[0, seed, -1]) for seed in range(5)}
        for ratios, targets in ((own, finals), (others, target_accuracies(finals))):
            each = [
                np.log(
                    steps_to(targets[s], ends, arms[1, s]) / steps_to(targets[s], ends, arms[0, s])
                )
                for s in range(5)
            ]
            ratios.append(float(np.mean(each)))
    error = float(np.std(others) / 20)
    assert abs(np.mean(others)) < 3 * error
    assert np.mean(own) > 5 * error


CURVES = st.lists(st.tuples(st.integers(1, 50), st.floats(0.01, 3)), min_size=1, max_size=8)


@given(CURVES)
def test_areas_are_means(points: list[tuple[int, float]]) -> None:
    ends, values = (
        np.cumsum([steps for steps, _ in points]),
        np.array([value for _, value in points]),
    )
    for area in (train_area, validation_area):
        assert values.min() - 1e-12 <= area(ends, values) <= values.max() + 1e-12
        assert area(ends, 3 * values) == pytest.approx(3 * area(ends, values))
    by_numpy = np.trapezoid([values[0], *values], [0, *ends]) / ends[-1]
    assert validation_area(ends, values) == pytest.approx(by_numpy)


@given(CURVES, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_target_takes_no_fewer_steps(
    points: list[tuple[int, float]], first: float, second: float
) -> None:
    ends, values = (
        np.cumsum([steps for steps, _ in points]),
        np.array([value / 3 for _, value in points]),
    )
    low, high = (steps_to(target, ends, values) for target in sorted((first, second)))
    assert low <= high + 1e-9
    assert (low <= ends[-1]) == (values.max() >= min(first, second))


def test_endpoints_of_a_result(cell: Cell) -> None:
    found = cell(train=[4.0, 2.0], validation=[3.0, 1.0], accuracies=[0.4, 0.8], steps=10)
    assert primary(found, 0.6) == {
        "train_area": 3.0,
        "validation_area": 2.5,
        "steps": pytest.approx(15.0),
    }
    assert primary(found, None)["steps"] is None


def test_secondary_endpoints_are_means_over_the_sets_of_a_kind(cell: Cell) -> None:
    ood: list[dict[str, Any]] = [
        {"set": "a", "kind": "shift", "auroc": 0.5, "fpr95": 0.9, "accuracy": 0.6},
        {"set": "b", "kind": "shift", "auroc": 0.7, "fpr95": 0.7, "accuracy": 0.8},
        {"set": "c", "kind": "shift", "auroc": 0.9, "fpr95": 0.5, "accuracy": None},
        {"set": "d", "kind": "other", "auroc": 0.95, "fpr95": 0.1, "accuracy": None},
    ]
    found = secondary(cell(ood=ood))
    assert found == {
        "accuracy": 0.9,
        "shifted_accuracy": pytest.approx(0.7),
        "auroc": 0.95,
        "fpr95": 0.1,
        "shifted_auroc": pytest.approx(0.7),
        "shifted_fpr95": pytest.approx(0.7),
        "nll": 0.3,
        "mean_rate": 0.2,
        "energy_nj": 10.0,
    }
    beside = secondary(cell(ood=ood), cell(ood=ood[1:]))
    assert [beside["shifted_accuracy"], beside["shifted_auroc"]] == [0.8, pytest.approx(0.8)]
    nothing = secondary(cell(ood=[]))
    assert nothing["auroc"] is nothing["shifted_accuracy"] is None
