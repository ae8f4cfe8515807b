"""Mean corruption error by hand count, by its definition, and where it must not be a number."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.errors import DataError
from ahsar_eval.ood import Estimate, Row
from ahsar_eval.ood.rows import mean_corruption_error

SEVERITIES = range(1, 6)
NAMES = ("fog", "snow", "frost")


def errors_of(**rates: tuple[float, ...]) -> dict[tuple[str, int], float]:
    return {
        (name, severity): rate
        for name, found in rates.items()
        for severity, rate in enumerate(found, 1)
    }


def rows_of(errors: Mapping[Any, Any]) -> dict[Any, Row]:
    """Rows of networks that err as often; of replicates, the first stands for the value."""
    found = {}
    for key, rate in errors.items():
        drawn = 1 - np.atleast_1d(np.asarray(rate, dtype=np.float64))
        accuracy = Estimate(float(drawn[0]), replicates=drawn)
        found[key] = Row(
            checkpoint="",
            thresholds="replay",
            id="",
            ood="",
            kind="set",
            score="",
            n_id=1,
            n_ood=1,
            metrics={"accuracy": accuracy},
        )
    return found


def error_of(errors: Any, names: Any, baseline: Any = None) -> Any:
    """The value of the mean, or its replicates where the errors have several."""
    found = mean_corruption_error(
        rows_of(errors), names, None if baseline is None else rows_of(baseline)
    )
    assert found.replicates is not None
    assert found.replicates[0] == pytest.approx(found.value, abs=1e-12, nan_ok=True)
    return found.value if len(found.replicates) == 1 else found.replicates


def tables(rates: st.SearchStrategy[float]) -> st.SearchStrategy[dict[tuple[str, int], float]]:
    return st.fixed_dictionaries({key: rates for key in product(NAMES, SEVERITIES)})


def test_the_plain_mean_by_hand():
    errors = errors_of(fog=(0.1, 0.2, 0.3, 0.4, 0.5), snow=(0.5, 0.5, 0.5, 0.5, 0.5))
    assert error_of(errors, ["fog", "snow"]) == pytest.approx(0.4, abs=1e-15)
    assert error_of(errors, ["fog"]) == pytest.approx(
        0.3, abs=1e-15
    )  # others are left out of account


def test_the_relative_mean_by_hand():
    errors = errors_of(fog=(0.1, 0.2, 0.3, 0.4, 0.5), snow=(0.5, 0.5, 0.5, 0.5, 0.5))
    baseline = errors_of(fog=(0.0, 0.5, 0.5, 0.5, 1.0), snow=(0.2, 0.2, 0.2, 0.2, 0.2))
    # 1.5/2.5 and 2.5/1: sums over severities are divided, not single severities
    assert error_of(errors, ["fog", "snow"], baseline) == pytest.approx((0.6 + 2.5) / 2, abs=1e-14)


@given(tables(st.floats(0, 1)), tables(st.floats(0.01, 1)))
def test_both_means_equal_their_definitions(errors, baseline):
    plain = error_of(errors, NAMES)
    assert plain == pytest.approx(sum(errors.values()) / 15, abs=1e-12)
    ratios = [
        sum(errors[name, s] for s in SEVERITIES) / sum(baseline[name, s] for s in SEVERITIES)
        for name in NAMES
    ]
    assert error_of(errors, NAMES, baseline) == pytest.approx(sum(ratios) / 3, rel=1e-12)


@given(tables(st.floats(0.01, 1)), st.sampled_from([0.25, 0.5, 1.0]))
def test_a_network_is_one_against_itself_and_scales_with_its_errors(errors, scale):
    scaled = {key: scale * rate for key, rate in errors.items()}
    assert error_of(errors, NAMES, errors) == pytest.approx(1, abs=1e-12)
    assert error_of(scaled, NAMES, errors) == pytest.approx(scale, abs=1e-12)
    assert error_of(scaled, NAMES) == pytest.approx(scale * error_of(errors, NAMES), abs=1e-12)


def test_what_is_missing_is_named_and_nothing_is_averaged_over_the_rest():
    errors = errors_of(fog=(0.1, 0.2, 0.3, 0.4, 0.5), snow=(0.5, 0.5, 0.5, 0.5, 0.5))
    del errors["snow", 2], errors["snow", 4]
    for rates in (errors, {key: np.full(4, rate) for key, rate in errors.items()}):
        with pytest.raises(DataError, match=r"^not measured: snow:2, snow:4, frost$"):
            error_of(rates, NAMES)
        with pytest.raises(DataError, match=r"^not measured of the baseline: fog$"):
            error_of(rates, ["fog"], {})
        with pytest.raises(
            DataError, match=r"^not measured: frost; not measured of the baseline: frost$"
        ):
            error_of(rates, ["fog", "frost"], rates)


def test_a_baseline_without_an_error_in_a_corruption_gives_no_number():
    errors = errors_of(fog=(0.0,) * 5, snow=(0.5,) * 5)
    with pytest.raises(DataError, match="the baseline makes no error in one of them"):
        error_of(errors, ["fog", "snow"], errors)
    assert error_of(errors, ["snow"], errors) == 1


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_each_replicate_is_the_error_of_its_rates(replicates, seed):
    rng = np.random.default_rng(seed)
    errors, baseline = (
        {key: rng.integers(0, 3, replicates) / 2 for key in product(NAMES, SEVERITIES)}
        for _ in range(2)
    )
    for key in baseline:
        baseline[key][0] = 0.5  # the value, which must be there
    for references in ((), (baseline,)):
        found = error_of(errors, NAMES, *references)
        assert found.shape == (replicates,)
        for b in range(replicates):
            of_one = [
                {key: float(rate[b]) for key, rate in rates.items()}
                for rates in (errors, *references)
            ]
            faultless = references and any(
                not any(of_one[1][name, severity] for severity in SEVERITIES) for name in NAMES
            )
            expected = np.nan if faultless else error_of(of_one[0], NAMES, *of_one[1:])
            assert found[b] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_replicates_are_nan_where_the_baseline_makes_no_error():
    ones = {key: np.array([1.0, 0.5]) for key in product(["fog"], SEVERITIES)}
    baseline = {key: np.array([0.25, 0.0]) for key in ones}
    assert error_of(ones, ["fog"], baseline) == pytest.approx([4, np.nan], nan_ok=True)
