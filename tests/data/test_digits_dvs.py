"""The simulated event sensor, by hand and by its symmetries, and the digits before it against real
N-MNIST recordings.
"""

import itertools
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.data.embedded import digits
from ahsar_eval.data.events.digits_dvs import (
    SETUP,
    Changes,
    change_events,
    digits_dvs,
    record,
    trajectory,
)
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.randomness import generators
from ahsar_eval.data.split import subset
from ahsar_eval.errors import DataError

QUIET = replace(SETUP, background_hz=0.0, mismatch=0.0, refractory_us=0.0)


def seen(
    levels, on: float = 0.25, off: float = 0.25, refractory_us: float = 0.0, step_us: float = 1000.0
) -> Changes:
    """Events of pixels that see `levels` [K, M], one frame each `step_us`."""
    frames = np.asarray(levels, dtype=np.float64)
    pixels = frames.shape[1]
    return change_events(
        frames,
        np.arange(len(frames), dtype=np.float64) * step_us,
        np.full(pixels, on),
        np.full(pixels, off),
        refractory_us,
    )


def listed(changes: Changes) -> list[tuple[int, float, int]]:
    return [
        (int(pixel), round(float(t), 6), int(p))
        for pixel, t, p in zip(changes.pixel, changes.t_us, changes.p, strict=True)
    ]


# The sensor by hand


def test_a_ramp_gives_an_event_at_each_threshold():
    """From 0 to 1.125 in 1,000 µs: 0.25, 0.5, 0.75 and 1 are passed."""
    assert listed(seen([[0], [1.125]])) == [
        (0, round(number * 250 / 1.125, 6), 1) for number in (1, 2, 3, 4)
    ]


def test_the_reference_is_kept_between_frames():
    """0 → 0.2 → 0.3 → 0.2: 0.25 is passed halfway up, and from there 0 would be the next to pass on
    the way down.
    """
    assert listed(seen([[0], [0.2], [0.3], [0.2]])) == [(0, 1500, 1)]
    assert listed(seen([[0], [0.2], [0.3], [0.2], [-0.1]])) == [
        (0, 1500, 1),
        (0, round(3000 + 2 / 3 * 1000, 6), 0),
    ]


def test_a_level_that_is_just_reached_counts():
    assert listed(seen([[0], [0.25]])) == [(0, 1000, 1)]
    assert listed(seen([[0], [-0.25]])) == [(0, 1000, 0)]
    assert listed(seen([[0], [0.24999]])) == []


def test_on_and_off_have_thresholds_of_their_own():
    levels = [[0, 0], [1, -1]]
    assert [(pixel, p) for pixel, _, p in listed(seen(levels, on=0.5, off=0.25))] == [
        (0, 1),
        (1, 0),
        (0, 1),
        (1, 0),
        (1, 0),
        (1, 0),
    ]


def test_a_blind_pixel_takes_its_level_afterwards_as_reference():
    """1 in 1,024 µs, threshold 0.25, blind for 128 µs in which 0.125 goes by: an event each 384 µs
    after the first at 256.
    """
    assert listed(seen([[0], [1]], refractory_us=128, step_us=1024)) == [
        (0, 256, 1),
        (0, 640, 1),
        (0, 1024, 1),
    ]
    # Blind beyond the frame: at 1,152 µs the level, on its way back, is 0.875; 0.625 is passed at
    # 1,408.
    assert listed(seen([[0], [1], [0]], refractory_us=128, step_us=1024))[3:] == [
        (0, 1408, 0),
        (0, 1792, 0),
    ]


def test_a_pixel_may_be_blind_for_several_frames():
    """After the event at 250 µs it sees again at 3,750: the jump in between is not seen, the next
    rise is.
    """
    assert listed(seen([[0], [1], [5], [5], [5], [5.5]], refractory_us=3500)) == [
        (0, 250, 1),
        (0, 4500, 1),
    ]


def test_no_change_no_event():
    changes = seen(np.full((50, 7), -1.25))
    assert len(changes.pixel) == len(changes.t_us) == len(changes.p) == 0
    assert changes.p.dtype == np.uint8


