"""How often the 95 % intervals cover the truth, by simulation; docs/ood.md has the tables.

    python benchmarks/interval_coverage.py [--repetitions 2000] [--replicates 1000] [--seed 0]
    [--only sets|extreme|seeds]

sets: 1,000 ID and 1,000 OOD scores, both normal with unit variance, shifted to an AUROC of .76; an
    image's ID and OOD score (it and its corrupted copy) correlate by rho. A second model of AUROC
    .80 sees the same images, its scores correlating .7 with the first's.
extreme: AUROC .98 with 100 scores of each, independent: plain DeLong, DeLong on the logit scale,
and the choice by value. seeds: S training seeds on the same 300 + 300 images, whose AUROC differs
between seeds about as much as between draws of images, or more.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ahsar_eval.ood.bootstrap import (
    Images,
    Resamples,
    over_seeds,
    p_value,
    percentile_interval,
    seeds_interval,
    separation_replicates,
)
from ahsar_eval.ood.metrics import Estimate, auroc_interval, paired_auroc, separation

Scores = NDArray[np.float64]
N = 1000
AUROC_A, AUROC_B = 0.76, 0.80
BETWEEN_MODELS = 0.7
CORRELATIONS = (0.0, 0.5, 0.9)
SEEDS_N = 300
SEED_SHIFTS = (
    0.08,
    0.3,
    0.8,
    # sd between seeds of how far apart the sets are: as much as images matter, and several times
    # that
)


def shift_of(auroc: float) -> float:
    """How far apart two unit normals stand for this AUROC."""
    return float(np.sqrt(2) * norm.ppf(auroc))


def fpr_of(auroc: float, tpr: float = 0.95) -> float:
    """FPR at this TPR of two unit normals of this AUROC; the same in both readings."""
    return float(norm.sf(shift_of(auroc) + norm.ppf(1 - tpr)))


class Tally:
    """Counts of what covered, with the Monte-Carlo error of the share; an interval without ends
    covers nothing.
    """

    def __init__(self) -> None:
        self.covered: dict[str, list[bool]] = defaultdict(list)
        self.widths: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, truth: float, found: Estimate) -> None:
        has_ends = found.low is not None and found.high is not None
        self.covered[name].append(has_ends and found.low <= truth <= found.high)  # type: ignore[operator]
        if has_ends:
            self.widths[name].append(found.high - found.low)  # type: ignore[operator]

    def lines(self, prefix: str) -> Iterator[str]:
        for name, covered in self.covered.items():
            share, count = np.mean(covered), len(covered)
            error = np.sqrt(share * (1 - share) / count)
            yield (
                f"| {prefix} | {name} | {share:.1%} ± {error:.1%} | "
                f"{np.mean(self.widths[name]):.4f} | {count:,} |"
            )


HEAD = "| coverage | mean width | repetitions |\n|---|---|---|---|---|"


def draw(rng: np.random.Generator, rho: float) -> tuple[Scores, Scores, Scores, Scores]:
    """ID and OOD scores of model A, then of model B, on the same images: correlation `rho` within a
    model, .7 between the models.
    """
    within, between = (
        np.array([[1, rho], [rho, 1]]),
        np.array([[1, BETWEEN_MODELS], [BETWEEN_MODELS, 1]]),
    )
    scores = rng.multivariate_normal(
        np.zeros(4), np.kron(between, within), size=N, method="cholesky"
    )
    return (
        scores[:, 0],
        scores[:, 1] + shift_of(AUROC_A),
        scores[:, 2],
        scores[:, 3] + shift_of(AUROC_B),
    )


def sets(repetitions: int, replicates: int, seed: int) -> None:
    """One set against its corrupted copies, and two models on them."""
    images = Images("simulated", N)
    spreads, lines, rejected = [], [], []
    for rho in CORRELATIONS:
        rng = np.random.default_rng([seed, int(10 * rho)])
        tally, values, errors, differences, difference_errors = Tally(), [], [], [], []
        same = defaultdict(list)
        for repetition in range(repetitions):
            id_a, ood_a, id_b, ood_b = draw(rng, rho)
            resamples = Resamples(replicates, seed * 1_000_003 + repetition)
            found = separation(id_a, ood_a)
            ours = separation_replicates(id_a, ood_a, images, images, resamples)
            theirs = separation_replicates(id_b, ood_b, images, images, resamples)
            delong, (paired, _) = (
                auroc_interval(id_a, ood_a),
                paired_auroc(id_a, ood_a, id_b, ood_b),
            )
            tally.add("AUROC, DeLong", AUROC_A, delong)
            tally.add(
                "AUROC, bootstrap by image",
                AUROC_A,
                percentile_interval(found.auroc, ours["auroc"]),
            )
            for name, what in (
                ("fpr_at_tpr", "FPR@95TPR"),
                ("fpr_at_tpr_id_positive", "FPR@95TPR, ID positive"),
            ):
                tally.add(
                    f"{what}, bootstrap by image",
                    fpr_of(AUROC_A),
                    percentile_interval(getattr(found, name), ours[name]),
                )
            tally.add("AUROC difference, DeLong", AUROC_B - AUROC_A, paired)
            difference = theirs["auroc"] - ours["auroc"]
            tally.add(
                "AUROC difference, bootstrap by image",
                AUROC_B - AUROC_A,
                percentile_interval(paired.value, difference),
            )
            # Two models that are alike: how often a difference is claimed at .05.
            ood_b = ood_b - shift_of(AUROC_B) + shift_of(AUROC_A)
            _, alike = paired_auroc(id_a, ood_a, id_b, ood_b)
            same["DeLong"].append(alike is not None and alike < 0.05)
            if repetition % 2 == 0:
                again = separation_replicates(id_b, ood_b, images, images, resamples)
                p = p_value(again["auroc"] - ours["auroc"])
                same["bootstrap by image"].append(p is not None and p < 0.05)
            values.append(found.auroc)
            differences.append(paired.value)
            errors.append((delong.high - delong.low) / (2 * norm.ppf(0.975)))  # type: ignore[operator]
            difference_errors.append((paired.high - paired.low) / (2 * norm.ppf(0.975)))  # type: ignore[operator]
        spreads.append(
            f"| {rho:g} | {np.std(values, ddof=1):.4f} | {np.mean(errors):.4f} "
            f"| {np.std(differences, ddof=1):.4f} | {np.mean(difference_errors):.4f} |"
        )
        lines += tally.lines(f"{rho:g}")
        for name, claims in same.items():
            share = np.mean(claims)
            rejected.append(
                f"| {rho:g} | {name} | {share:.1%} ± "
                f"{np.sqrt(share * (1 - share) / len(claims)):.1%} | {len(claims):,} |"
            )
    print(f"n = {N:,} + {N:,}, AUROC {AUROC_A:.2f} (B: {AUROC_B:.2f}), B = {replicates:,}\n")
    print("| rho | interval " + HEAD, *lines, "", sep="\n")
    print(
        "| rho | sd of AUROC | mean DeLong se | sd of difference | mean paired DeLong se |\n"
        "|---|---|---|---|---|",
        *spreads,
        "",
        sep="\n",
    )
    print(
        "| rho | test of two models alike | rejected at .05 | repetitions |\n|---|---|---|---|",
        *rejected,
        "",
        sep="\n",
        flush=True,
    )


def extreme(repetitions: int, replicates: int, seed: int) -> None:
    """Near perfect separation of few samples."""
    del replicates
    rng, tally, truth = np.random.default_rng([seed, 98]), Tally(), 0.98
    for _ in range(10 * repetitions):
        inside, outside = rng.normal(size=100), rng.normal(shift_of(truth), size=100)
        tally.add("DeLong, plain", truth, auroc_interval(inside, outside, method="DeLong"))
        tally.add(
            "DeLong, logit scale",
            truth,
            auroc_interval(inside, outside, method="DeLong, logit scale"),
        )
        tally.add("by value (as reported)", truth, auroc_interval(inside, outside))
    print("n = 100 + 100, AUROC .98, independent\n")
    print("| AUROC | interval " + HEAD, *tally.lines(".98"), "", sep="\n", flush=True)


def seeds(repetitions: int, replicates: int, seed: int) -> None:
    """The mean over training seeds: seeds vary, images vary, and each seed scores each image in its
    own way.
    """
    images, lines, spreads = Images("simulated", SEEDS_N), [], []
    shared, base = np.sqrt(0.7), shift_of(AUROC_A)
    for spread in SEED_SHIFTS:
        truth = float(norm.cdf(base / np.sqrt(2 + spread**2)))  # over seeds and images
        for count in (2, 3, 5, 10):
            rng = np.random.default_rng([seed, count, int(100 * spread)])
            tally, means, between = Tally(), [], []
            for repetition in range(repetitions * 3 // count):
                resamples = Resamples(replicates, seed * 1_000_003 + repetition)
                common = rng.normal(size=(2, SEEDS_N))
                rows, values = [], []
                for _ in range(count):
                    inside, outside = shared * common + np.sqrt(1 - shared**2) * rng.normal(
                        size=(2, SEEDS_N)
                    )
                    outside = outside + base + spread * rng.normal()
                    rows.append(
                        separation_replicates(inside, outside, images, images, resamples)["auroc"]
                    )
                    values.append(separation(inside, outside).auroc)
                mean, found = float(np.mean(values)), over_seeds(np.stack(rows), resamples)
                tally.add(
                    "seeds, then images (as reported)",
                    truth,
                    seeds_interval(np.array(values), found)[0],
                )
                tally.add(
                    "seeds, then images: percentiles", truth, percentile_interval(mean, found)
                )
                tally.add("images alone", truth, percentile_interval(mean, np.mean(rows, axis=0)))
                means.append(mean)
                between.append(np.var(values, ddof=1))
            lines += tally.lines(f"{spread:g} | {count}")
            spreads.append(
                f"| {spread:g} | {count} | {np.std(means, ddof=1):.4f} | "
                f"{np.sqrt(np.mean(between)):.4f} |"
            )
    print(f"n = {SEEDS_N} + {SEEDS_N}, AUROC {AUROC_A:.2f}, B = {replicates:,}\n")
    print(
        "| sd of the shift | seeds | interval | coverage | mean width | repetitions |\n"
        "|---|---|---|---|---|---|",
        *lines,
        "",
        sep="\n",
    )
    print(
        "| sd of the shift | seeds | sd of the mean | sd between seeds on the same images |\n"
        "|---|---|---|---|",
        *spreads,
        "",
        sep="\n",
    )


PARTS = {"extreme": extreme, "seeds": seeds, "sets": sets}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(PARTS), action="append")
    arguments = parser.parse_args()
    for name in arguments.only or PARTS:
        # Seeds need S models a repetition: fewer of them.
        repetitions = arguments.repetitions // 2 if name == "seeds" else arguments.repetitions
        PARTS[name](repetitions, arguments.replicates, arguments.seed)


if __name__ == "__main__":
    main()
