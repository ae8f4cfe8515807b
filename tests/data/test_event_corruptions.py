"""Corruptions of event recordings: by hand, against plain loops, what all of them keep, and beside
tonic's transforms of the same names.
"""

import io
import platform
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.data.events.corruptions import kept_by_refractory
from ahsar_eval.data.events.frames import to_frames
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.shifts import EVENT_SHIFTS, shifted_events

SEVERITIES = (1, 2, 3, 4, 5)
NOT_RANDOM = ("refractory", "time_scale")
DEAD_TIME_US = (500, 1000, 5000, 10000, 20000)
SCALE = (Fraction(5, 4), Fraction(3, 2), Fraction(2), Fraction(3), Fraction(4))


def events_of(rows: Sequence[tuple[int, int, int, int]], height: int = 4, width: int = 5) -> Events:
    """Events of rows (t, x, y, p)."""
    t, x, y, p = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Events(
        t.copy(), x.astype(np.int32), y.astype(np.int32), p.astype(np.uint8), height, width
    )


def rows_of(events: Events) -> list[tuple[int, ...]]:
    return [
        tuple(map(int, row)) for row in zip(events.t, events.x, events.y, events.p, strict=True)
    ]


def scattered(
    count: int,
    height: int = 34,
    width: int = 34,
    first: int = 1_000_000,
    span: int = 300_000,
    seed: int = 0,
) -> Events:
    """Events anywhere, sorted by time; the first lies at `first` and the last `span` µs later."""
    rng = np.random.default_rng(seed)
    t = np.sort(first + rng.integers(0, span + 1, count))
    if count > 1:
        t[0], t[-1] = first, first + span
    x, y = (
        rng.integers(0, width, count, dtype=np.int32),
        rng.integers(0, height, count, dtype=np.int32),
    )
    return Events(t, x, y, rng.integers(0, 2, count, dtype=np.uint8), height, width)


class Scripted(np.random.Generator):
    """A generator whose draws are given beforehand, method by method, in the order they are asked
    for.
    """

    def __new__(cls, **draws: Sequence[Any]) -> "Scripted":
        return np.random.Generator.__new__(cls, np.random.Philox(0))  # type: ignore[call-arg]

    def __init__(self, **draws: Sequence[Any]) -> None:
        super().__init__(np.random.Philox(0))
        for name, values in draws.items():
            queue = iter(values)
            setattr(self, name, lambda *_, queue=queue, **__: next(queue))


def apply(
    shift: str, events: Events, severity: int, **draws: Sequence[Any]
) -> list[tuple[int, ...]]:
    known = EVENT_SHIFTS[shift]
    return rows_of(known.apply(events, known.constants[severity - 1], Scripted(**draws)))


# By hand


def test_the_catalogue():
    assert list(EVENT_SHIFTS) == [
        "background_activity",
        "hot_pixels",
        "dead_pixels",
        "event_drop",
        "time_drop",
        "occlusion",
        "spatial_jitter",
        "time_jitter",
        "polarity_flip",
        "refractory",
        "threshold_mismatch",
        "time_scale",
    ]
    assert all(shift.labels_preserved for shift in EVENT_SHIFTS.values())
    assert {len(shift.constants) for shift in EVENT_SHIFTS.values()} == {len(SEVERITIES)}


def test_background_activity_by_hand():
    """Pixel 7 of a sensor 5 wide is x = 2, y = 1; noise at the time of an event comes after it."""
    events = events_of([(100, 0, 0, 0), (110, 4, 3, 1)])
    integers = [np.array([7, 19]), np.array([1, 0]), np.array([10, 0])]
    # The times are sorted on their own: they go with any pixel alike.
    assert apply("background_activity", events, 1, poisson=[2], integers=integers) == [
        (100, 0, 0, 0),
        (100, 2, 1, 1),
        (110, 4, 3, 1),
        (110, 4, 3, 0),
    ]


