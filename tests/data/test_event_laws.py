"""The laws of the event corruptions: rates, fractions and distributions, at fixed seeds.

Means and counts lie within five standard errors of their law, and no test of a distribution has a
probability below 1e-6.
"""

import io
import zipfile
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.shifts import EVENT_SHIFTS, shifted_events

SEVERITIES = (1, 2, 3, 4, 5)
BACKGROUND_HZ = (0.1, 0.5, 1.0, 2.5, 5.0)
HOT = (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)
DEAD = (0.01, 0.05, 0.1, 0.2, 0.3)
DROP = (0.1, 0.3, 0.5, 0.7, 0.9)
TIME = (0.1, 0.2, 0.3, 0.4, 0.5)
BOX = (0.05, 0.1, 0.2, 0.3, 0.4)
PIXELS = (0.5, 1.0, 1.5, 2.0, 3.0)
JITTER_MS = (1, 5, 10, 25, 50)
FLIP = (0.05, 0.1, 0.2, 0.35, 0.5)
GAIN = (0.1, 0.2, 0.3, 0.4, 0.5)
SCALE = (1.25, 1.5, 2.0, 3.0, 4.0)
Numbers = NDArray[np.number]
SMALLEST = 1e-6  # probability below which a distribution is another one


def stream(t: Numbers, x: Numbers, y: Numbers, p: Numbers, height: int, width: int) -> Events:
    return Events(
        t.astype(np.int64),
        x.astype(np.int32),
        y.astype(np.int32),
        p.astype(np.uint8),
        height,
        width,
    )


def two_events(height: int, width: int, span_us: int) -> Events:
    """Nothing but a first and a last event, at pixel (0, 0)."""
    zeros = np.zeros(2)
    return stream(np.array([5_000_000, 5_000_000 + span_us]), zeros, zeros, zeros, height, width)


def one_per_pixel(height: int, width: int) -> Events:
    y, x = np.divmod(np.arange(height * width), width)
    return stream(np.arange(height * width), x, y, (x + y) % 2, height, width)


def added(events: Events, shift: str, severity: int, index: int) -> Events:
    """What a noise adds to the two events of `two_events`: those of pixel (0, 0) at the ends are
    taken off.
    """
    found = shifted_events(events, shift, severity, 0, index)
    mine = np.ones(len(found), dtype=bool)
    mine[0] = False
    ends = np.flatnonzero(
        (found.t == events.t[1]) & (found.x == 0) & (found.y == 0) & (found.p == 0)
    )
    mine[ends[0]] = False
    return found.at(mine)


def is_uniform(values: NDArray[np.number], low: float, high: float, bins: int = 10) -> None:
    counts, _ = np.histogram(values, bins=bins, range=(low, high))
    assert counts.sum() == len(values)
    assert stats.chisquare(counts).pvalue > SMALLEST, f"not uniform: {counts}"


def is_a_fraction(hits: int, of: int, probability: float) -> None:
    assert (
        abs(hits / of - probability) < 5 * (probability * (1 - probability) / of) ** 0.5 + 1e-12
    ), f"{hits} of {of} is not {probability}"


def is_poisson(counts: NDArray[np.integer], mean: float) -> None:
    assert abs(counts.mean() - mean) < 5 * (mean / len(counts)) ** 0.5, (
        f"mean {counts.mean()} is not {mean}"
    )
    spread = (2 / len(counts) + 1 / (mean * len(counts))) ** 0.5  # of the variance over the mean
    assert abs(counts.var(ddof=1) / mean - 1) < 5 * spread, (
        f"variance {counts.var(ddof=1)} is not {mean}"
    )


def test_events_of_one_time_stamp_keep_their_order():
    """A thousand events of five time stamps: x says which came first."""
    t, x = np.random.default_rng(0).integers(0, 5, 1000), np.arange(1000)
    found = stream(t, x, 0 * x, 0 * x, 1, 1000).ordered()
    assert list(zip(found.t, found.x, strict=True)) == sorted(zip(t, x, strict=True))


