"""Recordings of networks that adapt at test time: what moves, on which samples, and in which order.

episodic: N unlabelled samples of a set (its `pool`) adapt, the others are recorded.
online: a set comes batch by batch in an order drawn by a seed; each batch is predicted and then
adapted to, or adapted to first. continual: the same, from the state that another set left.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data import Batch, Split
from ahsar_eval.data.split import shuffled
from ahsar_eval.errors import HomeostasisError, RecordingError, UsageError, misread
from ahsar_eval.files import sha256_of
from ahsar_eval.homeostasis import named_neurons
from ahsar_eval.homeostasis.regulation import (
    CHANNEL,
    LAYER,
    Regulation,
    RegulationParams,
    SetPoints,
    Vector,
)
from ahsar_eval.homeostasis.regulator import (
    Channels,
    Regulator,
    check_divisible,
    rates_of,
    samples_in,
    set_points_from,
)
from ahsar_eval.networks import SpikingNet, hooked
from ahsar_eval.networks.norms import (
    EntropyMinimiser,
    kept,
    norms_of,
    norms_state,
    of_the_batch,
    write_norms,
)
from ahsar_eval.process import freed_memory_kept, progress
from ahsar_eval.recording.activity import Recording
from ahsar_eval.recording.execution import padded_rows
from ahsar_eval.recording.passes import Pass
from ahsar_eval.recording.recorder import Done, Session, check_trace, prepared

BATCHNORM, TENT = "batchnorm", "tent"
MODES = (LAYER, CHANNEL, BATCHNORM, TENT)
EPISODIC, ONLINE, CONTINUAL = PROTOCOLS = ("episodic", "online", "continual")
PREDICT, ADAPT = ORDERS = ("predict", "adapt")
Inputs = tuple[Tensor, int]  # [T or 1, N, C, H, W], and the index of the first sample
_MOMENTUM = 0.1  # of statistics that move after a batch was predicted: torch's own
_STEPS = 10  # of entropy, in an episode


def told(modes: Iterable[str], protocol: str) -> str:
    """What adapts, and by which protocol, for the label of a network."""
    return f"{'+'.join(modes)}, {protocol}"


@dataclass(frozen=True)
class Adaptation:
    """What moves at test time (`modes`, a regulator, a comparator, or one of each), by which
    `protocol`.

    `batch` is the number of samples between two steps of a stream, `first` whether a batch is
    predicted or adapted to first, `seed` that of a stream's order, `start` the state that a stream
    begins with, which an earlier one left. Raises `UsageError` for what does not go together.
    """

    modes: tuple[str, ...]
    set_points: SetPoints | None = None
    protocol: str = EPISODIC
    batch: int = 32
    first: str = PREDICT
    seed: int = 0
    params: RegulationParams = field(default_factory=RegulationParams)
    start: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        unknown = [mode for mode in self.modes if mode not in MODES]
        if unknown or not self.modes or len(set(self.modes)) < len(self.modes):
            raise UsageError(
                f"--adapt is {'+'.join(self.modes)!r}; expected none, {', '.join(MODES)}, or a "
                "regulator and a comparator such as channel+batchnorm"
            )
        for pair in ((LAYER, CHANNEL), (BATCHNORM, TENT)):
            if set(pair) <= set(self.modes):
                raise UsageError(
                    f"--adapt {'+'.join(self.modes)} names {' and '.join(pair)}, which exclude "
                    "each other; leave one out"
                )
        if self.regulating and self.set_points is None:
            raise UsageError(
                f"--adapt {self.regulating} needs set points, the rates of the network on data "
                "that it knows; make them with ahsar-eval calibrate (--set-points)"
            )
        if self.protocol not in PROTOCOLS:
            raise UsageError(
                f"the protocol is {self.protocol!r}; expected one of {', '.join(PROTOCOLS)}"
            )
        if self.first not in ORDERS:
            raise UsageError(f"the order is {self.first!r}; expected one of {', '.join(ORDERS)}")
        if self.batch < 1:
            raise UsageError(f"the stream's batch is {self.batch}; expected at least 1")
        if self.start is not None and not self.streams:
            raise UsageError(
                "a state to begin with is of streams, and the protocol is episodic; leave it out, "
                "or choose online or continual"
            )

    @property
    def regulating(self) -> str:
        """'layer' or 'channel'; '' for comparators alone."""
        return next((mode for mode in self.modes if mode in (LAYER, CHANNEL)), "")

    @property
    def norming(self) -> str:
        """'batchnorm' or 'tent'; '' for regulators alone."""
        return next((mode for mode in self.modes if mode in (BATCHNORM, TENT)), "")

    @property
    def streams(self) -> bool:
        """Whether a set comes batch by batch."""
        return self.protocol != EPISODIC

    def told(self) -> str:
        """For the label of a network."""
        return told(self.modes, self.protocol)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; of the set points what they were measured on."""
        points = self.set_points if self.regulating else None
        stream = {"batch": self.batch, "first": self.first, "seed": self.seed}
        return {
            "modes": list(self.modes),
            "protocol": self.protocol,
            **(stream if self.streams else {}),
            "params": asdict(self.params) if self.regulating else None,
            "set_points": None if points is None else dict(points.data),
        }

    def parts(self, split: Split, start: Mapping[str, Any] | None) -> dict[str, Any]:
        """What decides how it changes a recording of `split`, JSON-ready."""
        points = self.set_points if self.regulating else None
        pool = None if split.pool is None or self.streams else split.pool.identity
        return {
            **self.to_dict(),
            "points": None if points is None else sha256_of(str(points.to_dict())),
            "pool": pool,
            "start": [sha256_of(str(state)) for state in (start, self.start) if state is not None],
        }


