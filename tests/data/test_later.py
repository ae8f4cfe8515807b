"""Functions that tables name before their modules are imported."""

import importlib
import inspect

import pytest

import ahsar_eval.data
from ahsar_eval.data import EVENT_SHIFTS, SHIFTS
from ahsar_eval.data.later import Later, later

APPLIED = {
    **{name: shift.apply for name, shift in SHIFTS.items()},
    **{name: shift.apply for name, shift in EVENT_SHIFTS.items()},
}


@pytest.mark.parametrize("name", APPLIED)
def test_a_shift_of_a_table_is_its_function(name):
    named = APPLIED[name]
    assert isinstance(named, Later)
    function = named.__wrapped__
    assert (inspect.isfunction(function), function.__name__) == (True, name)
    assert named.__doc__ == inspect.getdoc(function)
    assert inspect.signature(named) == inspect.signature(function)
    assert len(inspect.signature(named).parameters) == (4 if name == "frost" else 3)


def test_a_call_is_that_of_the_function():
    digest = later("ahsar_eval.files").sha256_of
    assert digest("a", "b") == importlib.import_module("ahsar_eval.files").sha256_of("a", "b")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        later("ahsar_eval.files").nothing()


def test_the_names_of_the_package_are_there_when_they_are_used():
    for name in ahsar_eval.data.__all__:
        assert getattr(ahsar_eval.data, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ahsar_eval.data.nothing  # type: ignore[attr-defined]