@given(st.integers(0, 1000), st.sampled_from([0.0, 40.0, 700.0, 2500.0]))
def test_every_pixel_follows_the_definition_alone(seed, refractory_us):
    """Against a pixel that looks at its light each microsecond."""
    rng = np.random.default_rng(seed)
    levels = np.cumsum(rng.normal(0, 0.3, (6, 3)), axis=0)
    changes = seen(levels, 0.25, 0.2, refractory_us)
    fine = np.stack(
        [np.interp(np.arange(0, 5001), np.arange(6) * 1000, levels[:, pixel]) for pixel in range(3)]
    )
    for pixel in range(3):
        expected, reference, sees_at = [], fine[pixel, 0], 0.0
        for t, level in enumerate(fine[pixel]):
            if reference is None and t >= sees_at:
                reference = level
            while reference is not None and (level >= reference + 0.25 or level <= reference - 0.2):
                on = level > reference
                expected.append((t, int(on)))
                if refractory_us:
                    reference, sees_at = None, t + refractory_us
                else:
                    reference += 0.25 if on else -0.2
        own = changes.pixel == pixel
        if (
            len(expected) == own.sum()
        ):  # a step of a microsecond may miss a level that is barely reached
            assert changes.p[own].tolist() == [p for _, p in expected]
            # A look each microsecond is late by one, and every event by those before it: times
            # differ by more where light hardly changes.
            late = 2 * len(expected) * np.abs(np.diff(fine[pixel])).max()
            found, looked = (
                np.interp(times, np.arange(5001), fine[pixel])
                for times in (changes.t_us[own], [t for t, _ in expected])
            )
            assert np.allclose(found, looked, atol=late)
        assert abs(len(expected) - int(own.sum())) <= 1


@given(st.integers(0, 1000), st.sampled_from([0.0, 300.0, 1500.0]))
def test_the_negative_gives_the_other_polarity_at_the_same_times(seed, refractory_us):
    levels = np.cumsum(np.random.default_rng(seed).normal(0, 0.3, (8, 5)), axis=0)
    bright, dark = (
        seen(levels, refractory_us=refractory_us),
        seen(-levels, refractory_us=refractory_us),
    )
    assert np.array_equal(bright.pixel, dark.pixel)
    assert np.array_equal(bright.t_us, dark.t_us)
    assert np.array_equal(bright.p, 1 - dark.p)


# The digits


def test_members_and_labels_are_those_of_the_digits():
    for role, count in (("train", 1167), ("validation", 180), ("test", 450), ("all", 1797)):
        events, images = digits_dvs(role), digits(role)
        assert len(events) == count
        assert np.array_equal(events.labels, images.labels)
        assert (events.name, events.role, events.label_space, events.shape) == (
            "digits-dvs",
            role,
            "digits",
            (2, 34, 34),
        )
        assert events.classes == images.classes
        assert events.note.startswith("simulated")
    assert (
        len(
            {digits_dvs(role).identity for role in ("train", "validation", "test", "all")}
            | {digits("test").identity}
        )
        == 5
    )
    with pytest.raises(DataError, match="has no split 'dev'"):
        digits_dvs("dev")


@pytest.fixture(scope="module")
def fifty() -> list[Events]:
    """Fifty test recordings, five of each digit."""
    source = digits_dvs("test")
    return list(
        source.fetch(
            np.concatenate([np.flatnonzero(source.labels == digit)[:5] for digit in range(10)])
        )
    )


def test_recordings_are_in_bounds_and_in_time_order(fifty):
    for events in fifty:
        assert (events.height, events.width) == (34, 34)
        assert (events.t.dtype, events.x.dtype, events.y.dtype, events.p.dtype) == (
            np.int64,
            np.int32,
            np.int32,
            np.uint8,
        )
        assert (np.diff(events.t) >= 0).all()
        assert 0 <= events.t[0] <= events.t[-1] < 300_000
        assert 0 <= events.x.min() <= events.x.max() < 34
        assert 0 <= events.y.min() <= events.y.max() < 34
        assert set(events.p.tolist()) == {0, 1}


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "txyp")


