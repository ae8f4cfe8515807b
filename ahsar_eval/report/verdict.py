"""What a report says in words: the verdict in one sentence, what a reader must be warned of, and
the paragraph for a paper's methods.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ahsar_eval import __version__
from ahsar_eval.evaluation.compare import SIGNIFICANT
from ahsar_eval.evaluation.ood_tables import title_of
from ahsar_eval.ood import SCORES
from ahsar_eval.ood.bootstrap import least_p
from ahsar_eval.report.run import COMPARED, Found, Network
from ahsar_eval.results.table import signed

FEW = 100  # samples, below which a set's numbers say little
TIES = 0.5  # the share of different scores below which ties decide


def sentence_of(found: Found) -> str:
    """The verdict: requirements, where there are any, else what was found."""
    rows = [one.result.rows[0] for one in found.networks]
    known = [
        f"{row.metrics['accuracy'].value:.3f}" + (f" for {row.label}" if len(rows) > 1 else "")
        for row in rows
        if "accuracy" in row.metrics
    ]
    name = rows[0].id
    first = f"Accuracy on {name} is {_and(known)}" if known else f"{name} has no labels to judge by"
    said = [first + _differs(found), *_apart(found), *_elsewhere(found)]
    return f"{_required(found)}{'; '.join(said)}."


def _required(found: Found) -> str:
    """How many requirements are met, and which are not; nothing where there is none."""
    asked = found.requirements
    missed = [one for one in asked if not one["passed"]]
    if not asked:
        return ""
    number = len(asked)
    if not missed:
        return f"{'The requirement is' if number == 1 else f'All {number} requirements are'} met: "
    named = _listed([f"{one['requirement']} by {one['label']}" for one in missed])
    if number == 1:
        return f"The requirement is not met ({named}): "
    are = "is" if len(missed) == 1 else "are"
    return f"{len(missed)} of {number} requirements {are} not met ({named}): "


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _differs(found: Found) -> str:
    """Whether networks differ in accuracy on the ID set; nothing where none was tested, or the
    numbers are the same.
    """
    tested = [
        one
        for one in found.comparison
        if one["kind"] == "id" and one["metric"] == "accuracy" and one["p_holm"] is not None
    ]
    far = [one["label"] for one in tested if one["p_holm"] < SIGNIFICANT]
    if far:
        return f", a difference beyond chance for {_and(far)}"
    if not any(one["difference"] for one in tested):
        return ""
    least = least_p(found.request.replicates)
    if any(one["p_value"] <= least for one in tested):
        return ", which these replicates are too few to call a difference or chance"
    return ", which chance alone may explain"


def _elsewhere(found: Found) -> list[str]:
    """Differences beyond chance on other sets than the ID set: each, or how many there are."""
    far = [
        one
        for one in found.comparison
        if one["kind"] != "id"
        and one["p_holm"] is not None
        and one["p_holm"] < SIGNIFICANT
        and not (one["metric"] == "auroc" and one["labels_preserved"])
    ]
    if len(far) > 2:
        return [f"{len(far)} differences on other sets and shifts are more than chance explains"]
    said = []
    for one in far:
        difference = signed(f"{one['difference']:+.3f}")
        said.append(
            f"{one['label']} differs from {one['against']} by {difference} in "
            f"{title_of(one['metric'])} on {one['ood']}, more than chance explains"
        )
    return said


def _apart(found: Found) -> list[str]:
    """The shift that leaves the least accuracy, and the set that is told worst from the ID set by
    the first score, on average over the networks: their numbers, in their order.
    """
    rows = [row for one in found.networks for row in one.result.rows if row.kind == "set"]
    rows = [row for row in rows if row.score == rows[0].score]
    shifts = _by_set([row for row in rows if row.group == "shift"], "accuracy")
    others = _by_set([row for row in rows if row.group != "shift"], "auroc")
    said = []
    if shifts:
        name, values = min(shifts.items(), key=lambda one: sum(one[1]))
        which = f"{name}, the worst shift," if len(shifts) > 1 else name
        said.append(f"under {which} accuracy is {_and([f'{value:.3f}' for value in values])}")
    if others:
        name, values = min(others.items(), key=lambda one: sum(one[1]))
        which = f"{name}, the lowest of {len(others)} sets," if len(others) > 1 else name
        said.append(f"AUROC on {which} is {_and([f'{value:.3f}' for value in values])}")
    return said


def _by_set(rows: Sequence[Any], metric: str) -> dict[str, list[float]]:
    """A metric of every network by set, of the sets where all of them have it; the ID set's shifts
    without its name.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if metric in row.metrics:
            name = row.ood.removeprefix(f"{row.set_name}:") if row.group == "shift" else row.ood
            found.setdefault(name, []).append(row.metrics[metric].value)
    most = max(map(len, found.values()), default=0)
    return {name: values for name, values in found.items() if len(values) == most}