# Noise


@pytest.mark.parametrize("severity", SEVERITIES)
def test_background_activity_is_poisson_and_uniform(severity):
    height, width, seconds, rate = 20, 30, 2, BACKGROUND_HZ[severity - 1]
    events = two_events(height, width, seconds * 10**6)
    noise = [added(events, "background_activity", severity, index) for index in range(100)]
    is_poisson(np.array([len(one) for one in noise]), rate * height * width * seconds)
    per_pixel = np.concatenate(
        [np.bincount(one.y * width + one.x, minlength=height * width) for one in noise]
    )
    is_poisson(per_pixel, rate * seconds)
    t, x, y, p = (np.concatenate([getattr(one, letter) for one in noise]) for letter in "txyp")
    is_uniform(t, 5_000_000, 7_000_000)
    is_uniform(x, 0, width)
    is_uniform(y, 0, height)
    is_a_fraction(int(p.sum()), len(p), 0.5)
    for values in (t, x, y):
        assert abs(np.corrcoef(values, p)[0, 1]) < 5 / len(p) ** 0.5
    assert abs(np.corrcoef(t, x)[0, 1]) < 5 / len(p) ** 0.5
    assert abs(np.corrcoef(x, y)[0, 1]) < 5 / len(p) ** 0.5


def test_noise_reaches_both_ends_of_the_recording():
    times = np.concatenate(
        [added(two_events(34, 34, 3), "hot_pixels", 5, index).t for index in range(3)]
    )
    assert len(times) == 0, "3 µs are too short for noise"
    long = two_events(128, 128, 10**6)
    found = np.concatenate([added(long, "background_activity", 5, index).t for index in range(3)])
    assert int(found.min()) < 5_000_000 + 200
    assert int(found.max()) > 6_000_000 - 200


@pytest.mark.parametrize("severity", SEVERITIES)
def test_hot_pixels_fire_at_100_hz(severity):
    side, fraction = 100, HOT[severity - 1]
    hot = round(fraction * side**2)
    events = two_events(side, side, 2 * 10**6)
    counts, on, where, times = [], 0, [], []
    for index in range(40):
        noise = added(events, "hot_pixels", severity, index)
        pixel = noise.y.astype(np.int64) * side + noise.x
        assert len(np.unique(pixel)) == hot, "a fraction of all pixels, each chosen once"
        polarities = {(int(place), int(p)) for place, p in zip(pixel, noise.p, strict=True)}
        assert len(polarities) == hot, "each has one polarity"
        on += sum(p for _, p in polarities)
        counts += list(Counter(pixel.tolist()).values())
        where += [place for place, _ in polarities]
        times.append(noise.t)
    is_poisson(np.array(counts), 200)
    is_a_fraction(on, len(where), 0.5)
    is_uniform(np.array(where), 0, side**2, bins=5)
    is_uniform(np.concatenate(times), 5_000_000, 7_000_000)


def test_hot_pixels_are_independent_processes():
    """Two hot pixels do not take turns: over the recordings, their first events come in either
    order, and far apart.
    """
    noise = added(two_events(100, 100, 2 * 10**6), "hot_pixels", 5, 0)
    pixel = noise.y.astype(np.int64) * 100 + noise.x
    gaps = np.concatenate([np.diff(noise.t[pixel == place]) for place in np.unique(pixel)])
    assert stats.kstest(gaps / 10_000, "expon").pvalue > SMALLEST


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_fraction_of_a_pixel_is_a_chance(severity):
    """N-MNIST's 1,156 pixels: 0.1156 hot pixels at severity 1 are one in 11.56 % of the recordings,
    not none.
    """
    expected = HOT[severity - 1] * 34 * 34
    events, whole, counts = two_events(34, 34, 10**6), int(expected), []
    for index in range(600):
        noise = added(events, "hot_pixels", severity, index)
        counts.append(len(np.unique(noise.y * 34 + noise.x)))
    assert set(counts) <= {whole, whole + 1}
    is_a_fraction(sum(count > whole for count in counts), len(counts), expected - whole)