def test_hot_pixels_by_hand():
    """0.2 pixels expected at severity 5 on 20: with 0.9 drawn there is one, and its two events have
    its polarity.
    """
    events = events_of([(100, 0, 0, 0), (110, 4, 3, 1)])
    integers = [np.array([1]), np.array([0, 0]), np.array([3, 5])]
    draws: dict[str, Sequence[Any]] = {
        "random": [0.9],
        "choice": [np.array([7])],
        "integers": integers,
        "poisson": [2],
    }
    assert apply("hot_pixels", events, 5, **draws) == [
        (100, 0, 0, 0),
        (103, 2, 1, 1),
        (105, 2, 1, 1),
        (110, 4, 3, 1),
    ]


def test_dead_pixels_by_hand():
    events = events_of([(0, 2, 1, 0), (1, 2, 2, 1), (2, 2, 1, 1), (3, 1, 2, 1)])
    assert apply("dead_pixels", events, 1, random=[0.9], choice=[np.array([7])]) == [
        (1, 2, 2, 1),
        (3, 1, 2, 1),
    ]


def test_event_drop_by_hand():
    events = events_of([(0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 0)])
    assert apply("event_drop", events, 3, random=[np.array([0.49, 0.5, 0.51])]) == [
        (1, 1, 1, 1),
        (2, 2, 2, 0),
    ]


def test_time_drop_by_hand():
    """Eleven moments, half of them rounds to 6; from moment 2 on these are 102 … 107."""
    events = events_of([(t, 0, 0, 0) for t in (100, 101, 102, 107, 108, 110)])
    assert [row[0] for row in apply("time_drop", events, 5, integers=[2])] == [100, 101, 108, 110]


def test_occlusion_by_hand():
    """0.4 of 5 x 4 pixels are 8: a box of the sensor's proportions is 3 wide, hence 3 high, from
    (1, 1) to (3, 3).
    """
    events = events_of([(10 * y + x, x, y, x % 2) for y in range(4) for x in range(5)])
    left = apply("occlusion", events, 5, uniform=[0.0], integers=[1, 1])
    assert sorted(
        {(x, y) for x in range(5) for y in range(4)} - {(x, y) for _, x, y, _ in left}
    ) == [(x, y) for x in (1, 2, 3) for y in (1, 2, 3)]


def test_spatial_jitter_by_hand():
    events = events_of([(t, 1, 1, 1) for t in range(6)])
    normal = [np.array([0.4, -0.4, 0.6, -0.6, -1.6, 0.0]), np.array([0.0, 0.0, 1.6, 0.0, 0.0, 2.6])]
    assert apply("spatial_jitter", events, 1, normal=normal) == [
        (0, 1, 1, 1),
        (1, 1, 1, 1),
        (2, 2, 3, 1),
        (3, 0, 1, 1),
    ]


def test_time_jitter_by_hand():
    """50 µs early at the first event and 30 late at the last are mirrored; 250 late goes there and
    back again, beyond the start.
    """
    events = events_of([(1007, 0, 0, 0), (1047, 1, 0, 0), (1057, 2, 0, 0), (1107, 3, 0, 0)])
    found = apply("time_jitter", events, 1, normal=[np.array([-50.0, 11.4, 250.0, 30.0])])
    assert found == [(1057, 0, 0, 0), (1058, 1, 0, 0), (1077, 3, 0, 0), (1107, 2, 0, 0)]


def test_time_jitter_sorts_stably():
    events = events_of([(0, 0, 0, 0), (5, 1, 0, 0), (6, 2, 0, 0), (9, 3, 0, 0)])
    found = apply("time_jitter", events, 1, normal=[np.array([7.0, 2.0, 1.0, -6.0])])
    assert found == [(3, 3, 0, 0), (7, 0, 0, 0), (7, 1, 0, 0), (7, 2, 0, 0)]


def test_polarity_flip_by_hand():
    events = events_of([(0, 0, 0, 0), (1, 1, 0, 1), (2, 2, 0, 0), (3, 3, 0, 1)])
    found = apply("polarity_flip", events, 3, random=[np.array([0.19, 0.19, 0.2, 0.9])])
    assert [row[3] for row in found] == [1, 0, 0, 1]


