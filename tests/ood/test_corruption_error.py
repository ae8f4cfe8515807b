"""Mean corruption error by hand count, by its definition, and where it must not be a number."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.errors import DataError
from ahsar_eval.ood.means import mean_corruption_error

SEVERITIES = range(1, 6)
NAMES = ("fog", "snow", "frost")


def errors_of(**rates: tuple[float, ...]) -> dict[tuple[str, int], float]:
    return {
        (name, severity): rate
        for name, found in rates.items()
        for severity, rate in enumerate(found, 1)
    }


def tables(rates: st.SearchStrategy[float]) -> st.SearchStrategy[dict[tuple[str, int], float]]:
    return st.fixed_dictionaries({key: rates for key in product(NAMES, SEVERITIES)})


def test_the_plain_mean_by_hand():
    errors = errors_of(fog=(0.1, 0.2, 0.3, 0.4, 0.5), snow=(0.5, 0.5, 0.5, 0.5, 0.5))
    assert mean_corruption_error(errors, ["fog", "snow"]) == pytest.approx(0.4, abs=1e-15)
    assert mean_corruption_error(errors, ["fog"]) == pytest.approx(
        0.3, abs=1e-15
    )  # others are left out of account


def test_the_relative_mean_by_hand():
    errors = errors_of(fog=(0.1, 0.2, 0.3, 0.4, 0.5), snow=(0.5, 0.5, 0.5, 0.5, 0.5))
    baseline = errors_of(fog=(0.0, 0.5, 0.5, 0.5, 1.0), snow=(0.2, 0.2, 0.2, 0.2, 0.2))
    # 1.5/2.5 and 2.5/1: sums over severities are divided, not single severities
    assert mean_corruption_error(errors, ["fog", "snow"], baseline) == pytest.approx(
        (0.6 + 2.5) / 2, abs=1e-14
    )


@given(tables(st.floats(0, 1)), tables(st.floats(0.01, 1)))
def test_both_means_equal_their_definitions(errors, baseline):
    plain = mean_corruption_error(errors, NAMES)
    assert plain == pytest.approx(sum(errors.values()) / 15, abs=1e-12)
    ratios = [
        sum(errors[name, s] for s in SEVERITIES) / sum(baseline[name, s] for s in SEVERITIES)
        for name in NAMES
    ]
    assert mean_corruption_error(errors, NAMES, baseline) == pytest.approx(
        sum(ratios) / 3, rel=1e-12
    )


@given(tables(st.floats(0.01, 1)), st.sampled_from([0.25, 0.5, 1.0]))
def test_a_network_is_one_against_itself_and_scales_with_its_errors(errors, scale):
    scaled = {key: scale * rate for key, rate in errors.items()}
    assert mean_corruption_error(errors, NAMES, errors) == pytest.approx(1, abs=1e-12)
    assert mean_corruption_error(scaled, NAMES, errors) == pytest.approx(scale, abs=1e-12)
    assert mean_corruption_error(scaled, NAMES) == pytest.approx(
        scale * mean_corruption_error(errors, NAMES), abs=1e-12
    )


def test_what_is_missing_is_named_and_nothing_is_averaged_over_the_rest():
    errors = errors_of(fog=(0.1, 0.2, 0.3, 0.4, 0.5), snow=(0.5, 0.5, 0.5, 0.5, 0.5))
    del errors["snow", 2], errors["snow", 4]
    for rates in (errors, {key: np.full(4, rate) for key, rate in errors.items()}):
        with pytest.raises(DataError, match=r"^not measured: snow:2, snow:4, frost$"):
            mean_corruption_error(rates, NAMES)
        with pytest.raises(DataError, match=r"^not measured of the baseline: fog$"):
            mean_corruption_error(rates, ["fog"], {})
        with pytest.raises(
            DataError, match=r"^not measured: frost; not measured of the baseline: frost$"
        ):
            mean_corruption_error(rates, ["fog", "frost"], rates)


def test_a_baseline_without_an_error_in_a_corruption_gives_no_number():
    errors = errors_of(fog=(0.0,) * 5, snow=(0.5,) * 5)
    with pytest.raises(DataError, match=r"^the baseline makes no error in fog$"):
        mean_corruption_error(errors, ["fog", "snow"], errors)
    assert mean_corruption_error(errors, ["snow"], errors) == 1


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_each_replicate_is_the_error_of_its_rates(replicates, seed):
    rng = np.random.default_rng(seed)
    errors, baseline = (
        {key: rng.integers(0, 3, replicates) / 2 for key in product(NAMES, SEVERITIES)}
        for _ in range(2)
    )
    for references in ((), (baseline,)):
        found = mean_corruption_error(errors, NAMES, *references)
        assert found.shape == (replicates,)
        for b in range(replicates):
            of_one = [
                {key: float(rate[b]) for key, rate in rates.items()}
                for rates in (errors, *references)
            ]
            faultless = references and any(
                not any(of_one[1][name, severity] for severity in SEVERITIES) for name in NAMES
            )
            expected = np.nan if faultless else mean_corruption_error(of_one[0], NAMES, *of_one[1:])
            assert found[b] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_replicates_are_nan_where_the_baseline_makes_no_error():
    ones = {key: np.array([1.0, 0.5]) for key in product(["fog"], SEVERITIES)}
    baseline = {key: np.array([0.0, 0.25]) for key in ones}
    assert mean_corruption_error(ones, ["fog"], baseline) == pytest.approx([np.nan, 2], nan_ok=True)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), 40.0])
def test_a_rate_that_is_no_fraction_is_refused_with_its_place(rate):
    good = errors_of(fog=(0.1,) * 5)
    with pytest.raises(
        DataError, match=rf"the error rate of fog:3 is {rate}; expected a fraction in \[0, 1\]"
    ):
        mean_corruption_error(good | {("fog", 3): rate}, ["fog"])
    with pytest.raises(DataError, match="the error rate of fog:3"):
        mean_corruption_error(good, ["fog"], good | {("fog", 3): rate})


@pytest.mark.parametrize("names", [[], ["fog", "fog"], "fog"])
def test_no_or_repeated_corruptions_are_refused(names):
    with pytest.raises(DataError, match="expected at least one name, none of them twice"):
        mean_corruption_error(errors_of(fog=(0.1,) * 5), names)
