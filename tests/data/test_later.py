"""Functions that tables name before their modules are imported."""

import inspect

import pytest

import ahsar_eval.data
from ahsar_eval.data import EVENT_SHIFTS, SHIFTS, sets
from ahsar_eval.data.sets import STORED, function_at
from ahsar_eval.data.shifts import Later
from ahsar_eval.files import table_beside

APPLIED = {
    **{name: shift.apply for name, shift in SHIFTS.items()},
    **{name: shift.apply for name, shift in EVENT_SHIFTS.items()},
}


@pytest.mark.parametrize("name", APPLIED)
def test_a_shift_of_a_table_is_its_function(name):
    named = APPLIED[name]
    assert isinstance(named, Later)
    function = function_at(f"{named.module}.{named.name}")
    assert (inspect.isfunction(function), function.__name__) == (True, name)
    assert named.__doc__ == inspect.getdoc(function)
    assert len(inspect.signature(function).parameters) == (4 if name == "frost" else 3)


def test_every_function_that_a_table_names_is_there():
    places = [str(known.read) for known in STORED.values() if not known.corrupted]
    places += [
        row["opened_by"] for row in table_beside(sets.__file__, "sets.toml")["embedded"].values()
    ]
    for place in places:
        assert inspect.isfunction(inspect.unwrap(function_at(place))), place
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        function_at("sets.nothing")


def test_the_names_of_the_package_are_there_when_they_are_used():
    for name in ahsar_eval.data.__all__:
        assert getattr(ahsar_eval.data, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ahsar_eval.data.nothing  # type: ignore[attr-defined]
