"""What can be asked: every field is an argument in Python and an option of the command line.

Nothing heavy is imported here, for `--help` reads these types.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ahsar_eval.data import DataOptions
from ahsar_eval.energy.choices import Choices
from ahsar_eval.errors import UsageError
from ahsar_eval.options import nested, option

# Names of counters, the one that others are compared with first. They stand here as text: --help
# must not import what counts (a test compares the two).
CONVENTIONS = ("ahsar-eval", "neurobench", "spikingjelly", "syops", "rate-flops")


@dataclass(frozen=True)
class NetworkOptions:
    """What files of other tools do not say of a network, and how networks run."""

    model: str | None = option(
        "Your own SpikingJelly network: a function that returns the module the checkpoint fills, "
        "such as my.code:net.",
        group="network",
        metavar="MODULE:FUNCTION",
    )
    timesteps: int | None = option(
        "T for a plain state dict or a NIR file, such as 6.", group="network", metavar="T"
    )
    layout: str | None = option(
        "Names of a plain state dict's tensors: the public rate-based backpropagation code's.",
        group="network",
        choices=("rate-bp",),
    )
    backbone: str | None = option(
        "The network that a state dict with --layout fills.",
        group="network",
        choices=("vgg13", "resnet18"),
    )
    spikes_per_step: str = option(
        "Of a neuron of a NIR file: one, or as many as its potential holds thresholds.",
        "one",
        group="network",
        choices=("one", "many"),
    )
    frames: str | None = option(
        "How a NIR file's or a plain state dict's network takes events: count, time, or the "
        "duration of a frame: 1ms, 1ms@0.",
        group="network",
        metavar="FRAMES",
    )
    reset: str | None = option(
        "After a spike, for a NIR file that does not say.",
        group="network",
        choices=("subtract", "zero"),
    )
    dt: float = option("Length of a step in the time unit of a NIR file.", 1.0, group="network")
    classes: int | None = option(
        "Classes of a plain state dict (default: the ID set's).",
        group="network",
        metavar="K",
    )
    input_shape: str | None = option(
        "For a plain state dict (default: the ID set's) or a NIR file without, such as 1,16,16.",
        group="network",
        metavar="C,H,W",
    )
    mean: str | None = option(
        "Normalisation of a plain state dict: one number or one per channel (default: 0).",
        group="network",
        metavar="M,…",
    )
    std: str | None = option(
        "The same for its standard deviation (default: 1).", group="network", metavar="S,…"
    )
    input_kinds: tuple[str, ...] = option(
        "Declare a layer's input: spikes, integer spikes or analog; may be repeated.",
        (),
        group="network",
        flag="--input-kind",
        metavar="LAYER=KIND",
    )
    device: str = option("cpu, cuda or cuda:N.", "cpu", group="running", metavar="DEVICE")
    batch_size: int = option(
        "Samples per forward pass; on a CPU no result depends on it but what other tools count "
        "(energy --convention).",
        64,
        group="running",
    )
    engine: str = option(
        "How networks run: in less time, where a check on some samples finds no difference, or as "
        "SpikingJelly runs them.",
        "compiled",
        group="running",
        choices=("compiled", "reference"),
    )
    precision: str = option(
        "Of products in convolutions; the difference of bf16 and tf32 (GPU) to fp32 is measured "
        "and printed.",
        "fp32",
        group="running",
        choices=("fp32", "bf16", "tf32"),
    )
    threads: int | None = option(
        "Threads for torch on the CPU (default: torch's).", group="running"
    )
    cache: Path | None = option(
        "Folder of recordings (default: AHSAR_EVAL_CACHE or the user's cache).",
        group="running",
        metavar="DIR",
    )
    no_cache: bool = option(
        "Neither look for earlier recordings nor keep these.", False, group="running"
    )


@dataclass(frozen=True)
class Thresholds:
    """At which thresholds networks run; both unset: at their own."""

    scale: float | None = option(
        "v_th = S × base in every layer, in place of the replayed scales.",
        group="network",
        metavar="S",
    )
    no_replay: bool = option("The same as --scale 1: base thresholds.", False, group="network")


@dataclass(frozen=True)
class Request:
    """What `ood` and `compare` are asked of every network. In Python a set may also be a
    `SampleSet`.

    With `optional`, scores that a network cannot have (no training split, no hold-out, no solution)
    are left out and listed instead of refused. Without `intervals` no replicate is drawn.
    """

    id_name: Any = option(
        "The set the network knows (test split); default: the one it was trained on.",
        "",
        flag="--id",
        metavar="NAME",
        completes="set",
    )
    ood_names: tuple[Any, ...] = option(
        "A set it does not know, such as svhn, digits:fog, digits:fog:3 or near; may be repeated.",
        (),
        flag="--ood",
        metavar="NAME",
        completes="set",
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
    fit_name: str | None = option(
        "The set whose training split detectors are fitted on (default: the ID set's own).",
        group="scores",
        flag="--fit",
        metavar="NAME",
        completes="set",
    )
    by: tuple[str, ...] = option(
        "Also each class of a set; each severity, not their mean.",
        (),
        group="output",
        choices=("class", "severity"),
    )
    tpr: float = option(
        "TPR of the thresholds, in both readings of the FPR.", 0.95, group="statistics"
    )
    replicates: int = option(
        "Replicates of the bootstrap.", 1000, group="statistics", flag="--bootstrap", metavar="B"
    )
    seed: int = option(
        "Seed of the shifts' randomness and of the bootstrap.", 0, group="statistics"
    )
    data: DataOptions = nested(DataOptions)
    optional: bool = False
    intervals: bool = True

    @property
    def by_class(self) -> bool:
        """Whether the classes of every set are evaluated, too."""
        return "class" in self.by


@dataclass(frozen=True)
class EnergyRequest:
    """What `energy` is asked of every network: a set, shifts of it, threshold scales, prices and
    choices. In Python the set may also be a `SampleSet`, a profile a `Profile`, and scales numbers.

    `shifts` are specifications as a user types them: `contrast`, `contrast:5`, `all`, each also
    with the set's name before it. `explain` is a pair of conventions 'START:END', or 'all'.
    """

    data_name: Any = option(
        "The set to run (test split); default: the one the checkpoint was trained on.",
        "",
        flag="--data",
        metavar="NAME",
        completes="set",
    )
    profiles: tuple[Any, ...] = option(
        "Energy per operation: 45nm-fp32, 45nm-fp16, 45nm-int32, 45nm-int8, a chip (loihi, "
        "truenorth, spinnaker-45, …: docs/energy.md) or a file of your own; may be repeated.",
        ("45nm-fp32",),
        group="energy",
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
    scales: Any = option(
        "Also at these threshold scales: accuracy against energy.",
        group="energy",
        metavar="A,B,…|LOW:HIGH:STEP",
    )
    choices: Choices = nested(Choices)
    memory: bool = option(
        "Also energy with memory access (Lemaire et al. 2022), for profiles that price it.",
        False,
        group="energy",
    )
    conventions: tuple[str, ...] = option(
        "Also the totals that another counter gives for the same run: "
        f"{', '.join(CONVENTIONS)}; or all.",
        (),
        group="energy",
        flag="--convention",
        metavar="NAME",
    )
    explain: str | None = None
    seed: int = option("Seed of a shift's randomness.", 0)
    data: DataOptions = nested(DataOptions)


@dataclass(frozen=True)
class RasterRequest:
    """What `raster` is asked of every network: a `layer` on one `sample` of a set, at `scales` of
    all thresholds. In Python the set may also be a `SampleSet`, and scales numbers and "ahsar".
    """

    data_name: Any = option(
        "The set (test split); default: the one the checkpoint was trained on.",
        "",
        flag="--data",
        metavar="NAME",
        completes="set",
    )
    layer: str = option(
        "A spiking layer, by index in depth or by name.",
        "0",
        group="output",
        metavar="LAYER",
        completes="layer",
    )
    scales: Any = option(
        "Threshold factors, and ahsar for the replayed scales.",
        "0.25,0.5,1,2,ahsar",
        group="network",
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

    data_name: Any = option(
        "The set to run; default: the one the checkpoint was trained on.",
        "",
        flag="--data",
        metavar="NAME",
        completes="set",
    )
    ood_names: tuple[Any, ...] = option(
        "A set whose AUROC of predictive entropy is swept; may be repeated.",
        (),
        flag="--ood",
        metavar="NAME",
        completes="set",
    )
    on: str = option(
        "The test split, or what the training held out: choose a scale there.",
        "test",
        choices=("test", "validation"),
    )
    scales: Any = option(
        "Factors on every threshold.",
        "0.1:2:0.05",  # the paper's, section 3
        group="network",
        metavar="A,B,…|LOW:HIGH:STEP",
    )
    profile: Any = option(
        "Energy per operation (docs/energy.md).",
        "45nm-fp32",
        group="energy",
        metavar="NAME|FILE.toml",
        completes="profile",
    )
    replicates: int = option(
        "Replicates of the bootstrap.", 1000, group="statistics", flag="--bootstrap", metavar="B"
    )
    seed: int = option(
        "Seed of the shifts' randomness and of the bootstrap.", 0, group="statistics"
    )
    data: DataOptions = nested(DataOptions)


@dataclass(frozen=True)
class Trainings:
    """What the trainings of a sweep are asked beside what says how a network runs; what is None has
    the default of `train`.
    """

    train: bool = option(
        "Also train at each scale, with the options below and --backbone, --timesteps, "
        "--batch-size.",
        False,
        group="training",
    )
    seeds: str = option("Seeds of the trainings.", "0", group="training", metavar="A,B,…")
    width: float | None = option(
        "Channel factor of the trainings (default: 1, the paper's).", group="training"
    )
    paradigm: str | None = option(
        "Of the trainings (default: bptt).", group="training", choices=("bptt", "rate")
    )
    step_mode: str | None = option(
        "Of the trainings (default: m).", group="training", choices=("s", "m")
    )
    epochs: int | None = option("Of the trainings (default: 50).", group="training")
    learning_rate: float | None = option("Of the trainings (default: 1e-3).", group="training")
    weight_decay: float | None = option("Of the trainings (default: 5e-4).", group="training")
    hold_out: float | None = option(
        "Fraction of the training samples held out (default: 0.1).", group="training"
    )
    samples: int | None = option(
        "Use a fixed part of the training samples.", group="training", metavar="N"
    )
    augment: str | None = option(
        "Transforms of training batches: auto (default), none, or a name as for train.",
        group="training",
        metavar="NAME",
    )
    precision: str | None = option(
        "Of the trainings (default: fp32).", group="training", choices=("fp32", "bf16", "fp16")
    )
    sensing: str | None = option(
        "What AHSAR senses (default: spikes).", group="training", choices=("spikes", "surrogate")
    )


def check_replicates(replicates: int) -> None:
    """That the bootstrap can give an interval. Raises `UsageError`."""
    if replicates < 100:
        raise UsageError(
            f"{replicates} bootstrap replicates give no interval; expected at least 100"
        )
