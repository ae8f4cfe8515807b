"""What a study finds, as rows of complete numbers: claims, endpoints and differences against the
matched baseline, values of every method, its controller, and the search for its parameters. Claims
were named before anything was run: AHSAR against three rivals on three endpoints, Holm's correction
over all.

One pooled bootstrap for each claim, over combinations and seeds together; Student's t beside it
for a single combination.

A claim's data are paired differences d[c, s], a row for each combination c, a column for each seed
s, NaN where a pair is missing. Its estimate is the mean over combinations of the means over their
seeds. Combinations and seeds are both drawn with replacement, and a drawn seed is drawn in every
combination: seed 3 means the same hold-out, the same order of the data and, for one backbone, the
same initial weights everywhere, so that combinations share its luck. With seeds drawn for each
combination on its own such luck would not show, and intervals that are to cover 95 % cover 53 to 80
% where luck is half of what varies (docs/study.md has the simulation).

Each replicate is compared by its own Student ratio t* = (m* − m) / √V*, V the variance of a mean
over two crossed factors (Cameron, Gelbach and Miller 2011): V = s²_C / C + max(0, s²_S / S − s²_R /
n), s²_C between means of combinations, s²_S between means of seeds, s²_R of the residuals of both,
n pairs. Ratios, for percentiles of a few combinations are too narrow (Davison and Hinkley 1997,
5.2).
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from ahsar_eval.ood.bootstrap import holm
from ahsar_eval.study.matching import (
    AHSAR,
    BASELINE,
    BEST,
    COMBINATION,
    FROZEN,
    NAMED,
    PRIMARY,
    TITLES,
    Frame,
    Matched,
    base_of,
    combination_of,
    factor_of,
    log_ratios,
    mean_of,
    names_of,
    secondary,
    title_of,
)

BEST_FIXED = "best fixed factor"
RIVALS = {BASELINE: BASELINE, BEST_FIXED: BEST, FROZEN: FROZEN}
OBJECTIVE = "validation_area"  # of a search
SIGNIFICANT = 0.05
# Differences that are shown, and the paper's table that each stands beside.
PAPER = {
    "accuracy": "table1_accuracy_id",
    "shifted_accuracy": "table2_accuracy_ood",
    "auroc": "table4_auroc",
    "fpr95": "table4_fpr95",
    "shifted_auroc": "table4_auroc",
    "shifted_fpr95": "table4_fpr95",
}
PRINTED = ("paradigm", "step_mode", "backbone", "method", "modality", "timesteps")

_DRAWN = ("steps", "train_loss", "validation_loss")
REPLICATES = 10_000
CONFIDENCE = 0.95
_BLOCK_NUMBERS = 1 << 20  # of drawn differences held at once

Numbers = NDArray[np.float64]
Row = dict[str, Any]


# Inference


@dataclass(frozen=True)
class Inference:
    """An estimate with its 95 % interval and two-sided p-value against 0; None where the data give
    none.
    """

    estimate: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    combinations: int = 1
    pairs: int = 1


def pooled(differences: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0) -> Inference:
    """The mean of `differences` [C, S] with interval and p-value by the bootstrap that this file
    describes.

    p = (1 + #{|t*| ≥ |t|}) / (B + 1), t = m / √V; the interval is m ± q √V, q the ⌈0.95 (B + 1)⌉-th
    smallest |t*|: it leaves out 0 exactly where p is at most 0.05. A replicate without variance has
    an infinite |t*|. No interval where q is infinite; neither that nor a p-value for a single pair,
    or without variance. One combination alone is a bootstrap of its
    seeds. Numbers depend on `seed` and the differences alone.
    """
    table = np.asarray(differences, dtype=np.float64)
    table = table[np.isfinite(table).any(axis=1)]
    mean, variance = (float(part) for part in mean_and_variance(table))
    counts = {"combinations": len(table), "pairs": int(np.isfinite(table).sum())}
    if not _crumbs(table) < variance < math.inf:
        return Inference(mean, **counts)
    error = math.sqrt(variance)
    # The data themselves are the last of B + 1.
    ratios = np.sort(np.append(_ratios(table, mean, replicates, seed), math.inf))
    p_value = int(np.sum(ratios >= abs(mean) / error)) / len(ratios)
    half = float(ratios[math.ceil(round(CONFIDENCE * len(ratios), 6)) - 1]) * error
    if math.isinf(half):
        return Inference(mean, p_value=p_value, **counts)
    return Inference(mean, mean - half, mean + half, p_value, **counts)


def mean_and_variance(tables: Numbers) -> tuple[Numbers, Numbers]:
    """Mean over rows of row means, and its variance V (see above), for each of `tables` [..., C, S]
    with NaN for what is missing.

    Rows without a pair count as not there. V is NaN for a single pair.
    """
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a row or a column without a pair
        row_means = np.nanmean(tables, axis=-1)
        centred = tables - row_means[..., None]
        column_means = np.nanmean(centred, axis=-2)
        residuals = centred - column_means[..., None, :]
        rows, columns = (np.isfinite(part).sum(-1) for part in (row_means, column_means))
        pairs = np.isfinite(tables).sum((-2, -1))
        of_rows = np.nanvar(row_means, axis=-1, ddof=1) / rows
        shared = np.nanvar(column_means, axis=-1, ddof=1) / columns
        freedom = pairs - rows - columns + 1
        rest = np.where(freedom > 0, np.nansum(residuals**2, axis=(-2, -1)) / freedom, 0.0)
        of_columns = np.maximum(0.0, shared - rest / pairs)
        variance = np.where(rows > 1, of_rows, 0.0) + np.where(columns > 1, of_columns, 0.0)
        return np.nanmean(row_means, axis=-1), np.where(pairs > 1, variance, np.nan)


def student(values: ArrayLike) -> Inference:
    """The mean of `values` [S], one for each seed, with Student's interval; none for a single seed
    or equal values.
    """
    table = np.asarray(values, dtype=np.float64)
    mean, count = float(table.mean()), len(table)
    error = float(table.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    if error <= 1e-12 * float(np.abs(table).max()):
        return Inference(mean, pairs=count)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * error
    return Inference(mean, mean - half, mean + half, pairs=count)


def _ratios(table: Numbers, mean: float, replicates: int, seed: int) -> Numbers:
    """|t*| of every replicate [B]; infinite without variance, or without a pair."""
    parts = math.ceil(replicates * table.size / _BLOCK_NUMBERS)
    draws = (
        np.array_split(_draws(seed, level, count, replicates), parts)
        for level, count in zip(("combinations", "seeds"), table.shape, strict=True)
    )
    found = []
    for rows, columns in zip(*draws, strict=True):
        means, variances = mean_and_variance(table[rows[:, :, None], columns[:, None, :]])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.abs(means - mean) / np.sqrt(variances)
        found.append(np.where(variances > _crumbs(table), ratios, np.inf))
    return np.concatenate(found)


def _crumbs(table: Numbers) -> float:
    """A variance that is none: sums of equal numbers leave that much."""
    return float(1e-24 * np.nanmax(np.abs(table)) ** 2)


def _draws(seed: int, level: str, count: int, replicates: int) -> NDArray[np.intp]:
    """[B, count] draws with replacement out of `count`, from the raw words of Philox, which NumPy
    keeps from version to version.
    """
    digest = blake2b(f"{seed} {level} {count}".encode(), digest_size=16).digest()
    words = np.random.Philox(key=np.frombuffer(digest, dtype="<u8")).random_raw(replicates * count)
    return ((words >> np.uint64(11)) * 2.0**-53 * count).astype(np.intp).reshape(replicates, count)


Infer = Callable[[Frame], Inference]


# Rows


def claim_rows(study: Matched, infer: Infer) -> list[Row]:
    """AHSAR against each rival on each primary endpoint: the pooled log ratio, AHSAR's value over
    the rival's; below 0 AHSAR is faster. Claims for which the study has pairs, Holm's correction
    over those with a p-value.
    """
    rows: list[Row] = []
    for (rival, name), endpoint in product(RIVALS.items(), PRIMARY):
        if (found := _between(study, AHSAR, name, endpoint, infer)) is not None:
            row = {"rival": rival, "endpoint": endpoint, **_pooled(found)}
            rows.append({**row, "p_holm": None, "verdict": "not shown"})
    tested = [row for row in rows if row["p"] is not None]
    for row, p_holm in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p_holm
        if p_holm < SIGNIFICANT:
            row["verdict"] = "faster" if row["log_ratio"] < 0 else "slower"
    return rows


def _between(
    study: Matched, method: str, rival: str, endpoint: str, infer: Infer
) -> Inference | None:
    """The pooled log ratio of a method's endpoint to the rival's; None without a pair."""
    pairs = study.against(rival)
    logs = log_ratios(pairs[pairs.named == method], endpoint)
    return infer(logs) if logs.size and method != rival else None


def _pooled(found: Inference) -> Row:
    counts = {"combinations": found.combinations, "pairs": found.pairs, "p": found.p_value}
    return {**_log_ratio(found), **counts}


def _log_ratio(found: Inference | None, prefix: str = "") -> Row:
    names = {"log_ratio": "estimate", "low": "low", "high": "high"}
    return {f"{prefix}{key}": getattr(found, name, None) for key, name in names.items()}


def search_rows(study: Matched, infer: Infer) -> list[Row]:
    """Settings of the controller and other methods by the log ratio of the area under the
    validation NLL to the matched baseline's, the best first, and the same ratio to AHSAR at its
    defaults where the study has it. On validation data alone.

    Empty unless a method stands in the study with several settings of its controller.
    """
    if len({*map(base_of, study.settings)}) == len(study.settings):
        return []
    rows = []
    for method in study.methods:
        if (found := _between(study, method, BASELINE, OBJECTIVE, infer)) is not None:
            defaults = _between(study, method, AHSAR, OBJECTIVE, infer)
            row = {"method": method, **_pooled(found), **_log_ratio(defaults, "defaults.")}
            rows.append(row)
    return sorted(rows, key=lambda row: (row["log_ratio"], row["method"]))


def _arms(rows: Frame, *more: str) -> Iterator[tuple[Row, Frame]]:
    """The rows of each method in each combination, and what they are of, `more` included."""
    for _, own in rows.groupby(["place", "named"], sort=False):
        (of, *_) = own[[*COMBINATION, "method", *more]].to_dict("records")
        yield of, own


def endpoint_rows(study: Matched) -> Iterator[Row]:
    """The primary endpoints of each method over the matched baseline's."""
    pairs = study.against(BASELINE)
    own_names = pairs[(pairs.named == pairs.method) & (pairs.method != BASELINE)]
    for row, own in _arms(own_names, "best_fixed"):
        for endpoint in PRIMARY:
            logs = log_ratios(own, endpoint)
            row |= _log_ratio(student(logs.to_numpy()[0]), f"{endpoint}.")
        late = {"never_reached": own.late, "baseline_never_reached": own["late.rival"]}
        yield {**row, "seeds": len(own), **{name: int(sum(late[name])) for name in late}}


def value_rows(study: Matched) -> Iterator[Row]:
    """Means over all seeds of every method's own values."""
    for of, own in _arms(study.every, "best_fixed"):
        yield {**of, "seeds": len(own), **_means(own.loc[:, "accuracy":"steps"])}


def controller_rows(study: Matched) -> Iterator[Row]:
    """What the controller did, of the baseline, frozen scales and controllers: means over seeds,
    and the spread of rates over the matched baseline's.
    """
    pairs = study.against(BASELINE)
    for of, own in _arms(study.every):
        name = of["method"]
        if factor_of(name) is not None and name != BASELINE:
            continue
        both = pairs[(pairs.place == own.place.iloc[0]) & (pairs.named == name)]
        spreads = zip(both.log_rate_spread, both["log_rate_spread.rival"], strict=True)
        logs = [float(np.log(a / b)) for a, b in spreads if a and b and name != BASELINE]
        beside = _log_ratio(student(logs) if logs else None, "spread.")
        means = _means(own.loc[:, "log_rate_spread":"silent_layers"])
        yield {**of, "seeds": len(own), **means, **beside}


def _means(own: Frame) -> Row:
    return {name: mean_of(own[name]) for name in own}


def delta_rows(study: Matched) -> Iterator[Row]:
    """Differences from the matched baseline in percentage points, with Student's interval over
    seeds and the paper's own figure: of controllers, frozen, and each combination's best fixed
    factor.
    """
    pairs = study.against(BASELINE)
    for of, own in _arms(pairs[pairs.named.map(factor_of).isna()], "named"):
        results = [*zip(own.result, own["result.rival"], strict=True)]
        both = [(secondary(ours, theirs), secondary(theirs, ours)) for ours, theirs in results]
        for quantity, table in PAPER.items():
            values = [(one[quantity], other[quantity]) for one, other in both]
            points = [100 * (a - b) for a, b in values if a is not None and b is not None]
            if not points:
                continue
            found = student(points)
            yield {
                **{part: of[part] for part in COMBINATION},
                "row": of["named"],
                "method": of["method"],
                "quantity": quantity,
                "delta_points": found.estimate,
                "low": found.low,
                "high": found.high,
                "seeds": len(points),
                "epochs": max(len(ours.history) for ours, _ in results),
                "paper_points": paper_table(table).get(tuple(of[one] for one in PRINTED)),
            }


@cache
def paper_table(name: str) -> dict[Any, float]:
    """A table of the paper by `PRINTED`: differences from the baseline in percentage points."""
    file = Path(__file__).with_name("paper") / f"{name}.csv"
    rows = pd.read_csv(file, float_precision="round_trip")
    named = rows.replace({title: name for name, title in TITLES.items()})
    return named.set_index([*PRINTED]).delta_percent.to_dict()


def course_rows(study: Matched) -> Iterator[Row]:
    """How the baseline, AHSAR (at each of its settings), frozen and the best fixed factor converge:
    a row for each combination, method, seed and epoch, with the losses that a figure draws.
    """
    rows = study.rows
    parts = [one for one in NAMED if one not in ("data", "timesteps") or rows[one].nunique() > 1]
    panels = names_of(rows[[*COMBINATION]].to_dict("records"), parts)
    for of, own in _arms(rows, "named"):
        name = of["named"]
        if base_of(name) in (BASELINE, AHSAR, FROZEN):
            title = title_of(name)
        elif name == BEST and of["method"] != BASELINE:
            title = BEST_FIXED
        else:
            continue
        named = {"panel": panels[combination_of(of)], "method": title}
        for result in own.result:
            for row in result.history:
                yield {**named, "seed": result.seed, **{one: row[one] for one in _DRAWN}}
