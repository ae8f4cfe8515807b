"""The specification grammar: name, name:shift, name:shift:severity, name:all, and paths that may
hold colons.
"""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.data import (
    EVENT_SHIFTS,
    SETS,
    SEVERITIES,
    SHIFTS,
    known_sets,
    open_set,
    open_split,
    open_splits,
    parse,
)
from ahsar_eval.data.catalogue import FILE_SETS, STORED_SETS
from ahsar_eval.errors import DataError

ALL = tuple((shift, severity) for shift in SHIFTS for severity in SEVERITIES)


@pytest.mark.parametrize(
    ("text", "name", "variants"),
    [
        ("digits", "digits", ((None, 0),)),
        ("digits:contrast:3", "digits", (("contrast", 3),)),
        (
            "digits:contrast",
            "digits",
            tuple(("contrast", severity) for severity in (1, 2, 3, 4, 5)),
        ),
        ("digits:all", "digits", ALL),
        ("digits:gaussian_noise:5", "digits", (("gaussian_noise", 5),)),
        ("digits:gaussian-noise:5", "digits", (("gaussian_noise", 5),)),
        ("digits:blur:2", "digits", (("gaussian_blur", 2),)),
        ("photo-patches:gaussian-blur:2", "photo-patches", (("gaussian_blur", 2),)),
        ("folder:/data/set", "folder:/data/set", ((None, 0),)),
        ("folder:/data/set:contrast:3", "folder:/data/set", (("contrast", 3),)),
        ("folder:/data/set:gaussian-noise:3", "folder:/data/set", (("gaussian_noise", 3),)),
        ("folder:/data/set:all", "folder:/data/set", ALL),
        ("folder:/data/a:b/c:d", "folder:/data/a:b/c:d", ((None, 0),)),
        ("folder:/data/a:b:contrast:3", "folder:/data/a:b", (("contrast", 3),)),
        ("folder:C:\\data\\set:blur:1", "folder:C:\\data\\set", (("gaussian_blur", 1),)),
        (
            "npz:set.npz:rotation",
            "npz:set.npz",
            tuple(("rotation", severity) for severity in SEVERITIES),
        ),
        ("npz:contrast", "npz:contrast", ((None, 0),)),
        ("folder:all", "folder:all", ((None, 0),)),
    ],
)
def test_what_a_specification_stands_for(text, name, variants):
    spec = parse(text)
    assert (spec.name, spec.variants) == (name, variants)


IMAGE_NAMES = sorted(
    name for name, entry in SETS.items() if entry.modality == "image" and name not in STORED_SETS
)
EVENT_NAMES = sorted(name for name, entry in SETS.items() if entry.modality == "events")


@given(
    st.sampled_from(IMAGE_NAMES),
    st.sampled_from(sorted(SHIFTS)),
    st.sampled_from(SEVERITIES),
    st.booleans(),
)
def test_every_combination_reads_back(name, shift, severity, hyphens):
    written = shift.replace("_", "-") if hyphens else shift
    assert parse(f"{name}:{written}:{severity}").variants == ((shift, severity),)


@given(
    st.text(alphabet="abc:/._- 0123", min_size=1, max_size=12).filter(
        lambda path: not path.startswith(":")
    )
)
def test_any_path_without_a_shift_is_kept_whole(path):
    assert parse(f"folder:{path}").name == f"folder:{path}"


@pytest.mark.parametrize("name", ["mnits", "", "Digits", "digits ", "folders"])
def test_an_unknown_set_lists_the_known(name):
    with pytest.raises(
        DataError,
        match=re.escape(f"unknown set {name!r}") + ".*" + re.escape(f"; known are {known_sets()}"),
    ):
        parse(name)
    assert all(known in known_sets() for known in [*SETS, *FILE_SETS])


@pytest.mark.parametrize("text", ["digits:mist", "digits:mist:3", "digits:Contrast:3", "digits:"])
def test_an_unknown_shift_lists_the_known(text):
    with pytest.raises(
        DataError,
        match=re.escape(f"in {text!r}")
        + r"( \(did you mean contrast\?\))?"
        + re.escape(f"; known are {', '.join(SHIFTS)} and all"),
    ):
        parse(text)


