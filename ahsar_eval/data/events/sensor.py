"""A simulated event sensor: pixels that report when the logarithm of their light has changed by a
threshold.

The model is that of Lichtsteiner et al., "A 128x128 120 dB 15 µs latency asynchronous temporal
contrast vision sensor" (2008), with light taken as linear between frames as in ESIM (Rebecq et al.
2018).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Changes:
    """Change events in the order in which they were found: `pixel` [E] int64 into M pixels, `t_us`
    [E] float64, `p` [E] uint8 (1 is ON).
    """

    pixel: NDArray[np.int64]
    t_us: Numbers
    p: NDArray[np.uint8]


def change_events(
    frames: Iterable[Numbers],
    times_us: Numbers,
    on_threshold: Numbers,
    off_threshold: Numbers,
    refractory_us: float = 0.0,
) -> Changes:
    """The events of M pixels that see the log intensities `frames`, K arrays [M] at `times_us` [K],
    linear in between.

    A pixel holds a reference level, at first its own level at times_us[0]. Where its level L(t)
    reaches reference + `on_threshold` [M] (or reference − `off_threshold` [M], both positive) it
    emits an ON (OFF) event at that time, is blind for `refractory_us`, and takes its level at the
    end of that time as its new reference.
    """
    found = list(_steps(iter(frames), times_us, on_threshold, off_threshold, refractory_us))
    if not found:
        return Changes(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.uint8))
    pixel, t_us, on = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Changes(pixel, t_us, on.astype(np.uint8))


def _steps(
    frames: Iterator[Numbers],
    times_us: Numbers,
    on_threshold: Numbers,
    off_threshold: Numbers,
    refractory_us: float,
) -> Iterator[tuple[NDArray[np.int64], Numbers, NDArray[np.bool_]]]:
    before = next(frames)
    reference = before.copy()  # not a number while a pixel is blind: then no comparison holds
    blind, sees_at = (
        np.zeros(0, dtype=np.int64),
        np.zeros(0),
    )  # the blind pixels, and when each sees again
    for start, end, after in zip(times_us[:-1], times_us[1:], frames, strict=True):
        awake = sees_at <= end
        pixels = blind[awake]
        reference[pixels] = before[pixels] + (after[pixels] - before[pixels]) * (
            (sees_at[awake] - start) / (end - start)
        )
        blind, sees_at = blind[~awake], sees_at[~awake]
        change = after - reference
        pixels = np.flatnonzero((change >= on_threshold) | (change <= -off_threshold))
        while len(pixels):
            on = after[pixels] > reference[pixels]
            level = reference[pixels] + np.where(on, on_threshold[pixels], -off_threshold[pixels])
            slope = (after[pixels] - before[pixels]) / (end - start)
            t_us = start + (level - before[pixels]) / slope
            yield pixels, t_us, on
            again = t_us + refractory_us
            late = again > end
            blind, sees_at = (
                np.concatenate([blind, pixels[late]]),
                np.concatenate([sees_at, again[late]]),
            )
            reference[pixels] = np.where(late, np.nan, level + slope * refractory_us)
            change = after[pixels] - reference[pixels]
            pixels = pixels[(change >= on_threshold[pixels]) | (change <= -off_threshold[pixels])]
        before = after