# Loss


@pytest.mark.parametrize("severity", SEVERITIES)
def test_dead_pixels_are_a_fraction_and_wholly_silent(severity):
    side, once = 50, one_per_pixel(50, 50)
    tripled = once.at(np.tile(np.arange(len(once)), 3))
    events = stream(
        np.arange(len(tripled)), tripled.x, tripled.y, np.arange(len(tripled)) % 2, side, side
    )
    places = []
    for index in range(20):
        found = shifted_events(events, "dead_pixels", severity, 0, index)
        left = np.bincount(found.y * side + found.x, minlength=side**2)
        assert set(left) == {0, 3}
        assert int((left == 0).sum()) == round(DEAD[severity - 1] * side**2)
        places.append(np.flatnonzero(left == 0))
    is_uniform(np.concatenate(places), 0, side**2)
    is_uniform(np.concatenate(places) % side, 0, side)


@pytest.mark.parametrize(
    ("shift", "probabilities"), [("event_drop", DROP), ("polarity_flip", FLIP)]
)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_each_event_has_its_own_chance(severity, shift, probabilities):
    events, probability = one_per_pixel(40, 50), probabilities[severity - 1]
    hits = np.zeros((300, len(events)), dtype=bool)
    for index in range(300):
        found = shifted_events(events, shift, severity, 0, index)
        if shift == "event_drop":
            hits[index, :] = True
            hits[index, found.t] = False
            assert np.array_equal(found.p, events.p[found.t])
        else:
            assert np.array_equal(found.t, events.t)
            hits[index] = found.p != events.p
    is_a_fraction(int(hits.sum()), hits.size, probability)
    for polarity in (0, 1):
        part = hits[:, events.p == polarity]
        is_a_fraction(int(part.sum()), part.size, probability)
    spread = hits.sum(1).var(ddof=1) / (len(events) * probability * (1 - probability))
    assert abs(spread - 1) < 5 * (2 / 300) ** 0.5, "the number per recording is not binomial"
    neighbours = np.corrcoef(hits[:, :-1].ravel(), hits[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 5 / hits.size**0.5, "neighbours are hit together"


@pytest.mark.parametrize("severity", SEVERITIES)
def test_time_drop_takes_one_stretch_of_the_duration(severity):
    """An event at each of 4,000 µs, far from t = 0."""
    events = one_per_pixel(50, 80)
    events = stream(events.t + 10**9, events.x, events.y, events.p, 50, 80)
    length = round(TIME[severity - 1] * 4_000)
    starts = []
    for index in range(300):
        found = shifted_events(events, "time_drop", severity, 0, index)
        lost = np.setdiff1d(events.t, found.t)
        assert len(lost) == length
        assert lost[-1] - lost[0] == length - 1, "in one piece"
        starts.append(lost[0] - 10**9)
    is_uniform(np.array(starts), 0, 4_000 - length)
    assert min(starts) < 0.05 * (4_000 - length)
    assert max(starts) > 0.95 * (4_000 - length)


def box_of(events: Events, severity: int, index: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of the pixels without events; they must be a full rectangle."""
    found = shifted_events(events, "occlusion", severity, 0, index)
    seen = np.zeros((events.height, events.width), dtype=bool)
    seen[found.y, found.x] = True
    rows, columns = np.flatnonzero(~seen.all(1)), np.flatnonzero(~seen.all(0))
    if len(rows) == 0:
        return 0, 0, 0, 0
    left, top, width, height = (
        int(columns[0]),
        int(rows[0]),
        int(np.ptp(columns)) + 1,
        int(np.ptp(rows)) + 1,
    )
    assert int((~seen).sum()) == width * height, "not a full rectangle"
    return left, top, width, height


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("height", "width"), [(34, 34), (90, 120)])
def test_occlusion_is_one_box_of_its_area(severity, height, width):
    events, area = one_per_pixel(height, width), BOX[severity - 1] * height * width
    stretch, across, down = [], [], []
    for index in range(150):
        left, top, wide, high = box_of(events, severity, index)
        assert abs(wide * high - area) <= wide / 2, "beyond what rounding to whole rows allows"
        stretch.append(np.log((wide / width) / (high / height)))
        across.append((left + 0.5) / (width - wide + 1))
        down.append((top + 0.5) / (height - high + 1))
    rounding = 0.5 / (width * (BOX[severity - 1] / 2) ** 0.5) + 0.5 / (
        height * (BOX[severity - 1] / 2) ** 0.5
    )
    assert max(map(abs, stretch)) < np.log(2) + rounding * 1.5, "flatter or taller than 1:2"
    assert max(stretch) > 0.8 * np.log(2)
    assert min(stretch) < -0.8 * np.log(2)
    assert abs(np.mean(stretch)) < 5 * 2 * np.log(2) / (12 * 150) ** 0.5 + rounding / 5
    for places in (across, down):
        is_uniform(np.array(places), 0, 1, bins=5)


def test_a_box_fits_on_any_sensor():
    for height in range(1, 8):
        for width in range(1, 8):
            events = one_per_pixel(height, width)
            for severity in SEVERITIES:
                for index in range(3):
                    _, _, wide, high = box_of(events, severity, index)
                    slack = (
                        max(wide, 1) if high else width
                    )  # a box of no rows has a width that is not seen
                    assert abs(wide * high - BOX[severity - 1] * height * width) <= slack / 2


# Jitter


def rounded_normal(sigma: float, reach: int) -> NDArray[np.float64]:
    """Probabilities of −reach … reach under a Gaussian rounded to whole numbers, the tails in the
    two ends.
    """
    edges = np.concatenate([[-np.inf], np.arange(-reach, reach) + 0.5, [np.inf]])
    return np.diff(stats.norm.cdf(edges, scale=sigma))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_spatial_jitter_is_a_rounded_gaussian(severity):
    """From the middle of a sensor 20 sigma away from any border."""
    sigma, count = PIXELS[severity - 1], 40_000
    middle = np.full(count, 60)
    events = stream(np.arange(count), middle, middle, np.arange(count) % 2, 121, 121)
    found = shifted_events(events, "spatial_jitter", severity, 0, 0)
    assert len(found) == count
    assert np.array_equal(found.t, events.t)
    assert np.array_equal(found.p, events.p)
    dx, dy = found.x - 60, found.y - 60
    reach = int(np.ceil(3 * sigma))
    for moved in (dx, dy):
        assert abs(moved.mean()) < 5 * (sigma**2 + 1 / 12) ** 0.5 / count**0.5, "biased"
        counts = np.bincount(np.clip(moved, -reach, reach) + reach, minlength=2 * reach + 1)
        assert stats.chisquare(counts, rounded_normal(sigma, reach) * count).pvalue > SMALLEST
    assert abs(np.corrcoef(dx, dy)[0, 1]) < 5 / count**0.5


@pytest.mark.parametrize("severity", SEVERITIES)
def test_events_jittered_off_the_sensor_are_lost(severity):
    """From the left border half of those that move in x leave; none comes back elsewhere, none
    heaps up on the border.
    """
    sigma, count = PIXELS[severity - 1], 20_000
    events = stream(np.arange(count), np.zeros(count), np.full(count, 60), np.zeros(count), 121, 61)
    found = shifted_events(events, "spatial_jitter", severity, 0, 0)
    stays = 1 - stats.norm.cdf(-0.5 / sigma)
    is_a_fraction(len(found), count, stays)
    is_a_fraction(
        int((found.x == 0).sum()),
        count,
        float(stats.norm.cdf(0.5 / sigma) - stats.norm.cdf(-0.5 / sigma)),
    )


@pytest.mark.parametrize("severity", SEVERITIES)
def test_time_jitter_is_gaussian(severity):
    """A burst in the middle of ten seconds; every event has a pixel of its own by which it is known
    again.
    """
    once = one_per_pixel(100, 100)
    t = np.full(10_000, 5_000_000)
    t[0], t[-1] = 0, 10_000_000
    found = shifted_events(
        stream(t, once.x, once.y, once.p, 100, 100), "time_jitter", severity, 0, 0
    )
    assert len(found) == 10_000
    back = np.argsort(found.y * 100 + found.x)
    assert np.array_equal(found.p[back], once.p)
    moved, sigma = (found.t[back] - t)[1:-1], 1000 * JITTER_MS[severity - 1]
    assert abs(moved.mean()) < 5 * sigma / len(moved) ** 0.5, "biased"
    assert moved.std() == pytest.approx(sigma, rel=5 / (2 * len(moved)) ** 0.5)
    assert stats.kstest(moved / sigma, "norm").pvalue > SMALLEST
    assert abs(np.corrcoef(moved[:-1], moved[1:])[0, 1]) < 5 / len(moved) ** 0.5


@pytest.mark.parametrize("severity", SEVERITIES)
def test_time_jitter_heaps_nothing_up_at_the_ends(severity):
    """Uniform times stay uniform, in the first and the last millisecond too."""
    t = np.linspace(10**6, 10**6 + 300_000, 40_000).astype(np.int64)
    zeros = np.zeros(len(t))
    found = shifted_events(stream(t, zeros, zeros, zeros, 1, 1), "time_jitter", severity, 0, 0)
    is_uniform(found.t, 10**6, 10**6 + 300_000, bins=300)


# Gain and speed


@pytest.mark.parametrize("severity", SEVERITIES)
def test_threshold_mismatch_is_log_normal_with_mean_1(severity):
    """1,600 pixels of 300 ON and 300 OFF events each."""
    side, each, sigma = 40, 600, GAIN[severity - 1]
    pixel = np.tile(np.arange(side**2), each)
    t = np.repeat(
        np.arange(each) * 10_000, side**2
    )  # gaps of 10 ms: a copy is nearest to its own event
    events = stream(
        t, pixel % side, pixel // side, np.repeat(np.arange(each) % 2, side**2), side, side
    )
    found = shifted_events(events, "threshold_mismatch", severity, 0, 0)
    counts = np.bincount((found.y * side + found.x) * 2 + found.p, minlength=2 * side**2).reshape(
        -1, 2
    )
    gain = counts.sum(1) / each
    assert gain.mean() == pytest.approx(1, abs=5 * (np.expm1(sigma**2) / side**2) ** 0.5), (
        "the number of events is not kept"
    )
    assert gain.std() == pytest.approx(np.expm1(sigma**2) ** 0.5, rel=0.15)
    assert stats.kstest((np.log(gain) + sigma**2 / 2) / sigma, "norm").pvalue > SMALLEST
    assert np.corrcoef(counts[:, 0], counts[:, 1])[0, 1] > 0.8, "both polarities share a gain"
    late = found.t % 10_000
    assert int(late.max()) <= 1000, "a copy comes within a millisecond"
    assert int(found.t.max()) <= int(t.max())
    before_last = found.t < t.max()
    copies = late[before_last & (late > 0)]
    is_uniform(copies, 0.5, 1000.5)
    thinned = (
        np.clip(gain, None, 1).sum() * each
    )  # events of pixels with g < 1, and the first of each event elsewhere
    assert int((late == 0).sum()) == pytest.approx(thinned, rel=0.02), (
        "the first of the copies keeps its time"
    )


@pytest.mark.parametrize("severity", SEVERITIES)
def test_time_scale_multiplies_from_the_first_event(severity):
    t = 10**7 + np.arange(0, 400_000, 4)
    zeros = np.zeros(len(t))
    found = shifted_events(stream(t, zeros, zeros, zeros, 1, 1), "time_scale", severity, 0, 0)
    assert np.array_equal(found.t, 10**7 + (t - 10**7) * SCALE[severity - 1])


# Severity


def changed(before: Events, after: Events) -> float:
    """Events that are in one of the two only."""
    keys = [((e.t * e.height + e.y) * e.width + e.x) * 2 + e.p for e in (before, after)]
    _, place = np.unique(np.concatenate(keys), return_inverse=True)
    signs = np.concatenate([np.ones(len(before)), -np.ones(len(after))])
    return float(np.abs(np.bincount(place, weights=signs)).sum())


def moved_in_time(before: Events, after: Events) -> float:
    """Mean time between the events of each pixel and polarity, matched in order."""
    a, b = (e.at(np.lexsort((e.t, e.p, e.x, e.y))) for e in (before, after))
    assert np.array_equal(a.x, b.x)
    return float(np.abs(a.t - b.t).mean())


def synthetic(index: int) -> Events:
    rng = np.random.default_rng(index)
    side = 34
    return stream(
        np.sort(rng.integers(0, 300_000, 2000)),
        np.clip(np.rint(rng.normal(17, 6, 2000)), 0, side - 1),
        np.clip(np.rint(rng.normal(17, 6, 2000)), 0, side - 1),
        rng.integers(0, 2, 2000),
        side,
        side,
    )


def grows(recordings: list[Events], shift: str) -> None:
    effect = moved_in_time if shift in ("time_jitter", "time_scale") else changed
    change = [0.0]
    for severity in SEVERITIES:
        change.append(
            float(
                np.mean(
                    [
                        effect(events, shifted_events(events, shift, severity, 0, i))
                        for i, events in enumerate(recordings)
                    ]
                )
            )
        )
    assert all(low < high for low, high in pairwise(change)), f"{shift} by severity: {change}"


@pytest.mark.parametrize("shift", EVENT_SHIFTS)
def test_the_change_grows_with_severity(shift):
    grows([synthetic(index % 4) for index in range(40)], shift)


@pytest.fixture(scope="module")
def n_mnist(shared_data) -> list[Events]:
    """The first recordings of each digit: x, y, polarity in the top bit of byte 2, and 23 bits of
    time in µs.
    """
    recordings = []
    with zipfile.ZipFile(shared_data / "nmnist_1100" / "NMNIST_1100.zip") as archive:
        for digit in range(10):
            names = sorted(
                name
                for name in archive.namelist()
                if name.startswith(f"Test/{digit}/") and name.endswith(".bin")
            )
            for name in names[:3]:
                raw = (
                    np.frombuffer(archive.read(name), dtype=np.uint8)
                    .reshape(-1, 5)
                    .astype(np.int64)
                )
                t = ((raw[:, 2] & 127) << 16) | (raw[:, 3] << 8) | raw[:, 4]
                recordings.append(stream(t, raw[:, 0], raw[:, 1], raw[:, 2] >> 7, 34, 34).ordered())
    return recordings


@pytest.mark.parametrize("shift", EVENT_SHIFTS)
def test_the_change_grows_on_n_mnist(n_mnist, shift):
    assert all(int(events.x.max()) < 34 and int(events.y.max()) < 34 for events in n_mnist)
    grows(n_mnist, shift)


@pytest.mark.parametrize("shift", EVENT_SHIFTS)
def test_the_change_grows_on_dvs_gesture(shared_data, shift):
    recordings = []
    with zipfile.ZipFile(
        shared_data / "dvs128gesture_10clips" / "dvs128gesture_10clips.zip"
    ) as archive:
        for name in ("events_np/0/hand_clapping.npz", "events_np/9/air_guitar.npz"):
            arrays = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            whole = stream(arrays["t"], arrays["x"], arrays["y"], arrays["p"], 128, 128)
            recordings.append(whole.at(np.arange(10_000)))
    grows(recordings * 8, shift)
