"""Frames of event recordings: where slices begin and end, what is counted, and how another size is
reached.
"""

import zipfile
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.data.events.frames import area_average, describe_frames, to_frames
from ahsar_eval.data.events.stream import Events, checked
from ahsar_eval.data.split import parse_framing
from ahsar_eval.errors import DataError

FRAMINGS = ("count", "time", "40us")


def events(t, x, y, p, height: int = 2, width: int = 3) -> Events:
    return Events(
        np.array(t, np.int64),
        np.array(x, np.int32),
        np.array(y, np.int32),
        np.array(p, np.uint8),
        height,
        width,
    )


def random_events(
    count: int, seed: int = 0, height: int = 5, width: int = 7, duration: int = 1000
) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, duration, count)) + 12345
    return events(
        t,
        rng.integers(0, width, count),
        rng.integers(0, height, count),
        rng.integers(0, 2, count),
        height,
        width,
    )


# x, y, p of these tell them apart: seven events, 100 to 190 µs
SEVEN = events(
    [100, 100, 110, 130, 159, 160, 190],
    [0, 1, 2, 0, 1, 2, 0],
    [0, 0, 0, 1, 1, 1, 0],
    [0, 1, 0, 1, 0, 1, 0],
)


def counted(slices: list[list[int]], of: Events = SEVEN) -> np.ndarray:
    """Frames by a loop over the events listed for each slice."""
    frames = np.zeros((len(slices), 2, of.height, of.width), dtype=np.float32)
    for number, members in enumerate(slices):
        for member in members:
            frames[number, of.p[member], of.y[member], of.x[member]] += 1
    return frames


# By hand


def test_off_is_channel_0_and_on_is_channel_1():
    frames = to_frames(events([1, 2, 3], [2, 2, 0], [1, 1, 0], [0, 0, 1]), 1, "count", 2, 3)
    assert frames.tolist() == [[[[0, 0, 0], [0, 0, 2]], [[1, 0, 0], [0, 0, 0]]]]
    assert frames.dtype == np.float32
    assert frames.flags.c_contiguous


@pytest.mark.parametrize(
    ("framing", "timesteps", "slices"),
    [
        ("count", 3, [[0, 1], [2, 3], [4, 5, 6]]),  # 7/3 and 14/3 rounded down
        ("count", 7, [[0], [1], [2], [3], [4], [5], [6]]),
        ("count", 9, [[], [0], [1], [2], [], [3], [4], [5], [6]]),
        (
            "time",
            3,
            [[0, 1, 2], [3, 4], [5, 6]],
        ),  # 100, 130, 160, 190: a border opens its slice, the end is in the last
        ("time", 4, [[0, 1, 2], [3], [4, 5], [6]]),  # 122.5, 145, 167.5
        ("30us", 3, [[0, 1, 2], [3, 4], [5]]),  # the last event, at 3 · 30 µs, is beyond
        ("30us", 4, [[0, 1, 2], [3, 4], [5], [6]]),
        ("1us", 2, [[0, 1], []]),
        ("1000us", 2, [[0, 1, 2, 3, 4, 5, 6], []]),
        ("100us@0", 3, [[], [0, 1, 2, 3, 4, 5, 6], []]),  # the first event is at 100 µs
        ("130us@0", 2, [[0, 1, 2], [3, 4, 5, 6]]),
        ("130us@0", 1, [[0, 1, 2]]),
    ],
)
def test_slices_by_hand(framing, timesteps, slices):
    assert np.array_equal(to_frames(SEVEN, timesteps, framing, 2, 3), counted(slices))


