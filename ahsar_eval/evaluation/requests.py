"""What can be asked: every field is an argument in Python and an option of the command line;
requests.toml holds what its help says.

Nothing heavy is imported here, for `--help` reads these types.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ahsar_eval.data import DataOptions
from ahsar_eval.energy.choices import Choices
from ahsar_eval.errors import UsageError
from ahsar_eval.options import described, nested

# Names of counters, the one that others are compared with first. They stand here as text: --help
# must not import what counts (a test compares the two).
CONVENTIONS = ("ahsar-eval", "neurobench", "spikingjelly", "syops", "rate-flops")

MOST_SCALES = 100  # each is a pass over the set
_described = described(__file__, "requests.toml")


@dataclass(frozen=True)
@_described
class NetworkOptions:
    """What files of other tools do not say of a network, its thresholds, and how networks run."""

    model: str | None = None
    key: str | None = None
    calls: str | None = None
    timesteps: int | None = None
    layout: str | None = None
    backbone: str | None = None
    spikes_per_step: str = "one"
    frames: str | None = None
    reset: str | None = None
    dt: float = 1.0
    integration: str = "euler"
    v_min: float | None = None
    classes: int | None = None
    input_shape: str | None = None
    mean: str = "0"
    std: str = "1"
    input_kinds: tuple[str, ...] = ()
    scale: float | None = None
    no_replay: bool = False
    device: str = "cpu"
    batch_size: int = 64
    engine: str = "compiled"
    precision: str = "fp32"
    threads: int | None = None
    cache: Path | None = None
    no_cache: bool = False


@dataclass(frozen=True, kw_only=True)
@_described
class Adapting:
    """How networks adapt at test time, beside how they are without (docs/test-time.md)."""

    adapt: tuple[str, ...] = ()
    protocol: str = "episodic"
    adapt_samples: int = 128
    adapt_batch: int = 32
    adapt_first: str = "predict"
    adapt_seed: int = 0
    adapt_start: Path | None = None
    set_points: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
@_described
class Gated:
    """What is required of every network, and on what it is decided (docs/gate.md)."""

    require: tuple[str, ...] = ()
    on: str = "interval"


@dataclass(frozen=True)
@_described
class Request(Adapting, Gated):
    """What `ood` and `compare` are asked of every network. In Python a set may also be a
    `SampleSet`.

    With `optional`, scores that a network cannot have (no training split, no hold-out, no solution)
    are left out and listed instead of refused. Without `intervals` no replicate is drawn.
    """

    data_name: Any = ""
    ood_names: tuple[Any, ...] = ()
    scores: tuple[str, ...] = ("entropy",)
    id_space: str | None = None
    fit_name: str | None = None
    by: tuple[str, ...] = ()
    tpr: float = 0.95
    replicates: int = 1000
    seed: int = 0
    baseline: str | None = None
    metrics: tuple[str, ...] = ()
    data: DataOptions = nested(DataOptions)
    optional: bool = False
    intervals: bool = True


@dataclass(frozen=True)
@_described
class EnergyRequest(Adapting, Gated):
    """What `energy` is asked of every network: a set, shifts of it, threshold scales, prices and
    choices. In Python the set may also be a `SampleSet`, a profile a `Profile`, and scales numbers.

    `shifts` are specifications as a user types them: `contrast`, `contrast:5`, `all`, each also
    with the set's name before it. `explain` is a pair of conventions 'START:END', or 'all'.
    """

    data_name: Any = ""
    profiles: tuple[Any, ...] = ("45nm-fp32",)
    shifts: tuple[str, ...] = ()
    scales: Any = None
    choices: Choices = nested(Choices)
    memory: bool = False
    conventions: tuple[str, ...] = ()
    explain: str | None = None
    seed: int = 0
    data: DataOptions = nested(DataOptions)


@dataclass(frozen=True)
@_described
class RasterRequest:
    """What `raster` is asked of every network: a `layer` on one `sample` of a set, at `scales` of
    all thresholds. In Python the set may also be a `SampleSet`, and scales numbers and "ahsar".
    """

    data_name: Any = ""
    layer: str = "0"
    scales: Any = "0.25,0.5,1,2,ahsar"
    sample: int = 0
    seed: int = 0
    data: DataOptions = nested(DataOptions)


@dataclass(frozen=True)
@_described
class SweepRequest(Adapting):
    """What `sweep` is asked of every network: a set, threshold scales, OOD sets, prices. In Python
    the sets may also be `SampleSet`s, the profile a `Profile`, and scales numbers.
    """

    data_name: Any = ""
    ood_names: tuple[Any, ...] = ()
    on: str = "test"
    scales: Any = "0.1:2:0.05"
    profile: Any = "45nm-fp32"
    replicates: int = 1000
    seed: int = 0
    data: DataOptions = nested(DataOptions)


@dataclass(frozen=True)
@_described
class MonitorRequest:
    """What `monitor` is asked of every network: a set that it knows, others, and how many samples a
    batch has that is judged. In Python sets may also be `SampleSet`s, set points `SetPoints`, and
    `batch` a number or several.
    """

    data_name: Any = ""
    ood_names: tuple[Any, ...] = ()
    batch: Any = "8,32"
    draws: int = 100
    regulate: str = "channel"
    set_points: tuple[Any, ...] = ()
    false_alarms: float | None = None
    replicates: int = 1000
    seed: int = 0
    data: DataOptions = nested(DataOptions)


@dataclass(frozen=True)
@_described
class ReportRequest(Request):
    """What `report` is asked: all that `ood` is, the profile that prices operations (in Python also
    a `Profile`), how many samples' spikes are shown and how many examples of each kind.
    """

    profile: Any = "45nm-fp32"
    traces: int = 4
    examples: int = 12
    title: str = ""


def batch_sizes(sizes: Any) -> tuple[int, ...]:
    """Numbers of samples from 'A,B,…', from a number or from several; ascending. Raises
    `UsageError`.
    """
    listed = sizes if isinstance(sizes, (str, list, tuple)) else [sizes]
    text = listed if isinstance(listed, str) else ",".join(map(str, listed))
    try:
        found = sorted(map(int, text.split(",")))
    except ValueError:
        found = []
    if not found or found[0] < 1 or len(set(found)) < len(found):
        raise UsageError(
            f"--batch is {text!r}; expected different whole numbers of samples, such as 8,32"
        )
    return tuple(found)


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


def listed_names(
    texts: Sequence[str], every: Sequence[str], what: str, but: str = ""
) -> tuple[str, ...]:
    """Names between commas, each once; for all `every` one, which is every one `but` some. Raises
    `UsageError`.
    """
    names = [name.strip() for text in texts for name in text.split(",")]
    if "all" in names and len(names) > 1:
        raise UsageError(f"--{what} all stands for every {what}{but}; name no other beside it")
    check_once(names, what)
    return tuple(every if names == ["all"] else names)


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