@pytest.mark.parametrize("severity", ["0", "6", "-1", "2.5", "three", "", "03"])
@pytest.mark.parametrize("name", ["digits", "folder:/data/set"])
def test_a_severity_that_is_none_says_the_range(name, severity):
    with pytest.raises(
        DataError,
        match=re.escape(f"severity {severity!r} in") + ".*expected a whole number from 1 to 5",
    ):
        parse(f"{name}:contrast:{severity}")


def test_nothing_may_follow_the_severity():
    with pytest.raises(DataError, match="severity '1:2' in 'digits:contrast:1:2' is none"):
        parse("digits:contrast:1:2")


@pytest.mark.parametrize("kind", ["folder", "npz", "events"])
@pytest.mark.parametrize("tail", ["", ":", ":contrast:3"])
def test_a_path_must_be_named(kind, tail):
    text = f"{kind}:{tail}" if tail else kind
    with pytest.raises(DataError, match=f"names no file; expected {kind}:PATH"):
        parse(text)


@given(
    st.sampled_from(EVENT_NAMES), st.sampled_from(sorted(EVENT_SHIFTS)), st.sampled_from(SEVERITIES)
)
def test_event_sets_take_the_shifts_of_events(name, shift, severity):
    assert parse(f"{name}:{shift}:{severity}").variants == ((shift, severity),)
    assert parse(f"events:/data:b:{shift.replace('_', '-')}").name == "events:/data:b"
    with pytest.raises(
        DataError, match=r"unknown shift 'fog' in .*; known are background_activity"
    ):
        parse(f"{name}:fog")


def test_a_stored_set_is_all_of_its_files():
    assert parse("cifar10-c").variants == parse("cifar10-c:all").variants
    assert len(parse("cifar10-c").variants) == 95
    assert parse("cifar10-c:fog:3").variants == (("fog", 3),)
    with pytest.raises(DataError, match="unknown shift 'rotation' in 'cifar10-c:rotation'"):
        parse("cifar10-c:rotation")


def test_shifts_of_colours_are_refused_on_grey_images():
    with pytest.raises(
        DataError,
        match=(
            "saturate is a shift of colours and the network takes grey images; choose another shift"
        ),
    ):
        open_split("digits:saturate:3", (1, 16, 16))
    assert len(open_splits("digits:all", (3, 16, 16))) == 5 * len(SHIFTS)


def test_splits_of_a_specification_carry_its_names():
    names = [split.name for split in open_splits("digits:blur", (1, 16, 16))]
    assert names == [f"digits:gaussian_blur:{severity}" for severity in SEVERITIES]
    assert len(open_splits("digits:all", (1, 16, 16))) == 5 * (len(SHIFTS) - 2), (
        "saturate and channel_shuffle are for colours"
    )
    assert open_split("digits", (1, 16, 16)).name == "digits"


def test_a_split_is_shifted_as_its_name_says():
    plain, negative = (
        open_split("digits", (1, 16, 16)),
        open_split("digits:inversion:5", (1, 16, 16)),
    )
    some = np.arange(4)
    assert np.allclose(
        negative.tensors(some)[0].numpy(), 1 - plain.tensors(some)[0].numpy(), atol=1e-7
    )


@pytest.mark.parametrize(("text", "count"), [("digits:contrast", 5), ("digits:all", 120)])
def test_one_split_is_asked_for_by_its_severity(text, count):
    with pytest.raises(
        DataError,
        match=(
            rf"'{text}' stands for {count} splits and one is needed here; .* as in "
            r"digits:(contrast|gaussian_noise):3"
        ),
    ):
        open_split(text, (1, 16, 16))


def test_the_example_keeps_the_path(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 8, 8), dtype=np.uint8))
    with pytest.raises(
        DataError, match=re.escape(f"as in npz:{tmp_path / 'set.npz'}:gaussian_blur:3")
    ):
        open_split(f"npz:{tmp_path / 'set.npz'}:blur", (1, 8, 8))


def test_a_negative_seed_is_refused():
    with pytest.raises(
        DataError, match="the seed is -1; expected a whole number from 0 to 2147483647"
    ):
        open_splits("digits:contrast", (1, 16, 16), seed=-1)


def test_a_plain_name_is_needed_to_open_a_set():
    with pytest.raises(
        DataError,
        match=re.escape(f"unknown set 'mnits' (did you mean mnist?); known are {known_sets()}"),
    ):
        open_set("mnits")