def test_frames_from_time_0_that_see_no_event_are_refused():
    with pytest.raises(
        DataError,
        match=(
            r"from 100 to 190 us, all lie outside the 2 frames of 50 us from time 0; .* with "
            r"--frames 50us$"
        ),
    ):
        to_frames(SEVEN, 2, "50us@0", 2, 3)
    before = events([-5, -1], [0, 1], [0, 0], [0, 1])
    with pytest.raises(DataError, match="from -5 to -1 us, all lie outside"):
        to_frames(before, 2, "50us@0", 2, 3)
    across = events([-5, 1], [0, 1], [0, 0], [0, 1])
    assert to_frames(across, 2, "50us@0", 2, 3).sum() == 1, "events before time 0 are not seen"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_no_event_gives_zeros(framing):
    assert not to_frames(events([], [], [], []), 4, framing, 3, 2).any()


@pytest.mark.parametrize("framing", ["time", "5us"])
def test_events_of_one_instant_are_in_the_first_slice(framing):
    frames = to_frames(events([9, 9], [0, 1], [0, 0], [0, 1]), 3, framing, 2, 3)
    assert frames.sum((1, 2, 3)).tolist() == [2, 0, 0]


@pytest.mark.parametrize("framing", ["time", "900000000000000000us"])
def test_no_time_stamp_wraps(framing):
    top = np.iinfo(np.int64).max
    frames = to_frames(
        events([-top - 1, -top, 0, top - 1, top], [0] * 5, [0] * 5, [1] * 5), 2, framing, 2, 3
    )
    assert frames.sum((1, 2, 3)).tolist() == ([2, 3] if framing == "time" else [2, 0])


def test_no_pixel_number_wraps():
    """Beyond 8 and 16 bits, and polarity is stored in 8."""
    wide = events([0], [69_999], [1], [1], 2, 70_000)
    assert np.argwhere(to_frames(wide, 2, "time", 2, 70_000)).tolist() == [[0, 1, 1, 69_999]]


# Against oracles


