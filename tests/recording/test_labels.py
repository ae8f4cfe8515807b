"""Labels correspond by their space, or by the names of the classes where both sides have them."""

import pytest

from ahsar_eval.recording import same_classes


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("digits", "01"), ("digits", "01"), True),
        (("digits", ["cat"]), ("digits", ["dog"]), True),  # one space, whatever the names
        (("folder:a", ["cat", "dog"]), ("folder:b", ["cat", "dog"]), True),
        (("folder:a", ["cat", "dog"]), ("folder:b", ["dog", "cat"]), False),
        (("folder:a", ["cat"]), ("folder:b", ["cat", "dog"]), False),
        (("npz:a", "01"), ("npz:b", "01"), False),  # numbers are no names
        (("npz:a", ()), ("npz:b", ()), False),
        ((None, ()), ("npz:b", "01"), True),  # a network that does not say
        (("npz:b", "01"), (None, None), True),
    ],
)
def test_by_hand(one, other, same):
    described = [dict(zip(("label_space", "classes"), pair, strict=True)) for pair in (one, other)]
    assert same_classes(*described) is same
    assert same_classes(*reversed(described)) is same