def check_adaptation(net: SpikingNet, adaptation: Adaptation) -> None:
    """Refuse now what the first pass would: a network without norms, or layers that the mode does
    not cover. Raises `ModelError` and `HomeostasisError`.
    """
    if adaptation.norming:
        norms_of(net.backbone, adaptation.norming)
    if adaptation.regulating == CHANNEL and adaptation.set_points is not None:
        net.reset()
        modules = dict(net.backbone.named_modules())
        for name, point in adaptation.set_points.layers.items():
            if name in modules:
                check_divisible(name, modules[name], point.shape)


def channels_of(session: Session) -> dict[str, Channels]:
    """Spiking layer → where its channels lie."""
    graph, common = session.graph, Pass(session.net.spec, 1).axes
    return {
        name: Channels(shape, graph.channel_axes[name], graph.axes.get(name, common).batch_first)
        for name, shape in graph.neurons.items()
    }


@dataclass(frozen=True)
class SampleCounts:
    """What a network did on each of N samples: `counts` layer → spikes [N, C] of each channel, and
    of how many neurons and steps each number is; `logits` [N, T, K].
    """

    counts: Mapping[str, tuple[Vector, int]]
    logits: NDArray[np.float32]

    def rates(self, members: NDArray[np.int64]) -> dict[str, Vector]:
        """Layer → rate [C] of each channel over the samples `members`."""
        found: dict[str, Vector] = rates_of(
            [{name: (spikes[members], places) for name, (spikes, places) in self.counts.items()}]
        )
        return found