@given(st.integers(0, 60), st.integers(1, 9), st.integers(0, 5), st.integers(1, 90))
def test_slices_follow_their_definition(count, timesteps, seed, duration):
    given_events = random_events(count, seed, duration=duration)
    t = given_events.t.tolist()
    by_count = [
        list(range(i * count // timesteps, (i + 1) * count // timesteps)) for i in range(timesteps)
    ]
    frames = to_frames(given_events, timesteps, "count", 5, 7)
    assert np.array_equal(frames, counted(by_count, given_events))
    assert frames.sum() == count
    assert np.ptp(frames.sum((1, 2, 3))) <= 1
    if count:
        span = max(t[-1] - t[0], 1)
        by_time = [min(int(Fraction(timesteps * (at - t[0]), span)), timesteps - 1) for at in t]
        frames = to_frames(given_events, timesteps, "time", 5, 7)
        assert np.array_equal(
            frames,
            counted(
                [[m for m in range(count) if by_time[m] == i] for i in range(timesteps)],
                given_events,
            ),
        )
        assert frames.sum() == count
        fixed = [(at - t[0]) // 40 for at in t]
        expected = counted(
            [[m for m in range(count) if fixed[m] == i] for i in range(timesteps)], given_events
        )
        assert np.array_equal(to_frames(given_events, timesteps, "40us", 5, 7), expected)


@given(*[st.integers(1, 12)] * 4, st.integers(0, 3))
def test_averaging_is_by_overlap(rows, columns, height, width, seed):
    """Against the mean of blocks on a grid fine enough for both sizes."""
    counts = np.random.default_rng(seed).integers(0, 50, (2, 3, rows, columns))
    fine = np.repeat(np.repeat(counts, height, axis=2), width, axis=3)
    expected = fine.reshape(2, 3, height, rows, width, columns).mean((3, 5))
    found = area_average(counts, height, width)
    assert found.shape == (2, 3, height, width)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected.astype(np.float32))
    assert np.allclose(
        found.sum((2, 3), dtype=np.float64),
        counts.sum((2, 3)) * (height * width / (rows * columns)),
        rtol=1e-6,
    )


@pytest.mark.parametrize("ratio", [2, 4])
def test_whole_ratios_are_average_pooling(ratio):
    given_events = random_events(500, height=16, width=8)
    counts = to_frames(given_events, 3, "count", 16, 8)
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(counts), ratio).numpy()
    assert np.array_equal(to_frames(given_events, 3, "count", 16 // ratio, 8 // ratio), pooled)


def test_averages_are_exact_whatever_the_counts():
    """The numerators are whole numbers: no order of summation and no library can change a bit."""
    counts = np.random.default_rng(1).integers(0, 2**30, (1, 1, 34, 34))
    exact = [[Fraction(0)] * 5 for _ in range(5)]
    for (row, column), count in np.ndenumerate(counts[0, 0]):
        for i in range(5):
            for j in range(5):
                high = max(0, min(34 * (i + 1), 5 * (row + 1)) - max(34 * i, 5 * row))
                wide = max(0, min(34 * (j + 1), 5 * (column + 1)) - max(34 * j, 5 * column))
                exact[i][j] += Fraction(high * wide * int(count), 34 * 34)
    assert area_average(counts, 5, 5)[0, 0].tolist() == [
        [float(np.float32(float(value))) for value in row] for row in exact
    ]


def structured(given_events: Events) -> np.ndarray:
    """As tonic's N-MNIST gives them."""
    table = np.empty(len(given_events), dtype=[("x", int), ("y", int), ("t", int), ("p", int)])
    for name in "xytp":
        table[name] = getattr(given_events, name)
    return table


def test_tonic_drops_trailing_events_and_we_keep_them():
    from tonic.transforms import ToFrame

    given_events = random_events(1003)
    by_count = ToFrame(sensor_size=(7, 5, 2), n_event_bins=10)(structured(given_events))
    assert int(by_count.sum()) == 1000, (
        "tonic's slices are 1003 // 10 events long, and the last three are lost"
    )
    assert to_frames(given_events, 10, "count", 5, 7).sum() == 1003
    by_time = ToFrame(sensor_size=(7, 5, 2), n_time_bins=10)(structured(given_events))
    lost = int(
        (
            given_events.t
            >= given_events.t[0] + 10 * ((given_events.t[-1] - given_events.t[0]) // 10)
        ).sum()
    )
    assert lost > 1
    assert int(by_time.sum()) == 1003 - lost, (
        "tonic's slices are whole µs long, and the rest of the duration is lost"
    )
    assert to_frames(given_events, 10, "time", 5, 7).sum() == 1003


def test_where_tonic_loses_no_event_the_frames_agree():
    from tonic.transforms import ToFrame

    given_events = random_events(1000)
    by_count = ToFrame(sensor_size=(7, 5, 2), n_event_bins=10)(structured(given_events))
    assert np.array_equal(to_frames(given_events, 10, "count", 5, 7), by_count)
    # The last event alone is lost by time where the duration is divisible; another behind it is
    # lost in its place.
    whole = events([*range(0, 1000, 10), 1000], [1] * 101, [1] * 101, [1, 0] * 50 + [1])
    by_time = ToFrame(sensor_size=(3, 2, 2), n_time_bins=10)(structured(whole))
    ours = to_frames(whole, 10, "time", 2, 3)
    assert np.array_equal(ours[:-1], by_time[:-1])
    assert (ours[-1] - by_time[-1]).sum() == 1
    windows = ToFrame(sensor_size=(7, 5, 2), time_window=40, include_incomplete=True)(
        structured(given_events)
    )
    assert np.array_equal(to_frames(given_events, len(windows), "40us", 5, 7), windows)


def test_real_recordings_agree_with_tonic(shared_data):
    from tonic.io import read_mnist_file
    from tonic.transforms import ToFrame

    dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    with zipfile.ZipFile(shared_data / "nmnist_1100" / "NMNIST_1100.zip") as archive:
        names = sorted(
            name
            for name in archive.namelist()
            if name.startswith("Test/") and name.endswith(".bin")
        )[::5]
        recordings = [read_mnist_file(archive.open(name), dtype, is_stream=True) for name in names]
    assert len(recordings) == 20
    for table in recordings:
        given_events = checked(
            *(table[name] for name in "txyp"), height=34, width=34, name="recording"
        )
        whole = len(table) // 10 * 10
        ours = to_frames(given_events.at(np.arange(whole)), 10, "count", 34, 34)
        assert np.array_equal(ours, ToFrame(sensor_size=(34, 34, 2), n_event_bins=10)(table))
        assert to_frames(given_events, 10, "count", 34, 34).sum() == len(table)
        windows = ToFrame(sensor_size=(34, 34, 2), time_window=1000, include_incomplete=True)(table)
        assert np.array_equal(to_frames(given_events, len(windows), "1000us", 34, 34), windows)


# What a user types, and what is written down


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("count", "count"),
        (" time ", "time"),
        ("1ms", "1000us"),
        ("1 ms", "1000us"),
        ("500us", "500us"),
        ("500µs", "500us"),
        ("0.5ms", "500us"),
        (".5ms", "500us"),
        ("007us", "7us"),
        ("0.3s", "300000us"),
        ("1ms@0", "1000us@0"),
        ("0.5 ms@0", "500us@0"),
        ("1.0us", "1us"),
    ],
)
def test_what_can_be_typed(typed, canonical):
    assert parse_framing(typed) == canonical
    assert parse_framing(canonical) == canonical
    assert describe_frames((2, 5, 7), 3, canonical, 5, 7)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "counts",
        "1",
        "ms",
        "-1ms",
        "1e3us",
        "1min",
        "nanms",
        "١ms",
        "1ms 2",
        "1,5ms",
        "COUNT",
        "9" * 5000 + "us",
    ],
)
def test_unknown_framings_are_refused(typed):
    with pytest.raises(
        DataError,
        match=(
            r"is unknown; expected count .*, time .* or the duration of one frame, such as 1ms, "
            r"500us or 1ms@0$"
        ),
    ):
        parse_framing(typed)