def test_refractory_by_hand():
    """Dead for 500 µs: 300 is lost and does not prolong it, so 600 is kept; 1100 is exactly 500
    later and lost; pixels do not mix.
    """
    events = events_of(
        [
            (0, 1, 1, 0),
            (300, 1, 1, 1),
            (301, 1, 2, 0),
            (600, 1, 1, 0),
            (800, 2, 1, 0),
            (1100, 1, 1, 1),
            (1101, 1, 1, 1),
        ]
    )
    assert [row[0] for row in apply("refractory", events, 1)] == [0, 301, 600, 800, 1101]


def test_threshold_mismatch_by_hand():
    """Gains 1.8, 0.2 and 1 on three pixels; the copy falls within what is left of the recording."""
    events = events_of([(0, 0, 0, 1), (1, 1, 0, 0), (2, 2, 0, 1), (3, 0, 0, 0)], height=1, width=3)
    normals = (np.log([1.8, 0.2, 1.0]) + 0.5**2 / 2) / 0.5
    found = apply(
        "threshold_mismatch",
        events,
        5,
        standard_normal=[normals],
        random=[np.array([0.3, 0.7, 0.5, 0.1])],
        integers=[np.array([3])],
    )
    assert found == [(0, 0, 0, 1), (2, 2, 0, 1), (3, 0, 0, 1), (3, 0, 0, 0)]


def test_time_scale_by_hand():
    events = events_of([(100, 0, 0, 0), (101, 1, 0, 1), (102, 2, 0, 1), (104, 3, 0, 1)])
    assert [row[0] for row in apply("time_scale", events, 1)] == [100, 101, 103, 105], (
        "1.25, 2.5 and 5 later, halves up"
    )
    assert [row[0] for row in apply("time_scale", events, 5)] == [100, 104, 108, 116]


# Against plain loops


def loop_refractory(events: Events, dead_us: int) -> list[bool]:
    last: dict[tuple[int, int], int] = {}
    kept = []
    for t, x, y, _ in rows_of(events):
        keep = (x, y) not in last or t - last[x, y] > dead_us
        if keep:
            last[x, y] = t
        kept.append(keep)
    return kept


