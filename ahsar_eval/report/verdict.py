"""What a report says in words: the verdict in one sentence, what a reader must be warned of, and
the paragraph for a paper's methods.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ahsar_eval import __version__
from ahsar_eval.ood import SCORES
from ahsar_eval.report.run import COMPARED, Found

FEW = 100  # samples, below which a set's numbers say little
TIES = 0.5  # the share of different scores below which ties decide
SIGNIFICANT = 0.05


def sentence_of(found: Found) -> str:
    """The verdict: requirements, where there are any, else what was found."""
    rows = [one.result.rows[0] for one in found.networks]
    known = [
        f"{row.metrics['accuracy'].value:.3f} for {row.label}"
        for row in rows
        if "accuracy" in row.metrics
    ]
    name = rows[0].id
    first = f"Accuracy on {name} is {_and(known)}" if known else f"{name} has no labels to judge by"
    return f"{_required(found)}{first}{_differs(found)}; {_apart(found)}."


def _required(found: Found) -> str:
    """How many requirements are met, and which are not; nothing where there is none."""
    asked = found.requirements
    missed = [one for one in asked if not one["passed"]]
    if not asked:
        return ""
    if not missed:
        return f"{'The requirement is' if len(asked) == 1 else f'All {len(asked)} are'} met: "
    named = _listed([f"{one['requirement']} by {one['label']}" for one in missed])
    return f"{len(missed)} of {len(asked)} requirements not met ({named}): "


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _differs(found: Found) -> str:
    """Whether the first two networks differ in accuracy on the ID set."""
    plain = [
        one
        for one in found.comparison
        if one["kind"] == "id" and one["metric"] == "accuracy" and one["p_holm"] is not None
    ]
    if not plain:
        return ""
    far = [one["label"] for one in plain if one["p_holm"] < SIGNIFICANT]
    if not far:
        return ", which chance alone may explain"
    return f", a difference beyond chance for {_and(far)}"


def _apart(found: Found) -> str:
    """The set that is told worst from the ID set, by the network that does it best."""
    rows = [row for one in found.networks for row in one.result.rows if row.kind == "set"]
    shifts = [row for row in rows if row.group == "shift" and "accuracy" in row.metrics]
    others = [row for row in rows if row.group != "shift"]
    said = []
    if shifts:
        worst = min(shifts, key=lambda row: row.metrics["accuracy"].value)
        value = worst.metrics["accuracy"].value
        said.append(f"the worst shift, {worst.ood}, leaves {worst.label} {value:.3f}")
    if others:
        worst = min(others, key=lambda row: row.metrics["auroc"].value)
        auroc = worst.metrics["auroc"].value
        said.append(f"{worst.label} tells {worst.ood} from {worst.id} with an AUROC of {auroc:.3f}")
    return _and(said)


def banners_of(found: Found, facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a reader must know before a number is believed: the `kind` of doubt and a sentence."""
    return [
        {"kind": kind, "text": text}
        for kind, text in (
            *(("warning", one) for one in dict.fromkeys(found.warned)),
            *_few(found),
            *_chance(found),
            *_ties(found),
            *_not_counted(facts),
            ("one training", _ONE_TRAINING),
        )
    ]


_ONE_TRAINING = (
    "Intervals are of the samples: what these networks would show on others of the same kind, not "
    "what another training would give."
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
    """Where a network is no better than a guess."""
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
            yield (
                "chance level",
                f"{one.label} may be no better than a guess ({guess:.3f}) on {_listed(low)}.",
            )


def _ties(found: Found) -> Iterator[tuple[str, str]]:
    tied = [
        f"{row.ood} under {row.label}"
        for one in found.networks
        for row in one.result.rows
        if row.kind == "set" and (row.distinct_scores or 0) < TIES * (row.n_id + row.n_ood)
    ]
    if tied:
        yield (
            "ties",
            "Many scores are equal, so that an FPR jumps where its threshold falls on a tie: "
            f"{_listed(tied)}.",
        )


def _not_counted(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Layers without a rule, which no sum of energy holds."""
    for one in facts["energy"]["networks"]:
        if one["uncounted"]:
            yield (
                "not counted",
                f"No energy of {one['label']} holds these layers: {_listed(one['uncounted'])}.",
            )
        unpriced = one["unpriced"].get(facts["energy"]["profile"])
        if unpriced:
            yield (
                "not counted",
                f"{facts['energy']['profile']} has no price for what {one['label']} does in "
                f"{_listed(unpriced)}; no sum holds it.",
            )


def methods_of(found: Found) -> str:
    """The paragraph for a paper: what was measured, on what, and how intervals were made."""
    first, facts = found.networks[0], found.ood.facts
    sets = list(dict.fromkeys(some.split["set"] for some in first.result.others))
    shifts = dict.fromkeys(
        str(some.split["shift"]) for some in first.result.others if some.split["shift"]
    )
    shifted = f", {len(shifts)} shifts of it" if shifts else ""
    others = [name for name in sets if name != first.result.id_set.split["set"]]
    beside = f" and {_and(others)}" if others else ""
    score = SCORES[first.result.rows[0].score].title
    profile = found.request.profile
    return (
        f"Networks were evaluated with ahsar-eval {__version__} on {first.result.id_set.name} "
        f"(n = {len(first.result.id_set):,}){shifted}{beside}. Out-of-distribution samples are the "
        f"positive class; AUROC and FPR at {100 * facts['tpr']:g} % TPR are of {score}. "
        f"95 % intervals: DeLong for the AUROC of sets with images of their own, Wilson for "
        f"accuracy, a bootstrap of {facts['bootstrap_replicates']:,} replicates (seed "
        f"{facts['seed']}) for the rest, by image where a set holds the ID set's images, shifted. "
        f"Differences in {_and(list(COMPARED))} are paired on the same samples, their p-values "
        "corrected by Holm's method. Energy is the sum of exactly counted operations at the prices "
        f"of {profile.name} ({profile.source})."
    )
