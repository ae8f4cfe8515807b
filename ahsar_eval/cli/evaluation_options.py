"""Options that `ood` and `compare` share: which sets, which scores, which statistics; handed on as
one request.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ahsar_eval.cli.common import chosen_scale, make_runners, warn_if_trained_on
from ahsar_eval.errors import UsageError

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions
    from ahsar_eval.evaluation.ood import Plan, Request

Command = TypeVar("Command", bound=Callable[..., Any])
ALL_SCORES = "all"


def evaluation_options(command: Command) -> Command:
    """--id, --ood, --id-space, --score, --fit, --by, --tpr, --bootstrap and --seed, handed to the
    command as `request` (and `by`).

    Stands below `data_options`, whose `data` it takes.
    """
    options = [
        click.option(
            "--id",
            "id_name",
            required=True,
            metavar="NAME",
            help="The set the network knows (test split).",
        ),
        click.option(
            "--ood",
            "ood_names",
            required=True,
            multiple=True,
            metavar="NAME",
            help="A set it does not know; may be repeated.",
        ),
        click.option(
            "--id-space",
            type=click.Choice(["cifar10", "cifar100"]),
            help=(
                "Whose classes the ID set has, where its name does not say: for near, far, and "
                "classes of tiny-imagenet that overlap."
            ),
        ),
        click.option(
            "--score",
            "scores",
            multiple=True,
            metavar="NAME[,NAME]",
            help="entropy (default), entropy-of-mean-softmax, mean-entropy, mutual-information, "
            "msp, max-logit, energy, gen, "
            "msp-temperature, odin, knn, mahalanobis, relative-mahalanobis, vim, scp; or all, "
            "which is all but odin (it needs a gradient "
            "and a second pass).",
        ),
        click.option(
            "--fit",
            "fit_name",
            metavar="NAME",
            help="The set whose training split detectors are fitted on (default: the ID set's "
            "own).",
        ),
        click.option(
            "--by",
            multiple=True,
            type=click.Choice(["class", "severity"]),
            help="Also each class of a set; each severity, not their mean.",
        ),
        click.option(
            "--tpr",
            default=0.95,
            show_default=True,
            type=float,
            help="TPR of the thresholds, in both readings of the FPR.",
        ),
        click.option(
            "--bootstrap",
            "replicates",
            default=1000,
            show_default=True,
            type=int,
            metavar="B",
            help="Replicates of the bootstrap.",
        ),
        click.option(
            "--seed",
            default=0,
            show_default=True,
            type=int,
            help="Seed of the shifts' randomness and of the bootstrap.",
        ),
    ]

    @functools.wraps(command)
    def wrapped(
        *arguments: Any,
        id_name: str,
        ood_names: tuple[str, ...],
        id_space: str | None,
        scores: tuple[str, ...],
        fit_name: str | None,
        by: tuple[str, ...],
        tpr: float,
        replicates: int,
        seed: int,
        data: "DataOptions",
        **rest: Any,
    ) -> Any:
        chosen = {
            "id_space": id_space,
            "fit_name": fit_name,
            "tpr": tpr,
            "replicates": replicates,
            "seed": seed,
            "data": data,
        }
        return command(
            *arguments, request=requested(id_name, ood_names, scores, by, **chosen), by=by, **rest
        )

    return functools.reduce(lambda inner, option: option(inner), reversed(options), wrapped)  # type: ignore[return-value]


def requested(
    id_name: str,
    ood_names: tuple[str, ...],
    scores: tuple[str, ...],
    by: tuple[str, ...],
    **chosen: Any,
) -> "Request":
    """The options as one request, checked as far as no network is needed. Raises `UsageError` and
    `DataError`.
    """
    from ahsar_eval.data import expand_groups, parse
    from ahsar_eval.evaluation.ood import Request
    from ahsar_eval.ood import SCORES

    for name in ood_names:
        if ood_names.count(name) > 1:
            raise UsageError(f"the OOD set {name} was named twice; name it once")
    ood_names = tuple(expand_groups(ood_names, chosen["id_space"] or id_name))
    for name in (id_name, *ood_names):
        parse(name)
    named = [name.strip() for text in scores for name in text.split(",")] or ["entropy"]
    everything = ALL_SCORES in named
    if everything:
        if len(named) > 1:
            raise UsageError("--score all stands for every score but odin; name no other beside it")
        named = [name for name, score in SCORES.items() if not score.second_pass]
    request = Request(
        id_name, ood_names, tuple(named), by_class="class" in by, optional=everything, **chosen
    )
    request.check()
    return request


def planned(
    checkpoints: tuple[str, ...],
    request: "Request",
    scale: float | None,
    no_replay: bool,
    **options: Any,
) -> "list[Plan]":
    """A plan for each checkpoint; everything that can be refused is refused here, before the first
    forward pass.
    """
    from ahsar_eval.evaluation.ood import plan

    runners = make_runners(
        checkpoints,
        data_name=request.id_name,
        data=request.data,
        scale=chosen_scale(scale, no_replay),
        **options,
    )
    plans = []
    for runner in runners:
        plans.append(plan(request, runner))
        warn_if_trained_on(runner, plans[-1].id_split)
    return plans


def asked_of(plans: "list[Plan]", request: "Request", **shown: Any) -> dict[str, Any]:
    """Everything that decides what is printed of these plans, for `finished`; `shown` says in which
    form.
    """
    return {
        **shown,
        "request": {
            name: value for name, value in vars(request).items() if name not in ("data", "how")
        },
        "plans": [
            {"scores": plan.scores, "left_out": plan.left_out, **plan.runner.asked(plan.splits)}
            for plan in plans
        ],
    }


def facts_of(
    plans: "list[Plan]", request: "Request", notes: list[str], marks: Mapping[str, str]
) -> dict[str, Any]:
    """Provenance of a result: settings, checkpoints with their hashes, every split with its
    identity, versions and command.
    """
    from ahsar_eval.provenance import provenance
    from ahsar_eval.recording import describe

    facts = provenance(
        seed=request.seed,
        scores=list(request.scores),
        tpr=request.tpr,
        bootstrap_replicates=request.replicates,
        checkpoints=[
            {
                **plan.runner.facts(),
                "id": describe(plan.id_split),
                "ood": [describe(split) for split in plan.others],
                "scores": list(plan.scores),
                "fitted_on": [
                    describe(split)
                    for split in (plan.training, plan.validation)
                    if split is not None
                ],
            }
            for plan in plans
        ],
        notes=notes,
    )
    return {**facts, **marks}
