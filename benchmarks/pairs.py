"""Interleaved pairs: two pieces of work in turn, their ratio pair by pair, its median with a
distribution-free interval.

On a shared machine single times drift; the ratio of two neighbours drifts far less. The order
within a pair alternates.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from scipy.stats import binom


@dataclass(frozen=True)
class Ratio:
    """Median seconds of both, and the median of the pairwise ratios with its 95 % interval (order
    statistics).
    """

    name: str
    ours_s: float
    peer_s: float
    ratio: float
    low: float
    high: float
    pairs: int

    def line(self) -> str:
        """One line of the table."""
        return (
            f"{self.name:<58} {self.ours_s * 1e3:>10.1f} {self.peer_s * 1e3:>10.1f} "
            f"{self.ratio:>7.3f}  {self.low:.3f}–{self.high:.3f}  {self.pairs:>5}"
        )


HEADER = (
    f"{'what / peer':<58} {'ours ms':>10} {'peer ms':>10} {'ratio':>7}  {'95 % of it':<11}  pairs"
)


def compare(
    name: str, ours: Callable[[], object], peer: Callable[[], object], pairs: int, warmup: int = 2
) -> Ratio:
    """Time `ours` and `peer` in turn, `pairs` times after `warmup` uncounted rounds."""
    return compare_rates(name, ours, peer, pairs, 1, 1, warmup)


def compare_rates(
    name: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    pairs: int,
    our_items: int,
    peer_items: int,
    warmup: int = 1,
) -> Ratio:
    """The same where one call of each does another number of items: all times are per item."""
    for _ in range(warmup):
        peer()
        ours()
    times: list[tuple[float, float]] = []
    for number in range(pairs):
        if number % 2:
            a, b = _seconds(ours), _seconds(peer)
        else:
            b, a = _seconds(peer), _seconds(ours)
        times.append((a / our_items, b / peer_items))
    ratios = sorted(a / b for a, b in times)
    rank = int(binom.ppf(0.025, pairs, 0.5))
    low, high = ratios[max(rank - 1, 0)], ratios[min(pairs - rank, pairs - 1)]
    return Ratio(
        name,
        median(a for a, _ in times),
        median(b for _, b in times),
        median(ratios),
        low,
        high,
        pairs,
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
