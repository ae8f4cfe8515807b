"""What can be asked: every field is an argument in Python and an option of the command line.

Nothing heavy is imported here, for `--help` reads these types.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ahsar_eval.data import DataOptions
from ahsar_eval.energy.choices import Choices
from ahsar_eval.errors import UsageError
from ahsar_eval.options import nested, option

# Names of counters, the one that others are compared with first. They stand here as text: --help
# must not import what counts (a test compares the two).
CONVENTIONS = ("ahsar-eval", "neurobench", "spikingjelly", "syops", "rate-flops")

MOST_SCALES = 100  # each is a pass over the set

_network = functools.partial(option, group="network")
_running = functools.partial(option, group="running")
_energy = functools.partial(option, group="energy")
_statistics = functools.partial(option, group="statistics")
_set = functools.partial(option, metavar="NAME", completes="set")


@dataclass(frozen=True)
class NetworkOptions:
    """What files of other tools do not say of a network, its thresholds, and how networks run."""

    model: str | None = _network(
        "Your own SpikingJelly network: a function that returns the module the checkpoint fills, "
        "such as my.code:net.",
        metavar="MODULE:FUNCTION",
    )
    timesteps: int | None = _network(
        "T for a plain state dict or a NIR file, such as 6.", metavar="T"
    )
    layout: str | None = _network(
        "Names of a plain state dict's tensors: the public rate-based backpropagation code's.",
        choices=("rate-bp",),
    )
    backbone: str | None = _network(
        "The network that a state dict with --layout fills.", choices=("vgg13", "resnet18")
    )
    spikes_per_step: str = _network(
        "Of a neuron of a NIR file: one, or as many as its potential holds thresholds.",
        "one",
        choices=("one", "many"),
    )
    frames: str | None = _network(
        "How a NIR file's or a plain state dict's network takes events: count, time, or the "
        "duration of a frame: 1ms, 1ms@0.",
        metavar="FRAMES",
    )
    reset: str | None = _network(
        "After a spike, for a NIR file that does not say.", choices=("subtract", "zero")
    )
    dt: float = _network("Length of a step in the time unit of a NIR file.", 1.0)
    classes: int | None = _network(
        "Classes of a plain state dict (default: the ID set's).", metavar="K"
    )
    input_shape: str | None = _network(
        "For a plain state dict (default: the ID set's) or a NIR file without, such as 1,16,16.",
        metavar="C,H,W",
    )
    mean: str = _network(
        "Normalisation of a plain state dict: one number or one per channel.", "0", metavar="M,…"
    )
    std: str = _network("The same for its standard deviation.", "1", metavar="S,…")
    input_kinds: tuple[str, ...] = _network(
        "Declare a layer's input: spikes, integer spikes or analog; may be repeated.",
        (),
        flag="--input-kind",
        metavar="LAYER=KIND",
    )
    scale: float | None = _network(
        "v_th = S × base in every layer, in place of the replayed scales.", metavar="S"
    )
    no_replay: bool = _network("The same as --scale 1: base thresholds.", False)
    device: str = _running("cpu, cuda or cuda:N.", "cpu", metavar="DEVICE")
    batch_size: int = _running(
        "Samples per forward pass; on a CPU no result depends on it but what other tools count "
        "(energy --convention).",
        64,
    )
    engine: str = _running(
        "How networks run: in less time, where a check on some samples finds no difference, or as "
        "SpikingJelly runs them.",
        "compiled",
        choices=("compiled", "reference"),
    )
    precision: str = _running(
        "Of products in convolutions; the difference of bf16 and tf32 (GPU) to fp32 is measured "
        "and printed.",
        "fp32",
        choices=("fp32", "bf16", "tf32"),
    )
    threads: int | None = _running("Threads for torch on the CPU (default: torch's).")
    cache: Path | None = _running(
        "Folder of recordings (default: AHSAR_EVAL_CACHE or the user's cache).", metavar="DIR"
    )
    no_cache: bool = _running("Neither look for earlier recordings nor keep these.", False)


@dataclass(frozen=True)
class Request:
    """What `ood` and `compare` are asked of every network. In Python a set may also be a
    `SampleSet`.

    With `optional`, scores that a network cannot have (no training split, no hold-out, no solution)
    are left out and listed instead of refused. Without `intervals` no replicate is drawn.
    """

    data_name: Any = _set(
        "The set the network knows (test split); default: the one it was trained on.",
        "",
        flag="--id",
    )
    ood_names: tuple[Any, ...] = _set(
        "A set it does not know, such as svhn, digits:fog, digits:fog:3 or near; may be repeated.",
        (),
        flag="--ood",
    )
    scores: tuple[str, ...] = option(
        "entropy, entropy-of-mean-softmax, mean-entropy, mutual-information, msp, "
        "max-logit, energy, gen, msp-temperature, odin, knn, mahalanobis, relative-mahalanobis, "
        "vim, scp; or all, which is all but odin (it needs a gradient and a second pass).",
        ("entropy",),
        group="scores",
        flag="--score",
        metavar="NAME[,NAME]",
        completes="score",
    )
    id_space: str | None = option(
        "Whose classes the ID set has, where its name does not say: for near, far, and classes of "
        "tiny-imagenet that overlap.",
        choices=("cifar10", "cifar100"),
    )
    fit_name: str | None = _set(
        "The set whose training split detectors are fitted on (default: the ID set's own).",
        group="scores",
        flag="--fit",
    )
    by: tuple[str, ...] = option(
        "Also each class of a set; each severity, not their mean.",
        (),
        group="output",
        choices=("class", "severity"),
    )
    tpr: float = _statistics("TPR of the thresholds, in both readings of the FPR.", 0.95)
    replicates: int = _statistics(
        "Replicates of the bootstrap.", 1000, flag="--bootstrap", metavar="B"
    )
    seed: int = _statistics("Seed of the shifts' randomness and of the bootstrap.", 0)
    baseline: str | None = _statistics(
        "Of the checkpoints, the one that mean corruption errors are relative to.", metavar="NAME"
    )
    metrics: tuple[str, ...] = _statistics(
        "What is compared: auroc, fpr_at_tpr, accuracy, mean_rate; or all.",
        (),
        flag="--metric",
        metavar="NAME[,NAME]",
    )
    data: DataOptions = nested(DataOptions)
    optional: bool = False
    intervals: bool = True


@dataclass(frozen=True)
class EnergyRequest:
    """What `energy` is asked of every network: a set, shifts of it, threshold scales, prices and
    choices. In Python the set may also be a `SampleSet`, a profile a `Profile`, and scales numbers.

    `shifts` are specifications as a user types them: `contrast`, `contrast:5`, `all`, each also
    with the set's name before it. `explain` is a pair of conventions 'START:END', or 'all'.
    """

    data_name: Any = _set(
        "The set to run (test split); default: the one the checkpoint was trained on.",
        "",
        flag="--data",
    )
    profiles: tuple[Any, ...] = _energy(
        "Energy per operation: 45nm-fp32, 45nm-fp16, 45nm-int32, 45nm-int8, a chip (loihi, "
        "truenorth, spinnaker-45, …: docs/energy.md) or a file of your own; may be repeated.",
        ("45nm-fp32",),
        flag="--profile",
        metavar="NAME|FILE.toml",
        completes="profile",
    )
    shifts: tuple[str, ...] = option(
        "Also on a shift of the set: contrast, contrast:5, all; may be repeated.",
        (),
        flag="--shift",
        metavar="NAME",
        completes="shift",
    )
    scales: Any = _energy(
        "Also at these threshold scales: accuracy against energy.", metavar="A,B,…|LOW:HIGH:STEP"
    )
    choices: Choices = nested(Choices)
    memory: bool = _energy(
        "Also energy with memory access (Lemaire et al. 2022), for profiles that price it.", False
    )
    conventions: tuple[str, ...] = _energy(
        "Also the totals that another counter gives for the same run: "
        f"{', '.join(CONVENTIONS)}; or all.",
        (),
        flag="--convention",
        metavar="NAME",
    )
    explain: str | None = _energy(
        "Walk from one convention's totals to another's, step by step; alone: from "
        f"{CONVENTIONS[0]} to each.",
        metavar="[START:END]",
        alone="all",
    )
    seed: int = option("Seed of a shift's randomness.", 0)
    data: DataOptions = nested(DataOptions)


@dataclass(frozen=True)
class RasterRequest:
    """What `raster` is asked of every network: a `layer` on one `sample` of a set, at `scales` of
    all thresholds. In Python the set may also be a `SampleSet`, and scales numbers and "ahsar".
    """

    data_name: Any = _set(
        "The set (test split); default: the one the checkpoint was trained on.", "", flag="--data"
    )
    layer: str = option(
        "A spiking layer, by index in depth or by name.",
        "0",
        group="output",
        metavar="LAYER",
        completes="layer",
    )
    scales: Any = _network(
        "Threshold factors, and ahsar for the replayed scales.",
        "0.25,0.5,1,2,ahsar",
        metavar="A,B,…",
    )
    sample: int = option("Index of the sample in the set.", 0, metavar="I")
    seed: int = option("Seed of a shift's randomness.", 0)
    data: DataOptions = nested(DataOptions)


@dataclass(frozen=True)
class SweepRequest:
    """What `sweep` is asked of every network: a set, threshold scales, OOD sets, prices. In Python
    the sets may also be `SampleSet`s, the profile a `Profile`, and scales numbers.
    """

    data_name: Any = _set(
        "The set to run; default: the one the checkpoint was trained on.", "", flag="--data"
    )
    ood_names: tuple[Any, ...] = _set(
        "A set whose AUROC of predictive entropy is swept; may be repeated.", (), flag="--ood"
    )
    on: str = option(
        "The test split, or what the training held out: choose a scale there.",
        "test",
        choices=("test", "validation"),
    )
    scales: Any = _network(
        "Factors on every threshold.", "0.1:2:0.05", metavar="A,B,…|LOW:HIGH:STEP"
    )
    profile: Any = _energy(
        "Energy per operation (docs/energy.md).",
        "45nm-fp32",
        metavar="NAME|FILE.toml",
        completes="profile",
    )
    replicates: int = _statistics(
        "Replicates of the bootstrap.", 1000, flag="--bootstrap", metavar="B"
    )
    seed: int = _statistics("Seed of the shifts' randomness and of the bootstrap.", 0)
    data: DataOptions = nested(DataOptions)


def scale_values(scales: str | Sequence[float], also: str = "") -> tuple[float, ...]:
    """Threshold scales from 'A,B,…', from 'LOW:HIGH:STEP' with both ends, or from numbers;
    ascending. Raises `UsageError`, which says what is taken `also`.
    """
    text = scales if isinstance(scales, str) else ",".join(map(str, scales))
    try:
        numbers = [Decimal(part) for part in text.split(":" if ":" in text else ",")]
        if ":" in text:
            low, high, step = numbers
            steps = int(min((high - low) / step, Decimal(MOST_SCALES)))
            numbers = [low + i * step for i in range(steps + 1)]
            numbers = numbers if numbers[-1:] == [high] else []
        values = sorted(map(float, numbers))
    except (ArithmeticError, ValueError):
        values = []
    once = 0 < len(values) == len(set(values)) <= MOST_SCALES
    if not once or not all(0 < value < float("inf") for value in values):
        raise UsageError(
            f"--scales is {text!r}; expected at most {MOST_SCALES} different positive numbers, "
            "such as 0.5,1,2, or LOW:HIGH:STEP, such as 0.5:2:0.25, whose step divides the range"
            f"{also}"
        )
    return tuple(values)


def check_once(names: Iterable[Any], what: str) -> None:
    """That nothing stands twice among `names`; sets in memory may. Raises `UsageError`."""
    named = [name for name in names if isinstance(name, (str, float))]
    for name in named:
        if named.count(name) > 1:
            raise UsageError(f"the {what} {name} was named twice; name it once")


def check_replicates(replicates: int) -> None:
    """That the bootstrap can give an interval. Raises `UsageError`."""
    if replicates < 100:
        raise UsageError(
            f"{replicates} bootstrap replicates give no interval; expected at least 100"
        )