def banners_of(found: Found, facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a reader must know before a number is believed: the `kind` of doubt and a sentence."""
    return [
        {"kind": kind, "text": text}
        for kind, text in (
            *(("warning", one) for one in dict.fromkeys(found.warned)),
            *_few(found),
            *_chance(found),
            *_ties(found),
            *_replicates(found),
            *_silent(facts),
            *_not_counted(facts),
            ("one training", _ONE_TRAINING),
        )
    ]


_ONE_TRAINING = (
    "Intervals cover other samples of the same kind, not another training of the same network."
)


def _few(found: Found) -> Iterator[tuple[str, str]]:
    sets = [found.networks[0].result.id_set, *found.networks[0].result.others]
    few = [f"{some.name} ({len(some)})" for some in sets if len(some) < FEW]
    if few:
        yield (
            "few samples",
            f"Fewer than {FEW} samples, whose numbers move by several points from one draw to the "
            f"next: {_listed(few)}.",
        )


def _listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 5 else ""
    return ", ".join(names[: 4 if more else 5]) + more


def _chance(found: Found) -> Iterator[tuple[str, str]]:
    """Where networks are no better than a guess; those of the same sets are named together."""
    labels: dict[tuple[float, str], list[str]] = {}
    for one in found.networks:
        guess = 1 / one.plan.runner.checkpoint.spec.classes
        low = [
            row.ood
            for row in one.result.rows
            if row.kind in ("id", "set")
            and row.score == one.result.rows[0].score
            and "accuracy" in row.metrics
            and (row.metrics["accuracy"].low or 0.0) <= guess
        ]
        if low:
            labels.setdefault((guess, _listed(low)), []).append(one.label)
    for (guess, sets), named in labels.items():
        yield (
            "chance level",
            f"{_and(named)} may be no better than a guess ({guess:.3f}) on {sets}.",
        )


def _ties(found: Found) -> Iterator[tuple[str, str]]:
    tied = [
        f"{row.ood} under {row.label}"
        for one in found.networks
        for row in one.result.rows
        if row.kind == "set"
        and row.score == one.result.rows[0].score
        and (row.distinct_scores or 0) < TIES * (row.n_id + row.n_ood)
    ]
    if tied:
        yield (
            "ties",
            "Many scores are equal, so that an FPR jumps where its threshold falls on a tie: "
            f"{_listed(tied)}.",
        )


def _replicates(found: Found) -> Iterator[tuple[str, str]]:
    """Where no p-value of a bootstrap can be small enough for Holm's correction."""
    tested, drawn = tested_of(found.comparison), found.request.replicates
    if found.request.intervals and tested * least_p(drawn) >= SIGNIFICANT:
        yield (
            "few replicates",
            f"A bootstrap of {drawn:,} replicates gives no p-value below {least_p(drawn):.2g}, so "
            f"that none of those made by it can pass Holm's correction over {tested} lines; "
            f"--bootstrap {50 * tested:,} would do.",
        )


def tested_of(comparison: Sequence[Mapping[str, Any]]) -> int:
    """The lines of a comparison that have a p-value."""
    return sum(one["p_holm"] is not None for one in comparison)


def _silent(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Layers of which at least half the neurons fire on no sample of the ID set."""
    for one in facts["spikes"]:
        layers = [
            f"{layer['name']} ({100 * layer['dead'] / layer['neurons']:.0f} %)"
            for layer in one["layers"]
            if 2 * layer["dead"] >= layer["neurons"]
        ]
        if layers:
            yield (
                "silent neurons",
                f"Half the neurons or more fire on no sample of {facts['id']['name']} in "
                f"{_listed(layers)} of {one['label']}.",
            )


def _not_counted(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Layers without a rule and operations without a price, which no sum of energy holds; networks
    that share them are named together.
    """
    profile = facts["energy"]["profile"]
    uncounted: dict[tuple[str, ...], list[str]] = {}
    unpriced: dict[tuple[str, ...], list[str]] = {}
    for one in facts["energy"]["networks"]:
        uncounted.setdefault(tuple(one["uncounted"]), []).append(one["label"])
        unpriced.setdefault(tuple(one["unpriced"].get(profile, ())), []).append(one["label"])
    for layers, labels in uncounted.items():
        if layers:
            yield (
                "not counted",
                f"The energy of {_and(labels)} is without these layers: {_listed(list(layers))}.",
            )
    for operations, labels in unpriced.items():
        if operations:
            yield (
                "not priced",
                f"The profile {profile} has no price for what is counted as "
                f"{_listed(list(operations))}; the energy of {_and(labels)} leaves it out.",
            )


def methods_of(found: Found) -> str:
    """The paragraph for a paper: what was measured, on what, and how intervals were made."""
    first, facts = found.networks[0], found.ood.facts
    id_set, profile = first.result.id_set, found.request.profile
    score = SCORES[first.result.rows[0].score].title
    sets = [f"{id_set.name} (n = {len(id_set):,})", *_shifts_told(first), *_others_told(first)]
    said = [
        f"Networks were evaluated with ahsar-eval {__version__} on {_and(sets)}.",
        *_adaptation_told(found),
        "Out-of-distribution samples are the positive class; AUROC and FPR at "
        f"{100 * facts['tpr']:g} % TPR are of {score}.",
        *_intervals_told(found),
        *_differences_told(found),
        "Energy is the sum of exactly counted operations at the prices of "
        f"{profile.name} ({profile.source}).",
    ]
    return " ".join(said)


def _shifts_told(network: Network) -> list[str]:
    shifts = list(dict.fromkeys(str(some.split["shift"]) for some in network.shifted))
    if not shifts:
        return []
    named = f" ({', '.join(shifts)})" if len(shifts) <= 5 else ""
    return [f"{len(shifts)} {'shift' if len(shifts) == 1 else 'shifts'} of it{named}"]


def _others_told(network: Network) -> list[str]:
    """The sets that are no shifts of the ID set; one that is shifted itself once, whatever the
    severity.
    """
    names = (
        ":".join(filter(None, (some.split["set"], some.split["shift"]))) for some in network.others
    )
    return list(dict.fromkeys(names))


def _adaptation_told(found: Found) -> list[str]:
    ways = dict.fromkeys(
        "+".join(way.modes) for one in found.networks if (way := one.plan.runner.adaptation)
    )
    asked = found.request
    how = {
        "episodic": f"to {asked.adapt_samples:,} unlabelled samples of each set, which no network "
        "is evaluated on",
        "online": f"through each set in batches of {asked.adapt_batch:,}, anew for every set",
        "continual": f"through all sets, one after the other, in batches of {asked.adapt_batch:,}",
    }[asked.protocol]
    return [f"Networks also adapted at test time ({', '.join(ways)}), {how}."] if ways else []


def _intervals_told(found: Found) -> list[str]:
    """How intervals were made: what was used, and nothing else."""
    rows = [row for one in found.networks for row in one.result.rows]
    delong = any("DeLong" in row.metrics["auroc"].method for row in rows if row.kind == "set")
    parts = [
        *(["DeLong for the AUROC of sets with images of their own"] if delong else []),
        *(["Wilson for accuracy"] if any("accuracy" in row.metrics for row in rows) else []),
    ]
    drawn = found.ood.facts["bootstrap_replicates"]
    if drawn:
        clustered = any(row.same_images for row in rows)
        parts.append(
            f"a bootstrap of {drawn:,} replicates (seed {found.ood.facts['seed']})"
            + (" for the rest" if parts else "")
            + (", by image where a set holds the ID set's images, shifted" if clustered else "")
        )
    return [f"95 % intervals: {_and(parts)}."] if parts else []


def _differences_told(found: Found) -> list[str]:
    metrics = {one["metric"] for one in found.comparison}
    named = [title_of(name) for name in COMPARED if name in metrics]
    tested = ", their p-values corrected by Holm's method" if tested_of(found.comparison) else ""
    return (
        [f"Differences in {_and(named)} are paired on the same samples{tested}."] if named else []
    )