def test_a_recording_is_the_same_in_any_batch_and_order():
    source = digits_dvs("test")
    order = np.array([3, 449, 17, *range(100, 140), 3])
    together = source.fetch(order)
    assert same(together[0], together[-1])
    for place in (0, 1, 2, 20, 42):
        (alone,) = digits_dvs("test").fetch(order[place : place + 1])
        assert same(together[place], alone)
    (part,) = subset(source, order, "test").fetch(np.array([1]))
    assert same(part, together[1])
    assert source.fetch(order[:0]) == []


def test_no_global_state_takes_part():
    source = digits_dvs("test")
    found: list[Events] = []
    for seed in (1, 2):
        np.random.seed(seed)
        state = str(np.random.get_state())
        found += source.fetch(np.array([5]))
        assert str(np.random.get_state()) == state
    assert same(*found)


def no_background(light: np.ndarray, **changes) -> list[Events]:
    return record(light, generators(0, "test", 0, np.arange(len(light))), replace(QUIET, **changes))


def some_light(count: int = 3) -> np.ndarray:
    return np.stack(
        [image[0].numpy() for image in digits("test").fetch(np.arange(count) * 100)]
    ).astype(np.float64)


def test_an_empty_screen_gives_background_alone():
    dark = np.zeros((40, 16, 16))
    assert all(len(events) == 0 for events in no_background(dark))
    makers = generators(0, "test", 0, np.arange(40))
    counts = np.array(
        [len(events) for events in record(dark, makers, replace(QUIET, background_hz=5.0))]
    )
    expected = 5.0 * 34 * 34 * 0.3
    assert abs(counts.mean() - expected) < 4 * np.sqrt(expected / 40), (
        "as many as a Poisson process gives"
    )
    assert 0.5 < counts.var() / expected < 1.7