@given(
    count=st.integers(0, 80),
    side=st.integers(1, 5),
    span=st.sampled_from([0, 1, 5, 40, 300, 2**50]),
    dead_us=st.sampled_from([1, 2, 7, 50, 20000]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150)
def test_refractory_is_the_loop(count, side, span, dead_us, seed):
    events = scattered(count, side, side + 1, first=-3, span=span, seed=seed)
    assert kept_by_refractory(events, dead_us).tolist() == loop_refractory(events, dead_us)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("side", [1, 3, 20])
def test_refractory_is_the_loop_on_many_events(side, severity):
    """One pixel of 4,000 events makes the longest chain."""
    events = scattered(4000, side, side)
    found = shifted_events(events, "refractory", severity, 0, 0)
    kept = loop_refractory(events, DEAD_TIME_US[severity - 1])
    assert rows_of(found) == [row for row, keep in zip(rows_of(events), kept, strict=True) if keep]


@given(
    times=st.lists(st.integers(0, 2**40), min_size=1, max_size=20),
    first=st.sampled_from([0, -(2**40), 2**57]),
    severity=st.integers(1, 5),
)
def test_time_scale_is_exact(times, first, severity):
    events = events_of([(first + t, 0, 0, 0) for t in sorted(times)])
    start = first + min(times)
    expected = [
        start + int(SCALE[severity - 1] * (first + t - start) + Fraction(1, 2))
        for t in sorted(times)
    ]
    assert shifted_events(events, "time_scale", severity, 0, 0).t.tolist() == expected


# What all of them keep


def same(a: Events, b: Events) -> bool:
    return rows_of(a) == rows_of(b) and (a.height, a.width) == (b.height, b.width)


def copied(events: Events) -> Events:
    return Events(
        events.t.copy(),
        events.x.copy(),
        events.y.copy(),
        events.p.copy(),
        events.height,
        events.width,
    )


@given(
    shift=st.sampled_from(list(EVENT_SHIFTS)),
    severity=st.integers(1, 5),
    count=st.integers(0, 60),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    first=st.sampled_from([0, 3, 10**12, -20]),
    span=st.sampled_from([0, 1, 9, 2000, 300_000, 10**6]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=400)
def test_types_order_bounds_and_the_argument_are_kept(
    shift, severity, count, height, width, first, span, seed
):
    events = scattered(count, height, width, first, span, seed)
    before = copied(events)
    found = shifted_events(events, shift, severity, seed, 7)
    assert same(events, before), "the events given were changed in place"
    assert [values.dtype for values in (found.t, found.x, found.y, found.p)] == [
        np.int64,
        np.int32,
        np.int32,
        np.uint8,
    ]
    assert {len(found.t), len(found.x), len(found.y), len(found.p)} == {len(found)}
    assert (found.height, found.width) == (height, width)
    assert bool((np.diff(found.t) >= 0).all()), "time order is lost"
    if count == 0:
        assert len(found) == 0, "without events there is no duration to add any in"
    if len(found):
        assert int(found.x.min()) >= 0
        assert int(found.x.max()) < width
        assert int(found.y.min()) >= 0
        assert int(found.y.max()) < height
        assert int(found.p.max()) <= 1
        last = int(events.t[-1]) + (4 * span if shift == "time_scale" else 0)
        assert int(events.t[0]) <= int(found.t[0])
        assert int(found.t[-1]) <= last
    assert same(shifted_events(events, shift, severity, seed, 7), found), (
        "the same arguments gave other events"
    )


KEEPS_ITS_EVENT = (
    "background_activity",
    "hot_pixels",
    "time_drop",
    "time_jitter",
    "refractory",
    "time_scale",
)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shift", EVENT_SHIFTS)
def test_one_event_alone(shift, severity):
    """Its duration is 0: there is no time for noise, and none to move in."""
    events = events_of([(77, 2, 1, 1)], height=34, width=34)
    found = [rows_of(shifted_events(events, shift, severity, 0, index)) for index in range(30)]
    if shift in KEEPS_ITS_EVENT:
        assert found == [[(77, 2, 1, 1)]] * 30
    elif shift in ("event_drop", "dead_pixels", "occlusion"):
        assert all(rows in ([], [(77, 2, 1, 1)]) for rows in found)
    else:
        assert {row[0] for rows in found for row in rows} == {77}


def test_an_emptied_recording_is_frames_of_zeros():
    events = events_of([(10, 1, 1, 1), (20, 2, 2, 0)])
    empty = [
        found
        for index in range(20)
        if len(found := shifted_events(events, "event_drop", 5, 0, index)) == 0
    ]
    assert empty
    for framing in ("count", "time"):
        frames = to_frames(empty[0], 3, framing, 4, 5)
        assert frames.shape == (3, 2, 4, 5)
        assert not frames.any()


def test_all_numbers_come_from_seed_shift_severity_and_index():
    events = scattered(3000)
    for shift in EVENT_SHIFTS:
        base = rows_of(shifted_events(events, shift, 3, 5, 11))
        others = [
            rows_of(shifted_events(events, shift, 3, seed, index))
            for seed, index in ((5, 12), (6, 11))
        ]
        if shift in NOT_RANDOM:
            assert others == [base, base]
        else:
            assert base not in others
            assert others[0] != others[1]


def global_state() -> list[int]:
    return np.random.get_state(legacy=False)["state"]["key"].tolist()  # type: ignore[call-overload]


def test_neither_order_nor_the_global_state_matters():
    recordings = [scattered(500, seed=index) for index in range(5)]
    np.random.seed(1)
    state = global_state()
    for shift in EVENT_SHIFTS:
        forward = [
            rows_of(shifted_events(recordings[index], shift, 4, 2, index)) for index in range(5)
        ]
        assert global_state() == state, f"{shift} draws from the global state"
        np.random.seed(99)
        backward = [
            rows_of(shifted_events(recordings[index], shift, 4, 2, index))
            for index in reversed(range(5))
        ]
        assert forward == backward[::-1]
        np.random.seed(1)


def test_severities_and_shifts_draw_different_numbers():
    """Of one draw, those below 0.2 were flipped and those below 0.5 lost: no flipped event would be
    among those left.
    """
    events = scattered(2000)
    left = set(rows_of(shifted_events(events, "event_drop", 3, 0, 0)))
    flipped = {
        row
        for row, p in zip(
            rows_of(events), shifted_events(events, "polarity_flip", 3, 0, 0).p, strict=True
        )
        if row[3] != p
    }
    assert 130 < len(left & flipped) < 270, "about a fifth of the thousand that are left"
    lost = [
        set(rows_of(events)) - set(rows_of(shifted_events(events, "event_drop", severity, 0, 0)))
        for severity in (2, 4)
    ]
    assert len(lost[0] - lost[1]) > 100, "severity 4 loses what severity 2 loses, and more"


# Beside tonic 1.7.0, on the dtype of its CIFAR10-DVS reader


def structured(events: Events) -> np.ndarray:
    made = np.empty(len(events), dtype=[("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
    for name in "txyp":
        made[name] = getattr(events, name)
    return made


@pytest.fixture
def tonic_transforms():
    np.random.seed(0)
    with np.errstate(invalid="ignore"):
        yield pytest.importorskip("tonic.transforms")


def test_tonic_s_spatial_jitter_is_biased_and_wraps(tonic_transforms):
    centre = events_of([(t, 64, 64, 1) for t in range(20000)], height=128, width=128)
    theirs = tonic_transforms.SpatialJitter(sensor_size=(128, 128, 2), var_x=1, var_y=1)(
        structured(centre)
    )
    ours = shifted_events(centre, "spatial_jitter", 2, 0, 0)
    assert float(theirs["x"].mean()) - 64 < -0.4, "tonic cuts off instead of rounding"
    assert abs(float(ours.x.mean()) - 64) < 5 * (1 + 1 / 12) ** 0.5 / len(ours) ** 0.5
    corner = events_of([(t, 0, 0, 1) for t in range(2000)], height=128, width=128)
    assert int(shifted_events(corner, "spatial_jitter", 2, 0, 0).x.max()) < 8
    if platform.machine() in (
        "x86_64",
        "AMD64",
    ):  # what a negative float becomes as uint16 is the processor's choice
        assert (
            int(
                tonic_transforms.SpatialJitter(sensor_size=(128, 128, 2))(structured(corner))[
                    "x"
                ].max()
            )
            > 65000
        )


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="what a negative float becomes as uint64 is the processor's choice",
)
def test_tonic_s_time_jitter_wraps_near_zero(tonic_transforms):
    events = events_of([(t, 1, 1, 1) for t in range(1000)])
    assert int(tonic_transforms.TimeJitter(std=1000.0)(structured(events))["t"].max()) > 2**60
    assert int(shifted_events(events, "time_jitter", 1, 0, 0).t.min()) >= 0
    assert int(shifted_events(events, "time_jitter", 1, 0, 0).t.max()) <= 999


def test_tonic_s_drop_by_area_takes_the_square(tonic_transforms):
    everywhere = events_of(
        [(0, x, y, 1) for y in range(128) for x in range(128)], height=128, width=128
    )
    left = len(
        tonic_transforms.DropEventByArea(sensor_size=(128, 128, 2), area_ratio=0.2)(
            structured(everywhere)
        )
    )
    assert 1 - left / 128**2 == pytest.approx(0.039, abs=0.002)
    assert 1 - len(shifted_events(everywhere, "occlusion", 3, 0, 0)) / 128**2 == pytest.approx(
        0.2, abs=0.005
    )
    ranged = tonic_transforms.DropEventByArea(sensor_size=(128, 128, 2), area_ratio=(0.01, 0.02))
    lost = [1 - len(ranged(structured(everywhere))) / 128**2 for _ in range(40)]
    assert max(lost) > 0.5, "its range (a, b) is drawn from b to 1"


def test_tonic_s_flip_takes_all_or_none(tonic_transforms):
    events = scattered(1000)
    flipped = {
        int((tonic_transforms.RandomFlipPolarity(p=0.2)(structured(events))["p"] != events.p).sum())
        for _ in range(20)
    }
    assert flipped == {0, 1000}
    assert 130 < int((shifted_events(events, "polarity_flip", 3, 0, 0).p != events.p).sum()) < 270


def test_tonic_s_refractory_period_is_paralysable(tonic_transforms):
    """Events every 300 µs at a dead time of 500: every second one is heard; tonic hears the first,
    and at t = 0 not even that.
    """
    for first, heard in ((10_000, [10_000]), (0, [])):
        events = events_of([(first + 300 * step, 1, 1, 1) for step in range(10)])
        assert (
            tonic_transforms.RefractoryPeriod(delta=500)(structured(events))["t"].tolist() == heard
        )
        assert shifted_events(events, "refractory", 1, 0, 0).t.tolist() == [
            first + 600 * step for step in range(5)
        ]


def test_tonic_s_drop_by_time_counts_from_zero(tonic_transforms):
    events = events_of([(10**6 + 10 * step, 1, 1, 1) for step in range(1000)])
    lost = [
        1000 - len(tonic_transforms.DropEventByTime(duration_ratio=0.2)(structured(events)))
        for _ in range(60)
    ]
    assert np.median(lost) == 0, "its stretch lies before the first event most of the time"
    ours = [1000 - len(shifted_events(events, "time_drop", 2, 0, index)) for index in range(60)]
    assert set(ours) <= {199, 200, 201}, "1,998 of 9,991 µs, at one event every 10 µs"


def test_tonic_draws_from_the_global_state(tonic_transforms):
    events = structured(scattered(100))
    np.random.seed(4)
    first = tonic_transforms.DropEvent(p=0.5)(events)
    second = tonic_transforms.DropEvent(p=0.5)(events)
    np.random.seed(4)
    assert np.array_equal(tonic_transforms.DropEvent(p=0.5)(events), first)
    assert not np.array_equal(first, second), "the same call on the same recording"


# On real recordings


def gesture(shared_data, name: str) -> Events:
    """A clip of DVS128 Gesture."""
    with zipfile.ZipFile(
        shared_data / "dvs128gesture_10clips" / "dvs128gesture_10clips.zip"
    ) as archive:
        arrays = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
        rows: Any = np.stack([arrays[letter] for letter in "txyp"], axis=1)
        return events_of(rows, height=128, width=128)


def test_refractory_is_the_loop_on_a_real_recording(shared_data):
    events = gesture(shared_data, "events_np/0/hand_clapping.npz").at(np.arange(20000))
    for dead_us in (500, 20000):
        assert kept_by_refractory(events, dead_us).tolist() == loop_refractory(events, dead_us)


@pytest.mark.parametrize("shift", EVENT_SHIFTS)
def test_bounds_hold_on_a_real_recording(shared_data, shift):
    events = gesture(shared_data, "events_np/9/air_guitar.npz")
    found = shifted_events(events, shift, 5, 0, 0)
    assert not same(found, events)
    assert bool((np.diff(found.t) >= 0).all())
    assert int(found.x.min()) >= 0
    assert int(found.x.max()) < 128
    assert int(found.y.min()) >= 0
    assert int(found.y.max()) < 128
    per_pixel = defaultdict(list)
    if shift == "refractory":
        for t, x, y, _ in rows_of(found):
            per_pixel[x, y].append(t)
        assert (
            min(int(np.diff(times).min()) for times in per_pixel.values() if len(times) > 1) > 20000
        )
