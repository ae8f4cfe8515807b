"""Homeostasis at test time: thresholds that find the rates again which a network had on data that
it knows.

    c ← clip(c + β·(log r − log r*) − γ·c, −b, +b),   v_th = base · exp(c)

r* is the set point of a spiking layer or of one of its channels, r its rate on the samples that
come in now (docs/method.md, "Set points at test time"). Pure functions, state in and state out, in
float64; `Regulator` puts them on a network.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import HomeostasisError, misread
from ahsar_eval.files import write_text

Vector = NDArray[np.float64]
LAYER, CHANNEL = "layer", "channel"
FORMAT = "ahsar-eval set points"


@dataclass(frozen=True)
class RegulationParams:
    """How fast and how far thresholds move. Raises `HomeostasisError` for a value outside its
    range.

    beta: step β on the difference of log rates. gamma: leak γ towards the base threshold.
    bound: |c| ≤ b, so that a threshold moves by a factor of at most exp(b). floor: rates below it
    count as it. repeats: how often the samples of an episode are shown. stream_beta: β of a stream,
    where each batch is seen once, so that about 1/β of them are averaged. tau: standard deviation
    of c that is expected of channels around their layer, and of layers around 0; a deviation of
    rates that so few samples show by chance moves thresholds less (inf: as far as any other).
    """

    beta: float = 0.3
    gamma: float = 0.0
    bound: float = 1.2
    floor: float = 1e-4
    repeats: int = 8
    stream_beta: float = 0.1
    tau: float = 0.1

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("beta", 0 < self.beta <= 2, "more than 0 and at most 2"),
            ("gamma", 0 <= self.gamma < 1, "0 or more and below 1"),
            ("bound", 0 < self.bound < math.inf, "a positive number"),
            ("floor", 0 < self.floor < 1, "a rate between 0 and 1"),
            ("repeats", 1 <= self.repeats <= 1000, "1 to 1000"),
            ("stream_beta", 0 < self.stream_beta <= 2, "more than 0 and at most 2"),
            ("tau", self.tau > 0, "a positive number, or inf"),
        ):
            if not holds:
                raise HomeostasisError(f"{name} is {getattr(self, name)}; expected {expected}")


@dataclass(frozen=True)
class SetPoint:
    """Rates of one spiking layer on data that its network knows, in spikes per neuron and step.

    `rates` [C] is the mean of each channel over samples, steps and places, `spread` [C] the
    standard deviation over samples of a sample's own; `layer_rate` and `layer_spread` are those of
    the whole layer. Channels lie along `axis` of the neurons' `shape` (of one sample and step).
    """

    rates: Vector
    spread: Vector
    layer_rate: float
    layer_spread: float
    shape: tuple[int, ...]
    axis: int = 0

    def of(self, mode: str) -> Vector:
        """Set points of what a `mode` regulates: [1] of the layer, or [C]."""
        return np.array([self.layer_rate]) if mode == LAYER else self.rates

    def seen(self, mode: str, rates: Vector) -> Vector:
        """Of the rates [C] of every channel those of what a `mode` regulates, as in `of`."""
        return rates.mean(keepdims=True) if mode == LAYER else rates

    def noise(self, mode: str, samples: float, floor: float) -> tuple[Vector, float]:
        """Variance of the log rate that a mean over so many samples has by chance: of what a `mode`
        regulates, and of the layer.
        """
        spread = np.array([self.layer_spread]) if mode == LAYER else self.spread
        channels = (spread / np.maximum(self.of(mode), floor)) ** 2 / samples
        return channels, (self.layer_spread / max(self.layer_rate, floor)) ** 2 / samples


@dataclass(frozen=True)
class SetPoints:
    """Set points of every regulated layer of one network, and where they come from.

    `network` is the identity of the checkpoint they belong to, `data` says on which samples they
    were measured ("name", "role", "n", "identity", "origin").
    """

    layers: Mapping[str, SetPoint]
    data: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        layers = {
            name: {
                **asdict(one),
                "rates": one.rates.tolist(),
                "spread": one.spread.tolist(),
                "shape": list(one.shape),
            }
            for name, one in self.layers.items()
        }
        return {
            "format": FORMAT,
            "network": self.network,
            "data": dict(self.data),
            "layers": layers,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SetPoints":
        """Inverse of `to_dict`. Raises `HomeostasisError` for what is none, or holds a rate that is
        no rate.
        """
        what = "these are no set points of ahsar-eval"
        with misread(HomeostasisError, what, "make them with ahsar-eval calibrate"):
            layers = {
                str(name): SetPoint(
                    np.array(one["rates"], np.float64),
                    np.array(one["spread"], np.float64),
                    float(one["layer_rate"]),
                    float(one["layer_spread"]),
                    tuple(map(int, one["shape"])),
                    int(one["axis"]),
                )
                for name, one in values["layers"].items()
            }
            found = cls(layers, dict(values["data"]), str(values["network"]))
        for name, one in layers.items():
            sized = one.rates.shape == one.spread.shape == one.shape[one.axis :][:1]
            numbers = [*one.rates.flat, *one.spread.flat, one.layer_rate, one.layer_spread]
            if not sized or not all(0 <= number < math.inf for number in numbers):
                raise HomeostasisError(
                    f"the set points of layer {name!r} are {one.rates.size} rates for neurons of "
                    f"shape {one.shape}, or no finite rates; make them with ahsar-eval calibrate"
                )
        return found

    def save(self, path: str | Path) -> None:
        """Write them as JSON, whole or not at all. Raises `OutputError`."""
        write_text(path, json.dumps(self.to_dict()) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "SetPoints":
        """Read what `save` wrote. Raises `HomeostasisError` that names the file."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise HomeostasisError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise HomeostasisError(
                f"{path} is no JSON; expected set points, as ahsar-eval calibrate writes them"
            ) from error
        except HomeostasisError as error:
            raise HomeostasisError(f"{path}: {error}") from error