def test_background_is_uniform():
    makers = generators(0, "test", 0, np.arange(1))
    (events,) = record(np.zeros((1, 16, 16)), makers, replace(QUIET, background_hz=100.0))
    for values, cells in ((events.t // 30_000, 10), (events.x, 34), (events.y, 34), (events.p, 2)):
        share = np.bincount(values, minlength=cells) / len(events)
        assert np.abs(share - 1 / cells).max() < 5 * np.sqrt(1 / cells / len(events))


def test_the_way_back_gives_the_other_polarity():
    """Corners in reverse order: what turned dark turns bright. Both ways, each pixel ends where it
    began: ON and OFF balance.
    """
    there = no_background(some_light())
    back = no_background(some_light(), corners=(SETUP.corners[0], *SETUP.corners[:0:-1]))
    for a, b in zip(there, back, strict=True):
        counts = []
        for events in (a, b):
            cells = np.bincount(
                (events.p.astype(int) * 34 + events.y) * 34 + events.x, minlength=2 * 34 * 34
            ).reshape(2, -1)
            assert np.abs(cells[0] - cells[1]).max() <= 1, (
                "on a closed path with equal thresholds ON and OFF differ by at most one"
            )
            counts.append(cells)
        assert np.abs(counts[0][1] - counts[1][0]).max() <= 4
        assert abs(counts[0][1].sum() - counts[1][0].sum()) < 0.02 * counts[0][1].sum()


def test_on_trails_a_moving_stroke():
    """Down in the first saccade, up in the second, to the left in the third: dark strokes uncover
    bright ground behind them.
    """
    for events in no_background(some_light()):
        for saccade, (axis, sign) in enumerate((("y", -1), ("y", 1), ("x", 1))):
            now = events.at(
                (events.t >= saccade * 100_000 + 20_000) & (events.t < saccade * 100_000 + 80_000)
            )
            place = getattr(now, axis)
            assert sign * (place[now.p == 1].mean() - place[now.p == 0].mean()) > 1


def test_the_path_is_a_closed_triangle_at_rest_in_its_corners():
    times_us, path = trajectory()
    assert times_us[[0, 1, -1]].tolist() == [0, 1000, 300_000]
    assert path[[0, 100, 200, 300]].tolist() == [*map(list, SETUP.corners), list(SETUP.corners[0])]
    speed = np.hypot(*np.diff(path, axis=0).T)
    assert speed.max() < 0.1, "sub-pixel between frames, so that light is nearly linear in between"
    for corner in (0, 99, 100, 199, 200, 299):
        assert speed[corner] < 0.001 * speed.max()


def test_the_digit_is_shown_in_its_place():
    """Where events fall, a stroke was: the centre of the events follows the triangle's centre, and
    columns are x, rows are y.
    """
    light = np.zeros((2, 16, 16))
    light[0, 6:10, :] = 1  # a horizontal bar
    light[1, :, 6:10] = 1
    across, upright = no_background(light)
    assert across.x.std() > 1.5 * across.y.std()
    assert upright.y.std() > 1.5 * upright.x.std()
    centre = np.mean(np.array(SETUP.corners), axis=0) + 17 - 0.5
    assert abs(across.y.mean() - centre[1]) < 1
    assert abs(upright.x.mean() - centre[0]) < 1
    (shifted,) = no_background(light[1:], corners=tuple((x + 3, y) for x, y in SETUP.corners))
    assert len(shifted) == len(upright), "moved by whole pixels"
    assert np.array_equal(shifted.x, upright.x + 3)
    assert np.array_equal(shifted.t, upright.t)


def test_the_sensor_has_a_fixed_pattern():
    """Without mismatch a mirrored image gives mirrored counts up the first leg of a symmetric path;
    with mismatch it does not.
    """
    light = np.zeros((1, 16, 16))
    light[0, 4:12, 4:12] = 1
    for mismatch, equal in ((0.0, True), (0.2, False)):
        (events,) = no_background(light, corners=((0.0, -2.0), (0.0, 2.0)), mismatch=mismatch)
        counts = np.bincount(events.y * 34 + events.x, minlength=34 * 34).reshape(34, 34)
        assert np.array_equal(counts, counts[:, ::-1]) == equal
        (again,) = no_background(light, corners=((0.0, -2.0), (0.0, 2.0)), mismatch=mismatch)
        assert same(events, again)


# Near the real thing


def statistics(recordings: list[Events]) -> dict[str, float]:
    """Means over recordings: what makes one N-MNIST recording look like another."""
    rows = []
    for events in recordings:
        cells = events.y * 34 + events.x
        order = np.lexsort((events.t, cells))
        gaps = np.diff(events.t[order])[np.diff(cells[order]) == 0]
        t = events.t - events.t[0]
        parts = [
            int(((t >= start) & (t < end)).sum())
            for start, end in itertools.pairwise((0, 100_000, 200_000, 400_000))
        ]
        rows.append(
            {
                "events": len(events),
                "duration_us": events.t[-1] - events.t[0],
                "share of ON": events.p.mean(),
                "pixels with events": len(np.unique(cells)),
                "events of the busiest pixel": np.bincount(cells).max(),
                "median gap of a pixel": np.median(gaps),
                "extent in x": events.x.std(),
                "extent in y": events.y.std(),
                **{f"saccade {number + 1}": part for number, part in enumerate(parts)},
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def test_the_simulation_is_near_real_n_mnist(fifty, shared_data):
    """Means within a third of those of 100 real recordings (the gaps within a half), ON share
    within 0.03.
    """
    from tonic.io import read_mnist_file

    dtype = np.dtype([("x", np.int32), ("y", np.int32), ("t", np.int64), ("p", np.uint8)])
    with zipfile.ZipFile(shared_data / "nmnist_1100" / "NMNIST_1100.zip") as archive:
        names = [
            name
            for name in archive.namelist()
            if name.startswith("Test/") and name.endswith(".bin")
        ]
        tables = [read_mnist_file(archive.open(name), dtype, is_stream=True) for name in names]
    assert len(tables) == 100
    real = statistics(
        [Events(table["t"], table["x"], table["y"], table["p"], 34, 34) for table in tables]
    )
    ours = statistics(fifty)
    assert abs(ours.pop("share of ON") - real.pop("share of ON")) < 0.03
    assert abs(ours.pop("median gap of a pixel") / real.pop("median gap of a pixel") - 1) < 0.5
    far = {
        name: (ours[name], real[name]) for name in real if abs(ours[name] / real[name] - 1) > 1 / 3
    }
    assert not far
