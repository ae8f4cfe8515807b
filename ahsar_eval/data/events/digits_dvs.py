"""`digits-dvs`: the embedded digits before a simulated event sensor, recorded as N-MNIST was: no
file, and no real sensor.

The sensor's pixels report when the logarithm of their light has changed by a threshold: the model
of Lichtsteiner et al., "A 128x128 120 dB 15 µs latency asynchronous temporal contrast vision
sensor" (2008), with light taken as linear between frames as in ESIM (Rebecq et al. 2018).

Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades"
(2015), showed MNIST on a monitor and moved an ATIS in three saccades of 100 ms along a triangle.
Here the digit itself moves. The numbers below were chosen so that rates, extent and the course of a
saccade come near those of real N-MNIST recordings; `tests/data/test_digits_dvs.py` states how near.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ahsar_eval.data.embedded import digits
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.randomness import generators
from ahsar_eval.data.split import EventSet, Indices
from ahsar_eval.files import sha256_of

Numbers = NDArray[np.float64]

_NAME = "digits-dvs"
_BATCH = 32  # recordings simulated at once: their arrays stay within a core's cache


@dataclass(frozen=True)
class Setup:
    """What was before the sensor and the sensor itself; lengths in pixels, times in µs, thresholds
    in natural-log units.
    """

    side: int = 34
    digit_side: float = 20.0
    corners: tuple[tuple[float, float], ...] = (
        (-2.0, -2.0),
        (0.0, 2.0),
        (2.0, -2.0),
    )  # (x, y) of the digit's centre, in order
    saccade_us: int = 100_000
    step_us: int = 1_000
    dark: float = 0.2  # light of the digit's strokes; the ground around is 1 brighter
    threshold: float = 0.11
    mismatch: float = (
        0.05  # standard deviation of a pixel's threshold, relative; fixed for the sensor
    )
    refractory_us: float = 300.0
    background_hz: float = 0.3  # events per pixel and second that no light caused
    seed: int = 0


SETUP = Setup()


def digits_dvs(role: str) -> EventSet:
    """The digits as simulated event recordings, 34x34, 300 ms; `role` is train, validation, test or
    all. Raises `DataError`.

    Members, order and labels are those of `digits`. A recording depends on its digit, the role and
    its index alone.
    """
    images = digits(role)

    def fetch(indices: Indices) -> list[Events]:
        found: list[Events] = []
        for first in range(0, len(indices), _BATCH):
            part = indices[first : first + _BATCH]
            light = np.stack([image[0].numpy() for image in images.fetch(part)]).astype(np.float64)
            found += record(light, generators(SETUP.seed, f"{_NAME} {role}", 0, part))
        return found

    return EventSet(
        name=_NAME,
        role=role,
        labels=images.labels,
        classes=images.classes,
        identity=sha256_of(_NAME, images.identity, repr(SETUP)),
        label_space=images.label_space,
        fetch=fetch,
        shape=(2, SETUP.side, SETUP.side),
        note=(
            "simulated: the UCI digits moved in three saccades before a simulated event sensor, "
            "34x34, 300 ms, the way N-MNIST was made"
        ),
    )


def record(light: Numbers, makers: list[Generator], setup: Setup = SETUP) -> list[Events]:
    """Recordings of N images `light` [N, h, h] in [0, 1], one generator each for the background
    activity.
    """
    times_us, path = trajectory(setup)
    on_threshold, off_threshold = (np.tile(each, len(light)) for each in _thresholds(setup))
    levels = _log_intensities(light, path, setup)
    seen = change_events(levels, times_us, on_threshold, off_threshold, setup.refractory_us)
    t = np.floor(seen.t_us).astype(np.int64)
    sample, pixel = np.divmod(seen.pixel, setup.side**2)
    members = sample == np.arange(len(light))[:, None]
    return [
        _with_background(t[own], pixel[own], seen.p[own], maker, setup)
        for own, maker in zip(members, makers, strict=True)
    ]


def trajectory(setup: Setup = SETUP) -> tuple[Numbers, Numbers]:
    """Times [K] in µs and the digit's offset from the centre [K, 2] (x, y) in pixels: from corner
    to corner and back to the first.

    Each saccade starts and ends at rest and goes 10 s³ − 15 s⁴ + 6 s⁵ of its way (Flash and Hogan
    1985): the bell of event rates that the recordings of N-MNIST have.
    """
    corners = np.array([*setup.corners, setup.corners[0]])
    steps = setup.saccade_us // setup.step_us
    s = np.arange(steps) / steps
    way = (s**3 * (10 - 15 * s + 6 * s**2))[:, None]
    legs = [start + (end - start) * way for start, end in itertools.pairwise(corners)]
    path: Numbers = np.concatenate([*legs, corners[-1:]])
    times_us = np.arange(len(path), dtype=np.float64) * setup.step_us
    return times_us, path


def _log_intensities(light: Numbers, path: Numbers, setup: Setup) -> Iterator[Numbers]:
    """Log intensity [N · side²] at each place of the path.

    Light is in steps of 1/256 and the weights are in steps of 2⁻¹⁶, so that every product and sum
    is exact, whatever the order in which a library adds; the logarithm, whose last bit differs
    between processors, is rounded. No machine makes other events of a digit.
    """
    for x, y in path:
        shown = (
            _spline_weights(y, light.shape[1], setup)
            @ light
            @ _spline_weights(x, light.shape[2], setup).T
        )
        # Dark strokes on a bright ground: ON events trail a stroke and OFF events lead it, as in
        # the files of N-MNIST.
        yield np.round(np.log(setup.dark + 1 - shown) * 2.0**24).ravel() * 2.0**-24


def _spline_weights(offset: float, cells: int, setup: Setup) -> Numbers:
    """[side, cells]: the cubic B-spline on the image's cells at each pixel centre, the image
    `offset` pixels from the sensor's centre.
    """
    pitch = setup.digit_side / cells
    centres = (np.arange(cells) + 0.5 - cells / 2) * pitch + setup.side / 2 + offset
    away = np.abs((np.arange(setup.side) + 0.5)[:, None] - centres) / pitch
    near = 2 / 3 - away**2 * (1 - away / 2)
    far = np.clip(2 - away, 0, None) ** 3 / 6
    return np.round(np.where(away < 1, near, far) * 2.0**16) * 2.0**-16


@functools.cache
def _thresholds(setup: Setup) -> tuple[Numbers, Numbers]:
    """ON and OFF thresholds [side²] of the one sensor that all recordings share: mean times normal
    mismatch, at least half the mean.
    """
    (maker,) = generators(setup.seed, "digits-dvs sensor", 0, [0])
    gain = np.maximum(1 + setup.mismatch * maker.standard_normal((2, setup.side**2)), 0.5)
    on, off = setup.threshold * gain
    return on, off


def _with_background(
    t: Indices, pixel: Indices, p: NDArray[np.uint8], maker: Generator, setup: Setup
) -> Events:
    """One recording in time order, with background activity: Poisson in number, uniform over time,
    pixels and polarities.
    """
    duration_us = len(setup.corners) * setup.saccade_us
    pixels = setup.side**2
    count = int(maker.poisson(setup.background_hz * pixels * duration_us / 1e6))
    t = np.append(t, maker.integers(0, duration_us, count))
    pixel = np.append(pixel, maker.integers(0, pixels, count))
    p = np.append(p, maker.integers(0, 2, count, dtype=np.uint8))
    y, x = np.divmod(pixel, setup.side)
    return Events(t, x.astype(np.int32), y.astype(np.int32), p, setup.side, setup.side).ordered()


@dataclass(frozen=True)
class Changes:
    """Change events in the order in which they were found: `pixel` [E] int64 into M pixels, `t_us`
    [E] float64, `p` [E] uint8 (1 is ON).
    """

    pixel: Indices
    t_us: Numbers
    p: NDArray[np.uint8]


def change_events(
    frames: Iterable[Numbers],
    times_us: Numbers,
    on_threshold: Numbers,
    off_threshold: Numbers,
    refractory_us: float,
) -> Changes:
    """The events of M pixels that see the log intensities `frames`, K arrays [M] at `times_us` [K],
    linear in between.

    A pixel holds a reference level, at first its own level at times_us[0]. Where its level L(t)
    reaches reference + `on_threshold` [M] (or reference − `off_threshold` [M], both positive) it
    emits an ON (OFF) event at that time, is blind for `refractory_us`, and takes its level at the
    end of that time as its new reference.
    """
    following = iter(frames)
    before = next(following)
    reference = before.copy()  # not a number while a pixel is blind: then no comparison holds
    sees_at = np.zeros_like(before)  # of a blind pixel
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=bool))]
    for start, end, after in zip(times_us[:-1], times_us[1:], following, strict=True):
        pixels = np.flatnonzero(np.isnan(reference) & (sees_at <= end))
        reference[pixels] = before[pixels] + (after[pixels] - before[pixels]) * (
            (sees_at[pixels] - start) / (end - start)
        )
        change = after - reference
        pixels = np.flatnonzero((change >= on_threshold) | (change <= -off_threshold))
        while len(pixels):
            on = after[pixels] > reference[pixels]
            level = reference[pixels] + np.where(on, on_threshold[pixels], -off_threshold[pixels])
            slope = (after[pixels] - before[pixels]) / (end - start)
            t_us = start + (level - before[pixels]) / slope
            found.append((pixels, t_us, on))
            sees_at[pixels] = again = t_us + refractory_us
            reference[pixels] = np.where(again > end, np.nan, level + slope * refractory_us)
            change = after[pixels] - reference[pixels]
            pixels = pixels[(change >= on_threshold[pixels]) | (change <= -off_threshold[pixels])]
        before = after
    pixel, t_us, on = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Changes(pixel, t_us, on.astype(np.uint8))
