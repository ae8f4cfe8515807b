"""Set points: the rates that homeostasis at test time goes for, measured on data that the network
knows and that nothing is evaluated on.
"""

from ahsar_eval.data import DataOptions, SampleSet, open_set, parse, split_of, training_sets_of
from ahsar_eval.data.catalogue import roles_of
from ahsar_eval.errors import UsageError
from ahsar_eval.homeostasis.regulation import SetPoints
from ahsar_eval.recording.adaptation import measure_set_points
from ahsar_eval.recording.runner import Runner


def calibrated(
    runner: Runner, on: str | SampleSet | None = None, options: DataOptions | None = None
) -> SetPoints:
    """Set points of `runner`'s network: on what its training held out of the set `on` (default: the
    one it was trained on), where the checkpoint says which samples those were; else on the training
    split of that set, or on all of a set that is not divided. Raises `UsageError` where no set is
    known, and `DataError`.
    """
    name = on if on is not None else runner.checkpoint.trained_on
    if name is None:
        raise UsageError(
            f"{runner.checkpoint.name} does not say which set it was trained on; name one whose "
            "samples it knows with --on"
        )
    source = name if isinstance(name, SampleSet) else _known_samples(runner, name, options)
    split = split_of(source, runner.view, options=options)
    return measure_set_points(
        runner.network,
        split,
        network=runner.checkpoint.identity,
        batch_size=runner.batch_size,
        device=runner.device,
        input_kinds=runner.input_kinds,
        engine=runner.engine,
    )


def _known_samples(runner: Runner, name: str, options: DataOptions | None) -> SampleSet:
    """The hold-out of the network's training, the training split, or all samples of a set."""
    if parse(name).variants != ((None, 0),):
        raise UsageError(
            f"{name} names a shift; set points are the rates on a set as it is, so name that"
        )
    if "train" not in roles_of(name):
        return open_set(name, options=options)
    facts = runner.checkpoint.provenance
    _, held_out = training_sets_of(facts, name, options)
    known = facts.get("validation_identity")
    if known is not None and known == split_of(held_out, runner.view, options=options).identity:
        return held_out
    return open_set(name, "train", options)
