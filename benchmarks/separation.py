"""Separation metrics against scikit-learn, and the paired bootstrap against a plain NumPy loop.

    python benchmarks/separation.py [--pairs 5] [--scores 10000000] [--replicates 1000]

metrics: AUROC, both FPR@95TPR and both AUPR of normal scores, half of them OOD, against
    scikit-learn's `roc_auc_score`, `roc_curve` and `precision_recall_curve` with `auc`, both
    readings. Ours finds the detection error, too; two sorts alone are the limit.
memory: the peak of a process of its own that does it once, above what it held with the scores made.
bootstrap: paired replicates of AUROC of two models on 10,000 + 10,000 samples, the same draws for
both, against indices drawn by NumPy and
    mid-ranks by `argsort`. Ours gives all metrics of `SEPARATION` for it, and draws anew every
    time.
"""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pairs import Ratio, compare

from ahsar_eval.ood.bootstrap import Images, Resamples, separation_replicates
from ahsar_eval.ood.metrics import separation

SCORES = 10_000_000
SAMPLES = 10_000
REPLICATES = 1000

Scores = NDArray[np.floating]


def normal_scores(count: int, dtype: str) -> tuple[Scores, Scores]:
    """As many ID as OOD scores, one standard deviation apart."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(count // 2).astype(dtype), (
        rng.standard_normal(count // 2) + 1
    ).astype(dtype)


def scikit_learn(inside: Scores, outside: Scores) -> tuple[float, ...]:
    """The same five numbers from scikit-learn's functions."""
    from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve

    truth = np.concatenate(
        [np.zeros(len(inside), dtype=np.int8), np.ones(len(outside), dtype=np.int8)]
    )
    scores = np.concatenate([inside, outside])
    found = [float(roc_auc_score(truth, scores))]
    for labels, signed in ((truth, scores), (1 - truth, -scores)):
        fpr, tpr, _ = roc_curve(labels, signed, drop_intermediate=False)
        found.append(float(fpr[np.argmax(tpr >= 0.95)]))
    for labels, signed in ((1 - truth, -scores), (truth, scores)):
        precision, recall, _ = precision_recall_curve(labels, signed)
        found.append(float(auc(recall, precision)))
    return tuple(found)


def ours(inside: Scores, outside: Scores) -> tuple[float, ...]:
    found = separation(inside, outside)
    return (
        found.auroc,
        found.fpr_at_tpr,
        found.fpr_at_tpr_id_positive,
        found.aupr_in,
        found.aupr_out,
    )


def sorts(inside: Scores, outside: Scores) -> None:
    np.sort(inside)
    np.sort(outside)


def metrics(pairs: int, count: int = SCORES) -> Iterator[Ratio]:
    """All five numbers, ours / scikit-learn's, and ours / two sorts."""
    for dtype in ("float64", "float32"):
        scores = normal_scores(count, dtype)
        name = f"separation, {count / 1e6:g} M {dtype}"
        np.testing.assert_allclose(ours(*scores), scikit_learn(*scores), rtol=0, atol=1e-9)
        yield compare(
            f"{name} / scikit-learn",
            lambda s=scores: ours(*s),
            lambda s=scores: scikit_learn(*s),
            pairs,
            0,
        )  # type: ignore[misc]
        yield compare(
            f"{name} / its two sorts", lambda s=scores: ours(*s), lambda s=scores: sorts(*s), pairs
        )  # type: ignore[misc]


def mid_rank_auroc(inside: Scores, outside: Scores) -> float:
    """AUROC by `argsort`, tied scores sharing the mean of their ranks."""
    scores = np.concatenate([outside, inside])
    order = np.argsort(scores)
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(starts, len(scores)))
    ranks = np.empty(len(scores))
    ranks[order] = np.repeat(starts + (lengths + 1) / 2, lengths)
    m = len(outside)
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (m * len(inside)))


def bootstrap(pairs: int, replicates: int = REPLICATES) -> Iterator[Ratio]:
    """Paired replicates of the AUROC of two models, ours / a plain loop."""
    rng = np.random.default_rng(1)
    models = [(rng.normal(size=SAMPLES), rng.normal(shift, size=SAMPLES)) for shift in (1.0, 1.1)]
    id_images, ood_images = Images("id", SAMPLES), Images("ood", SAMPLES)
    seeds = itertools.count()

    def ours() -> NDArray[np.float64]:
        resamples = Resamples(replicates, seed=next(seeds))  # draws of another seed are kept
        a, b = (
            separation_replicates(*scores, id_images, ood_images, resamples)["auroc"]
            for scores in models
        )
        return b - a

    def plain() -> NDArray[np.float64]:
        draws = np.random.default_rng(2)
        differences = np.empty(replicates)
        for replicate in range(replicates):
            inside, outside = (
                draws.integers(0, SAMPLES, SAMPLES),
                draws.integers(0, SAMPLES, SAMPLES),
            )
            a, b = (mid_rank_auroc(scores[0][inside], scores[1][outside]) for scores in models)
            differences[replicate] = b - a
        return differences

    yield compare(
        f"{replicates} paired replicates, 2 x {SAMPLES} / NumPy loop", ours, plain, pairs, 1
    )


def separation_bench(pairs: int) -> Iterator[Ratio]:
    """Metrics, then bootstrap; the peer of the metrics takes half a minute a pair."""
    yield from metrics(pairs)
    yield from bootstrap(pairs)


def peak_megabytes(work: str, dtype: str, count: int) -> tuple[float, float]:
    """Peak MiB of a process that does `work` once, and how much of that came after the scores were
    there (Linux).
    """
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from separation import normal_scores, ours, scikit_learn, sorts
def status(name):
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)).split()[1]) / 1024
{work}(*normal_scores(1000, {dtype!r}))  # imports and compiled code are there
scores = normal_scores({count}, {dtype!r})
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
held = status("VmRSS")
{work}(*scores)
print(status("VmHWM"), status("VmHWM") - held)
"""
    peak, above = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    return float(peak), float(above)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--scores", type=int, default=SCORES)
    parser.add_argument("--replicates", type=int, default=REPLICATES)
    arguments = parser.parse_args()
    print(
        "| what / peer | ours s | peer s | faster | 95 % of it | pairs |\n|---|---|---|---|---|---|"
    )
    for found in (
        metrics(arguments.pairs, arguments.scores),
        bootstrap(arguments.pairs, arguments.replicates),
    ):
        for ratio in found:
            faster = f"{1 / ratio.ratio:.1f}x | {1 / ratio.high:.1f}–{1 / ratio.low:.1f}x"
            print(
                f"| {ratio.name} | {ratio.ours_s:.2f} | {ratio.peer_s:.2f} | {faster} | "
                f"{ratio.pairs} |",
                flush=True,
            )
    print(
        f"\n| peak memory, {arguments.scores / 1e6:g} M scores | of the process, MiB | above the "
        "scores, MiB |\n|---|---|---|"
    )
    for dtype in ("float64", "float32"):
        for work in ("ours", "scikit_learn", "sorts"):
            peak, above = peak_megabytes(work, dtype, arguments.scores)
            print(f"| {work.replace('_', '-')}, {dtype} | {peak:,.0f} | {above:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