def sample_counts(session: Session, split: Split) -> SampleCounts:
    """Spikes of every channel and logits of every sample of `split`, of one pass within
    `session.run` that keeps nothing else. Raises `HomeostasisError` for a network without a spiking
    layer.
    """
    layers = channels_of(session)
    if not layers:
        raise HomeostasisError("the network has no spiking layer whose rates could be measured")
    spikes: dict[str, list[Vector]] = {name: [] for name in layers}
    places: dict[str, int] = {}
    logits = []
    with Adapter(session, None, layers) as adapter:
        total = -(-len(split) // session.batch_size)
        batches = progress(split.batches(session.batch_size), f"rates on {split.name}", total)
        for batch in batches:
            counted, given = adapter.shown(batch.x, int(batch.index[0]))
            logits.append(given.transpose(0, 1).float().cpu().numpy())
            for name, (some, held) in counted.items():
                spikes[name].append(some)
                places[name] = held
    counts = {name: (np.concatenate(some), places[name]) for name, some in spikes.items() if some}
    return SampleCounts(counts, np.concatenate(logits))


@freed_memory_kept()
def measure_set_points(
    net: SpikingNet, split: Split, *, network: str = "", **how: Any
) -> SetPoints:
    """Rates of every spiking layer and channel over `split`, and their spread over samples; `how`
    are arguments of `recorder.prepared`, `network` the identity of the checkpoint. Raises
    `HomeostasisError` for a network without a spiking layer.
    """
    found, source = _alone(net, split, how, _measured), split.source
    data = {
        "name": split.name,
        "role": source.role,
        "n": len(split),
        "identity": source.identity,
        "origin": source.origin,
    }
    return replace(found, data=data, network=network)


def _alone(
    net: SpikingNet, split: Split, how: Mapping[str, Any], work: Callable[..., Done], *more: Any
) -> Done:
    """What `work(session, split, *more)` finds with a network prepared for nothing else."""
    check_trace(split, ())
    with prepared(net, split, **how) as session:
        return session.run(partial(work, session, split, *more))


def _measured(session: Session, split: Split) -> SetPoints:
    counts = sample_counts(session, split).counts
    return SetPoints(set_points_from([counts], channels_of(session)))


@freed_memory_kept()
def watch(
    net: SpikingNet,
    split: Split,
    batches: Mapping[int, Sequence[NDArray[np.int64]]],
    adaptation: Adaptation,
    **how: Any,
) -> tuple[SampleCounts, dict[int, list[Regulation]]]:
    """Counts of every sample of `split` from one pass, and where a regulator comes to that adapts
    to each of `batches` alone, from rest: lists of sets of samples, by their size. Nothing is
    recorded. `how` are arguments of `recorder.prepared`. Raises `HomeostasisError`.
    """
    return _alone(net, split, how, _watched, batches, adaptation)


def _watched(
    session: Session,
    split: Split,
    batches: Mapping[int, Sequence[NDArray[np.int64]]],
    adaptation: Adaptation,
) -> tuple[SampleCounts, dict[int, list[Regulation]]]:
    adapter = Adapter(session, adaptation, channels_of(session))
    counts = sample_counts(session, split)
    reached: dict[int, list[Regulation]] = {size: [] for size in batches}
    with adapter:
        for size, each in batches.items():
            for members in progress(each, f"effort on {split.name}, {size} at a time"):
                chunks = split.batches(session.batch_size, members)
                reached[size].append(adapter.from_rest(inputs_of(chunks)))
    return counts, reached


@freed_memory_kept()
def record_adapted(
    net: SpikingNet,
    split: Split,
    adaptation: Adaptation,
    *,
    start: Mapping[str, Any] | None = None,
    trace: Sequence[int] = (),
    **how: Any,
) -> Recording:
    """A recording of `split` by a network that adapts; `how` are arguments of `recorder.prepared`.

    In an episode it adapts to `split.pool` and stays so. `start` is the state that a recording
    before it left (`provenance["adaptation"]["state"]`). What was done stands in the provenance
    under "adaptation". The network is afterwards as it was.
    """
    check_trace(split, trace)
    if not adaptation.streams and split.pool is None:
        raise RecordingError(
            f"{split.name} has no samples to adapt to; an episode needs a pool (data.split.pooled)"
        )
    with prepared(net, split, **how) as session:
        run = _stream if adaptation.streams else _episode
        found = session.run(partial(run, session, split, adaptation, start, trace))
    return session.signed(found, split)


def _episode(
    session: Session,
    split: Split,
    adaptation: Adaptation,
    start: Mapping[str, Any] | None,
    trace: Collection[int],
) -> Recording:
    pool = split.pool
    assert pool is not None
    with Adapter(session, adaptation, channels_of(session)) as adapter:
        adapter.load(start)
        adapter.episode(inputs_of(pool.batches(session.batch_size)))
        found = session.counted(split, None, trace)
        return _signed(found, adapter, {"n": len(pool)})


def _stream(
    session: Session,
    split: Split,
    adaptation: Adaptation,
    start: Mapping[str, Any] | None,
    trace: Collection[int],
) -> Recording:
    order = shuffled(len(split), adaptation.seed)
    tally, efforts = session.tally(len(split), trace), []
    with Adapter(session, adaptation, channels_of(session)) as adapter:
        adapter.load(start or adaptation.start)
        parts = range(0, len(order), adaptation.batch)
        for begin in progress(parts, f"recording {split.name}", total=len(parts)):
            members = order[begin : begin + adaptation.batch]
            chunks = list(split.batches(session.batch_size, members))
            shown = inputs_of(chunks)
            if adaptation.first == ADAPT:
                adapter.before(shown)
            counts = []
            with hooked(tally.hooks()):
                for chunk in chunks:
                    with adapter.counting(len(chunk.y)) as taken:
                        tally.run(chunk, split.name)
                    counts += taken
            if adaptation.first == PREDICT:
                adapter.after(shown, counts)
            efforts.append(adapter.regulation.effort if adapter.regulation else None)
        found = tally.recording(split.labels)
        return _signed(found, adapter, {"n": len(split), "efforts": efforts})


def inputs_of(batches: Iterable[Batch]) -> list[Inputs]:
    """Of batches what a network is shown, kept to be shown again."""
    return [(batch.x, int(batch.index[0])) for batch in batches]


def _signed(found: Recording, adapter: "Adapter", more: Mapping[str, Any]) -> Recording:
    said = {**adapter.facts(), **more, "state": adapter.state()}
    return replace(found, provenance={**found.provenance, "adaptation": said})


class Adapter:
    """What moves, on a network while the block runs; without an `adaptation` it counts alone."""

    def __init__(
        self, session: Session, adaptation: Adaptation | None, layers: Mapping[str, Channels]
    ) -> None:
        self.session, self.adaptation = session, adaptation
        self.backbone, self.rows, self.passes = session.net.backbone, 0, 0
        self.layers, self.left_out = dict(layers), tuple[str, ...]()
        self.regulation: Regulation | None = None
        self.mode = "none" if adaptation is None else adaptation.regulating or "none"
        if adaptation is not None and self.mode != "none":
            self._check_points(adaptation)
        self.norms = {}
        if adaptation is not None and adaptation.norming:
            self.norms = norms_of(self.backbone, adaptation.norming)

    def _check_points(self, adaptation: Adaptation) -> None:
        """Regulate the layers that have set points, where these fit. Raises `HomeostasisError`."""
        points = adaptation.set_points
        assert points is not None
        if self.mode == LAYER:
            with_threshold = named_neurons(self.backbone)
            self.left_out = tuple(name for name in self.layers if name not in with_threshold)
            self.layers = {n: one for n, one in self.layers.items() if n in with_threshold}
            if not self.layers:
                raise HomeostasisError(
                    "the network has no layer with a v_threshold that --adapt layer could move; "
                    "name its neurons' threshold so"
                )
        for name, one in self.layers.items():
            known = points.layers.get(name)
            if known is None or (known.shape, known.axis) != (one.shape, one.axis):
                has = "none" if known is None else f"those of neurons of shape {known.shape}"
                raise HomeostasisError(
                    f"layer {name!r} has neurons of shape {one.shape}, and the set points hold "
                    f"{has}; make them for this network with ahsar-eval calibrate"
                )
        layers = {name: points.layers[name] for name in self.layers}
        self.points = replace(points, layers=layers)
        self.regulation = Regulation.at_rest(self.mode, self.points)

    def __enter__(self) -> "Adapter":
        self.session.net.reset()  # neurons are tried from rest
        self._stack = ExitStack()
        self.minimiser: EntropyMinimiser | None = None
        with self._stack:  # closed here, should something fail below
            if self.norms:
                self._stack.enter_context(kept(self.norms))
            self.regulator = self._stack.enter_context(
                Regulator(self.backbone, self.layers, self.mode, samples=lambda *_: self.rows)
            )
            if self.adaptation is not None and TENT in self.adaptation.modes:
                self.minimiser = EntropyMinimiser(self.backbone, self.norms)
                self._stack.callback(self.minimiser.close)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # passes

    @contextmanager
    def counting(self, samples: int) -> Iterator[list[Any]]:
        """What the spiking layers fire in a pass over so many samples; there at the block's end."""
        taken: list[Any] = []
        net = self.session.net
        self.rows = samples if net.calls.alone else padded_rows(samples)
        self.regulator.senses = True
        try:
            yield taken
            taken.append(self.regulator.taken(samples))
        finally:
            self.regulator.senses = False

    def shown(self, x: Tensor, first: int) -> tuple[Any, Tensor]:
        """Spikes of each channel and sample and logits [T, N, K], of an uncounted pass over a
        batch.
        """
        self.passes += x.shape[1]
        with self.counting(x.shape[1]) as taken:
            logits = self.session.forward(x, first)
        return taken[0], logits

    def counted(self, x: Tensor, first: int) -> Any:
        """The spikes alone."""
        return self.shown(x, first)[0]

    # steps

    def episode(self, batches: Sequence[Inputs]) -> None:
        """Adapt to these samples, shown as often as it takes."""
        assert self.adaptation is not None
        self._fit_norms(batches, steps=_STEPS)
        for _ in range(self.adaptation.params.repeats if self.regulation else 0):
            self._regulate([self.counted(x, first) for x, first in batches], Regulation.after)

    def from_rest(self, batches: Sequence[Inputs]) -> Regulation:
        """Where an episode of these samples alone brings a regulator that was at rest."""
        self.regulation = Regulation.at_rest(self.mode, self.points)
        self.regulator.write(self.regulation)
        self.episode(batches)
        return self.regulation

    def before(self, batches: Sequence[Inputs]) -> None:
        """Adapt to a batch of a stream that is predicted next."""
        self._fit_norms(batches, steps=1)
        if self.regulation is not None:
            self._regulate([self.counted(x, first) for x, first in batches])

    def after(self, batches: Sequence[Inputs], counts: Sequence[Any]) -> None:
        """Adapt to a batch of a stream that was predicted and had these spikes."""
        if self.norms:
            whole = torch.cat([x for x, _ in batches], dim=1)
            self._norm_pass(whole, momentum=_MOMENTUM, learns=self.minimiser is not None)
        if self.regulation is not None:
            self._regulate(counts)

    def _regulate(
        self, counts: Sequence[Any], step: Callable[..., Regulation] = Regulation.after_batch
    ) -> None:
        assert self.regulation is not None
        assert self.adaptation is not None
        rates, params = rates_of(counts), self.adaptation.params
        self.regulation = step(self.regulation, rates, self.points, params, samples_in(counts))
        self.regulator.write(self.regulation)

    def _fit_norms(self, batches: Sequence[Inputs], steps: int) -> None:
        """Norms with the statistics of these samples, after so many steps down their entropy, where
        that is minimised.
        """
        if self.norms:
            whole = torch.cat([x for x, _ in batches], dim=1)
            for _ in range(steps if self.minimiser else 0):
                self._norm_pass(whole, momentum=_MOMENTUM, learns=True)
            self._norm_pass(whole, momentum=None)

    def _norm_pass(self, x: Tensor, *, momentum: float | None, learns: bool = False) -> None:
        """Show a batch to the norms, which take its statistics; with a step down its entropy."""
        self.passes += x.shape[1]
        with self.session.plainly(), of_the_batch(self.norms, momentum):
            if learns and self.minimiser is not None:
                self.minimiser.step(lambda: self.session.forward(x).mean(0))
            else:
                self.session.forward(x)

    # state

    def state(self) -> dict[str, Any]:
        """Where it stands, JSON-ready: what a stream goes on from."""
        norms = {
            name: {held: value.tolist() for held, value in values.items()}
            for name, values in norms_state(self.norms).items()
        }
        return {
            "regulation": self.regulation and self.regulation.to_dict(),
            "norms": norms,
            "minimiser": self.minimiser.state() if self.minimiser else [],
        }

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a state. Raises `HomeostasisError` where it is of other modes or another
        network.
        """
        if state is None:
            return
        what = "this is no state of an adaptation of this network"
        with misread(HomeostasisError, what, "leave it out, or give the one it left"):
            if _held(state) != _held(self.state()):
                raise HomeostasisError(
                    f"{what}: it is of other modes, or of other layers; leave it out"
                )
            write_norms(self.norms, state["norms"])
            if self.minimiser is not None:
                self.minimiser.load(state["minimiser"])
            found = state["regulation"]
        if found:
            self.regulation = Regulation.from_dict(found)
            self.regulator.write(self.regulation)

    def facts(self) -> dict[str, Any]:
        """What a result says of it, JSON-ready."""
        assert self.adaptation is not None
        said: dict[str, Any] = {**self.adaptation.to_dict(), "passes": self.passes}
        if self.regulation is not None:
            said |= {
                "effort": self.regulation.effort,
                "at_bound": self.regulation.at_bound(self.adaptation.params),
                "steps": self.regulation.steps,
                "thresholds": sum(map(len, self.regulation.state.values())),
                "left_out": list(self.left_out),
            }
        return said


def _held(state: Mapping[str, Any]) -> Any:
    """What a state is of: its mode, and how many numbers of each layer and norm it has."""
    regulation = state["regulation"] or {"mode": "none", "state": {}}
    sizes = {name: len(c) for name, c in regulation["state"].items()}
    norms = {
        name: {held: len(values) for held, values in norm.items()}
        for name, norm in state["norms"].items()
    }
    return regulation["mode"], sizes, norms
