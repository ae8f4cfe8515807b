"""Recordings made by hand from drawn values, and what each counter gives for them, call by call
from the values themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    Seen,
    SynapseActivity,
)
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
    PRODUCT,
)

Values = NDArray[np.float64]  # [T, N, elements]
ALPHABETS = {
    "spikes": (0, 0, 1),
    "pooled spikes": (0, 0, 0.25, 1),
    "integer spikes": (0, 0, 1, 1, 2),
    "analog": (0, 0, 1, -1, 0.75),
}


def seen_of(
    values: Values, calls: int, reach: NDArray[np.int64], live: NDArray[np.int64] | None = None
) -> Seen:
    """Measured as the recorder would: `calls` columns."""
    steps, samples, elements = values.shape
    per_call = values.reshape(calls, steps // calls, samples, elements).transpose(
        2, 0, 1, 3
    )  # [N, C, S, E]
    flat = per_call.reshape(samples, calls, -1)
    low, high = flat.min(2), flat.max(2)
    return Seen(
        elements=steps * elements,
        nonzero=(flat != 0).sum(2),
        fan_out_ops=((per_call != 0) * reach).sum((2, 3)),
        total=flat.sum(2),
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        two_valued=((flat == low[:, :, None]) | (flat == high[:, :, None])).all(2),
        signed=np.asarray(np.isin(flat, (-1, 0, 1)).all(2)),
        whole=((flat >= 0) & (flat == np.rint(flat))).all(2),
        nonzero_fan_out_ops=None if live is None else ((per_call != 0) * live).sum((2, 3)),
    )


@dataclass
class Weights:
    """A layer with weights, the values it receives, and its exact fan-out."""

    name: str
    kind: str
    type: str
    values: Values
    reach: NDArray[np.int64]
    live: NDArray[np.int64]
    padded: int
    bias: bool
    static: bool
    folded: NDArray[np.int64]  # [N] SynOps of pooled spikes through the pooling
    geometry: Geometry


@dataclass
class Made:
    """A run: `recording`, and the values behind it. `draw` decides everything."""

    seed: int
    samples: int
    steps: int
    step_mode: str
    weights: list[Weights] = field(default_factory=list)
    operands: dict[str, tuple[Values, ...]] = field(default_factory=dict)
    operators: list[OperatorActivity] = field(default_factory=list)
    layers: list[LayerActivity] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = np.random.default_rng(self.seed)
        self.calls = 1 if self.step_mode == "m" else self.steps
        self._neurons()
        for number, kind in enumerate(("analog", "analog", *ALPHABETS, "spikes")):
            type_name = ("Conv1d", "Linear", "ConvTranspose1d")[
                int(self.draw.integers(3 if number else 2))
            ]
            self.weights.append(self._layer(f"layer{number}", kind, type_name, static=number == 0))
        self._operators()
        self.recording = self._recording()

    def _values(self, kind: str, elements: int) -> Values:
        values: Values = self.draw.choice(
            ALPHABETS[kind], size=(self.steps, self.samples, elements)
        ).astype(float)
        # Some calls hold nothing, or nothing but spikes.
        quiet = self.draw.random((self.steps, self.samples, 1)) < 0.3
        values = np.where(quiet, 0.0, values)
        plain = self.draw.random((self.steps, self.samples, 1)) < 0.4
        return np.where(plain, (values > 0).astype(float), values)

    def _neurons(self) -> None:
        for number in range(3):
            spikes = self.draw.integers(0, 7, self.samples)
            model = NeuronModel(
                ("LIFNode", "IFNode", "Odd")[number],
                leaky=number == 0,
                reset="subtract",
                known=number < 2,
                framework_additions=tuple(int(value) for value in self.draw.integers(0, 7, 3)),  # type: ignore[arg-type]
            )
            silent = self.draw.integers(0, self.steps + 1, self.samples)
            self.layers.append(
                LayerActivity(f"lif{number}", (5,), spikes, np.zeros(5), model, silent)
            )

    def _layer(self, name: str, kind: str, type_name: str, *, static: bool) -> Weights:
        outputs_of_group, bias = int(self.draw.integers(1, 4)), bool(self.draw.integers(2))
        shape: tuple[int, ...]
        outputs: tuple[int, ...]
        kernel: tuple[int, ...]
        weights: tuple[int, ...]
        if type_name == "Linear":
            shape, outputs, kernel, groups = (4,), (outputs_of_group,), (), 1
            reach = np.full(4, outputs_of_group)
            padded, weights = int(reach.sum()), (outputs_of_group, 4)
        else:
            # Two channels of three positions, kernel 3, padding 1: borders reach two positions, the
            # middle three.
            groups = int(self.draw.integers(1, 3))
            shape, kernel = (2, 3), (3,)
            outputs = (outputs_of_group * groups, 3)
            reach = np.array([2, 3, 2] * 2) * outputs_of_group
            padded, weights = 3 * 3 * 2 * outputs_of_group, (2, outputs_of_group, 3)
        values = self._values(kind, len(reach))
        if static:
            values = np.repeat(values[:1], self.steps, 0)
        live = reach - self.draw.integers(0, 2, len(reach))
        return Weights(
            name,
            kind,
            type_name,
            values,
            reach,
            live,
            padded,
            bias,
            static,
            folded=self.draw.integers(0, 50, self.samples),
            geometry=Geometry(
                type_name,
                shape,
                outputs,
                weights,
                kernel,
                (1,) if kernel else (),
                groups,
                type_name == "ConvTranspose1d",
                bias,
                padded,
            ),
        )

    def _operators(self) -> None:
        def operator(
            name: str, kind: str, type_name: str, inputs: int, outputs: int, **options: Any
        ) -> None:
            self.operators.append(
                OperatorActivity(
                    *(name, kind, type_name, inputs, outputs, self.steps),
                    calls=self.calls,
                    **options,
                )
            )

        operator("bn", NORMALISATION, "BatchNorm2d", 12, 12, channels=3, affine=True)
        operator("plain_bn", NORMALISATION, "BatchNorm1d", 6, 6, channels=2)
        operator("norm", NORMALISATION, "LayerNorm", 6, 6, channels=2, affine=True)
        operator("average", AVERAGE_POOL, "AvgPool2d", 16, 4, window=4, channels=1)
        operator("to_one", AVERAGE_POOL, "AdaptiveAvgPool2d", 16, 2, window=8, channels=2)
        operator("to_four", AVERAGE_POOL, "AdaptiveAvgPool2d", 16, 8, window=2, channels=2)
        operator("volume", AVERAGE_POOL, "AvgPool3d", 16, 2, window=8, channels=2)
        operator("analog_max", MAX_POOL, "MaxPool2d", 16, 4, window=4, channels=1)
        operator("mean", MEAN, "mean", 9, 3, window=3)
        operator("analog_add", ADDITION, "add", 7, 7)
        operator("scale", PRODUCT, "mul", 7, 7)
        self.operands["spiking_max"] = (
            self._values(("spikes", "analog")[int(self.draw.integers(2))], 4),
        )
        self.operands["add"] = (
            self._values("spikes", 4),
            self._values(("spikes", "integer spikes")[int(self.draw.integers(2))], 4),
        )
        for number, kinds in enumerate(
            (
                ("spikes", "spikes"),
                ("spikes", "analog"),
                ("integer spikes", "spikes"),
                ("integer spikes",) * 2,
            )
        ):
            self.operands[f"matmul{number}"] = tuple(
                self._values(kind, 4) for kind in kinds
            )  # two 2×2 matrices
        one, two = np.ones(4, dtype=np.int64), np.full(4, 2)
        for name, operands in self.operands.items():
            reach = two if name.startswith("matmul") else one * 0
            seen = tuple(seen_of(values, self.calls, reach) for values in operands)
            seen_kinds = tuple(
                "spikes"
                if each.binary.all()
                else "integer spikes"
                if each.whole.all()
                else "analog"
                for each in seen
            )
            kind = MATMUL if name.startswith("matmul") else ADDITION if name == "add" else MAX_POOL
            met = None
            if kind == MATMUL:
                products = np.matmul(
                    *(values.reshape(self.steps, self.samples, 2, 2) for values in operands)
                ).sum((2, 3))  # [T, N]
                met = products.reshape(self.calls, -1, self.samples).sum(1).T.astype(np.int64)
                met = np.where(seen[0].binary & seen[1].binary, met, 0)
            operator(
                name, kind, "matmul" if kind == MATMUL else "add" if kind == ADDITION else "MaxPool1d", 4, 2 if kind == MAX_POOL else 4,
                window=2 if kind != ADDITION else 1, operand_kinds=seen_kinds, operands=seen, coincidences=met,
            )  # fmt: skip

    def _recording(self) -> Recording:
        synapses = []
        for layer in self.weights:
            weighted = np.abs(np.rint(layer.values)) * layer.reach
            charged = 1 if layer.static else self.steps
            operations = {
                "analog": ((layer.values[:charged] != 0) * layer.reach).sum((0, 2)),
                "pooled spikes": layer.folded,
            }.get(layer.kind, weighted.sum((0, 2)).astype(np.int64))
            alike = layer.static or layer.kind == "spikes"
            synapses.append(
                SynapseActivity(
                    layer.name,
                    layer.kind,
                    "lif0"
                    if layer.kind == "pooled spikes"
                    else "input"
                    if layer.static
                    else "measured",
                    operations.astype(np.int64),
                    int(layer.reach.sum()),
                    charged,
                    layer.geometry,
                    seen_of(layer.values, 1 if alike else self.calls, layer.reach, layer.live),
                    calls=self.calls,
                )
            )
        return Recording(
            split={"name": "made"},
            spec={"timesteps": self.steps, "step_mode": self.step_mode},
            thresholds={},
            logits=np.zeros((self.samples, self.steps, 2), dtype=np.float32),
            labels=np.zeros(self.samples, dtype=np.int64),
            layers=tuple(self.layers),
            synapses=tuple(synapses),
            operators=tuple(self.operators),
        )

    def each_call(self, values: Values, batch_size: int) -> Iterator[Values]:
        """The tensors [S, n, elements] that a layer is called with."""
        for start in range(0, self.samples, batch_size):
            for call in np.split(values, self.calls):
                yield call[:, start : start + batch_size]

    def batch_sizes(self, batch_size: int) -> list[int]:
        return [
            min(batch_size, self.samples - start) for start in range(0, self.samples, batch_size)
        ]


def is_binary(call: Values) -> bool:
    return bool(np.isin(call, (0, 1)).all())


def neurobench(made: Made, batch_size: int) -> tuple[int, int]:
    macs = acs = 0
    for layer in made.weights:
        if layer.type == "ConvTranspose1d":
            continue
        for call in made.each_call(layer.values, batch_size):
            used = int(((call != 0) * layer.live).sum())
            spiking = bool(np.isin(call, (-1, 0, 1)).all())
            macs, acs = (macs, acs + used) if spiking else (macs + used, acs)
    return macs, acs


def spikingjelly(made: Made, batch_size: int) -> tuple[int, int, int]:
    macs = acs = 0
    for layer in made.weights:
        for call in made.each_call(layer.values, batch_size):
            if is_binary(call):
                acs += int(((call != 0) * layer.reach).sum())
            else:
                macs += layer.padded * call.shape[0] * call.shape[1]
    for name in (name for name in made.operands if name.startswith("matmul")):
        for left, right in zip(
            *(made.each_call(values, batch_size) for values in made.operands[name]), strict=True
        ):
            if is_binary(left) and is_binary(right):
                acs += int(np.matmul(left.reshape(-1, 2, 2), right.reshape(-1, 2, 2)).sum())
            elif is_binary(left) or is_binary(right):
                acs += 2 * int(((left if is_binary(left) else right) != 0).sum())
            else:
                macs += 8 * left.shape[0] * left.shape[1]
    first = made.weights[0].geometry
    synops, both, calls = (
        acs,
        made.samples * made.steps,
        made.calls * len(made.batch_sizes(batch_size)),
    )
    macs += 12 * both  # the affine batch norm
    acs += 12 * both + 3 * calls + 6 * both + 2 * calls
    acs += (4 * 3 + 14) * both  # average pooling, and the one to a single cell
    acs += 6 * both + 7 * both  # mean, addition of analog values
    if first.bias and first.type == "Linear" and made.step_mode == "m" and made.steps > 1:
        acs += (
            first.outputs[0] * both
        )  # the image repeated over time is a view: the bias is a call of its own
    for left, right in zip(
        *(made.each_call(values, batch_size) for values in made.operands["add"]), strict=True
    ):
        acs += (
            int((left != 0).sum() + (right != 0).sum())
            if is_binary(left) and is_binary(right)
            else left.size
        )
    for spiking in made.layers:
        assert spiking.model is not None
        assert spiking.silent_steps is not None
        for start, size in zip(
            range(0, made.samples, batch_size), made.batch_sizes(batch_size), strict=True
        ):
            silent = int(spiking.silent_steps[start : start + batch_size].min())
            states = (
                [0] * silent + [1] * (silent < made.steps) + [2] * max(0, made.steps - silent - 1)
            )
            acs += (
                size
                * spiking.neurons
                * sum(spiking.model.framework_additions[state] for state in states)
            )
    return macs, acs, synops


def syops(made: Made, batch_size: int) -> tuple[Fraction, Fraction]:
    macs = acs = Fraction(0)

    def add(call: Values, operations: int) -> None:
        nonlocal macs, acs
        if len(np.unique(call)) <= 2 and call.min() >= 0 and call.max() <= 1:
            acs += operations * Fraction(float(call.sum())) / call.size
        else:
            macs += operations

    for layer in made.weights:
        shape = layer.geometry
        for call in made.each_call(layer.values, batch_size):
            rows = call.shape[0] * call.shape[1]
            if shape.kernel:
                add(
                    call,
                    (
                        3 * 2 * (shape.outputs[0] // shape.groups) * 3
                        + layer.bias * shape.outputs[0] * 3
                    )
                    * rows,
                )
            else:
                add(call, call.size * shape.outputs[0] + layer.bias * shape.outputs[0])
    for call in made.each_call(made.operands["spiking_max"][0], batch_size):
        add(call, call.size)
    both = made.samples * made.steps
    macs += (4 * 16 + 16) * both  # average poolings, the max pooling of analog values
    macs += (2 * 12 + 6) * both
    return macs + 5 * both, acs + 2 * 5 * both  # a leaky spiking layer, one that is not


def rate_flops(made: Made) -> tuple[int, Fraction]:
    macs, acs = 0, Fraction(0)
    for layer in made.weights:
        if layer.kind == "analog":
            macs += layer.padded * made.samples * (1 if layer.static else made.steps)
        elif layer.kind == "pooled spikes":
            acs += Fraction(int(made.layers[0].spikes.sum()), 5) * layer.padded
        else:
            acs += Fraction(float(layer.values.sum())) / len(layer.reach) * layer.padded
    return macs, acs


def hub(made: Made) -> tuple[int, int]:
    macs = acs = 0
    for layer in made.weights:
        dense = int(layer.reach.sum())
        if layer.kind == "analog":
            macs += dense * made.samples * (1 if layer.static else made.steps)
        else:
            acs += (
                int(layer.folded.sum())
                if layer.kind == "pooled spikes"
                else int((layer.values * layer.reach).sum())
            )
    for name in (name for name in made.operands if name.startswith("matmul")):
        left, right = made.operands[name]
        if is_binary(left) and is_binary(right):
            acs += int(np.matmul(left.reshape(-1, 2, 2), right.reshape(-1, 2, 2)).sum())
        elif is_binary(left) or is_binary(right):
            acs += 2 * int(((left if is_binary(left) else right) != 0).sum())
        else:
            macs += 8 * made.samples * made.steps
    return macs, acs


@pytest.fixture(scope="session")
def handmade() -> SimpleNamespace:
    """What this file holds: `Made` runs, `seen_of` values, and what each counter gives for a run by
    the loops above.
    """
    return SimpleNamespace(**globals())