@pytest.mark.parametrize("typed", ["0us", "0.5us", "0.0001ms", "0ms", "1.0005ms"])
def test_parts_of_a_microsecond_are_refused(typed):
    with pytest.raises(
        DataError, match=r"is no whole, positive number of microseconds; expected count"
    ):
        parse_framing(typed)


@pytest.mark.parametrize(
    "framing", ["", "1ms", "0us", "01us", "count ", "10us\n", "-1us", "١us", "9" * 5000 + "us"]
)
def test_only_canonical_framings_are_described(framing):
    with pytest.raises(DataError, match=r"framing '|and count, time, or the microseconds"):
        describe_frames((2, 2, 3), 3, framing, 2, 3)


@pytest.mark.parametrize(("timesteps", "height", "width"), [(0, 2, 3), (3, 0, 3), (3, 2, -1)])
def test_frames_of_no_size_are_refused(timesteps, height, width):
    with pytest.raises(
        DataError,
        match=f"{timesteps} frames of {height}x{width} by 'count' are none; expected at least 1",
    ):
        describe_frames((2, 2, 3), timesteps, "count", height, width)


def test_the_description_tells_everything_apart_that_decides_the_frames():
    calls = [
        ((2, 34, 34), 10, "count", 34, 34),
        ((2, 34, 34), 11, "count", 34, 34),
        ((2, 34, 34), 10, "time", 34, 34),
        ((2, 34, 34), 10, "10us", 34, 34),
        ((2, 34, 34), 10, "11us", 34, 34),
        ((2, 34, 34), 10, "count", 34, 17),
        ((2, 34, 34), 10, "count", 17, 34),
        ((2, 68, 34), 10, "count", 34, 34),
        (None, 10, "count", 34, 34),
    ]
    assert len({describe_frames(*call) for call in calls}) == len(calls)
    assert describe_frames((2, 128, 128), 10, "count", 48, 48) == (
        "10 slices of equal event count (borders at floor(i E / T)), event counts per pixel and "
        "polarity (OFF, ON), "
        "from 128x128 to 48x48 by area averaging"
    )