def set_point_of(counts: Vector, places: int, shape: tuple[int, ...], axis: int) -> SetPoint:
    """The set point of a layer whose channels fired `counts` [N, C] spikes in the samples, at
    `places` each (neurons of a channel times time steps).
    """
    per_sample = counts / places
    of_layer = per_sample.mean(axis=1)
    return SetPoint(
        rates=counts.sum(axis=0) / (places * len(counts)),
        spread=per_sample.std(axis=0),
        layer_rate=float(counts.sum() / (places * counts.size)),
        layer_spread=float(of_layer.std()),
        shape=shape,
        axis=axis,
    )


def log_deviation(rates: Vector, set_points: Vector, floor: float) -> Vector:
    """log r − log r*, where a rate below the floor counts as it; same shapes."""
    deviation: Vector = np.log(np.maximum(rates, floor)) - np.log(np.maximum(set_points, floor))
    return deviation


def overall(layers: Iterable[Vector]) -> float:
    """Root mean square over layers of that over channels."""
    return float(np.sqrt(np.mean([np.mean(values**2) for values in layers])))


def regulated(
    state: Vector,
    rates: Vector,
    set_points: Vector,
    params: RegulationParams,
    noise: tuple[Vector, float] | None = None,
) -> Vector:
    """The state c after one step from `state` at these `rates`; all [C].

    `noise` is what chance adds to their logs (`SetPoint.noise`). With it c is drawn to the mean of
    its layer, and that to 0, by their variance over τ²: where the step rests, c is the most likely
    one of normal deviations by chance and normal shifts of spread τ. The draw is implicit, so that
    no noise makes the step unstable.
    """
    moved = params.beta * log_deviation(rates, set_points, params.floor) - params.gamma * state
    c = state + moved
    if noise is not None and params.tau < math.inf:
        channels, layer = noise
        pull = params.beta / params.tau**2
        mean = c.mean()
        c = mean / (1 + pull * layer) + (c - mean) / (1 + pull * channels)
    return np.clip(c, -params.bound, params.bound)


@dataclass(frozen=True)
class Regulation:
    """The state of a regulator: c of every regulated layer ([1] by layer, [C] by channel), and the
    number of steps it made.
    """

    mode: str
    state: Mapping[str, Vector]
    steps: int = 0

    @classmethod
    def at_rest(cls, mode: str, points: SetPoints) -> "Regulation":
        """Base thresholds."""
        return cls(mode, {name: np.zeros(len(p.of(mode))) for name, p in points.layers.items()})

    def after(
        self,
        rates: Mapping[str, Vector],
        points: SetPoints,
        params: RegulationParams,
        samples: float,
    ) -> "Regulation":
        """The state after one step at these rates, [C] of every channel of a layer, which are means
        over so many samples.
        """
        moved = {}
        for name, c in self.state.items():
            point = points.layers[name]
            seen, known = point.seen(self.mode, rates[name]), point.of(self.mode)
            noise = point.noise(self.mode, samples, params.floor)
            moved[name] = regulated(c, seen, known, params, noise)
        return replace(self, state=moved, steps=self.steps + 1)

    def after_batch(
        self,
        rates: Mapping[str, Vector],
        points: SetPoints,
        params: RegulationParams,
        samples: int,
    ) -> "Regulation":
        """The state after a batch of a stream: one step with its β, by which c is a mean over the
        last 2/β − 1 batches.
        """
        beta = params.stream_beta
        averaged = samples * max(1.0, 2 / beta - 1)
        return self.after(rates, points, replace(params, beta=beta), averaged)

    @property
    def factors(self) -> dict[str, Vector]:
        """Layer → exp(c), what thresholds are multiplied by."""
        return {name: np.exp(c) for name, c in self.state.items()}

    @property
    def effort(self) -> float:
        """How far thresholds have moved: the root mean square over layers of that over channels of
        c.
        """
        return overall(self.state.values())

    def at_bound(self, params: RegulationParams) -> float:
        """Fraction of regulated thresholds that have reached the bound."""
        reached = np.concatenate([np.abs(c) >= params.bound for c in self.state.values()])
        return float(reached.mean())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        state = {name: c.tolist() for name, c in self.state.items()}
        return {"mode": self.mode, "state": state, "steps": self.steps}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Regulation":
        """Inverse of `to_dict`. Raises `HomeostasisError`."""
        what = "this is no state of a regulator"
        with misread(HomeostasisError, what, "adapt again"):
            state = {str(n): np.array(c, np.float64) for n, c in values["state"].items()}
            found = cls(str(values["mode"]), state, int(values["steps"]))
        sound = all(c.ndim == 1 and np.isfinite(c).all() for c in state.values())
        if found.mode not in (LAYER, CHANNEL) or not sound:
            raise HomeostasisError(f"{what}: its mode or a number of it is none; adapt again")
        return found
