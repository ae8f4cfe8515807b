"""What a pass shows between layers: where tensors come from, which functions modules call, and what
a discovery finds of both: names, shapes, windows, who else takes a pooled or normalised tensor.

Normalisations and poolings are modules or functions; additions, products, matmuls and means are
functions, recognised again by their number among all that a pass calls. What additions of spikes,
products of spikes and max poolings meet is measured (`counters.OpCounter`).
"""

import inspect
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import CodeType
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import ModelSpec, Shape, SpikingNet, is_found_neuron, is_neuron
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
    PRODUCT,
    OperatorActivity,
    Uncounted,
)
from ahsar_eval.recording.counting import AVERAGE_POOLS, each_axis, is_synapse, kind_by_value
from ahsar_eval.recording.passes import calls_of, has_batch_first, per_sample
from ahsar_eval.recording.tensors import (
    INPUT,
    Average,
    Divisor,
    Key,
    Tensors,
    divisor_of_function,
    divisor_of_module,
    key_of,
    passed_on,
)

# Torch function → the kind of operation it is.
FUNCTIONS = {
    name: kind
    for kind, names in {
        ADDITION: "add add_ sub sub_ rsub __rsub__ subtract",
        PRODUCT: "mul mul_ multiply div div_ __rdiv__ true_divide",
        MATMUL: "matmul mm bmm",
        MEAN: "mean sum",
        AVERAGE_POOL: "avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
        MAX_POOL: "max_pool1d max_pool2d max_pool3d "
        "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
    }.items()
    for name in names.split()
}
MODULES: dict[str, tuple[type[nn.Module], ...]] = {
    NORMALISATION: (
        nn.modules.batchnorm._BatchNorm,
        nn.GroupNorm,
        nn.LayerNorm,
        nn.modules.instancenorm._InstanceNorm,
    ),
    AVERAGE_POOL: AVERAGE_POOLS,
    MAX_POOL: (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd),
}
NEURON, SYNAPSE = "neuron", "synapse"  # modules with a rule that is not here
# Linear in their input: a layer with weights behind spikes can take them up.
FOLDS = (AVERAGE_POOL, MEAN, PRODUCT)
# Functions that move, copy, cut or join values and compute none; views share memory anyway.
_FREE = frozenset(
    """
    clone contiguous detach to type type_as float double half bfloat16 cpu cuda copy_
    reshape flatten permute expand expand_as broadcast_to repeat repeat_interleave tile pad
    cat concat concatenate stack hstack vstack dstack __getitem__ __setitem__ index_select gather
    take take_along_dim masked_select masked_fill masked_fill_ roll flip rot90 unfold fold
    pixel_shuffle pixel_unshuffle zeros_like ones_like empty_like full_like rand_like randn_like
    new_zeros new_ones new_empty new_full zero_ fill_ dropout dropout2d requires_grad_ __get__
    """.split()
)
# Of these, those that give the whole in another shape, whether that takes a copy or not.
_LAID_OUT = frozenset(
    "contiguous flatten reshape to unflatten view permute transpose squeeze unsqueeze".split()
)


class FunctionCalls(TorchFunctionMode):
    """Sees the functions that modules call, outside whatever is marked as inside; `handle(name,
    call, values, size, out, keywords)` is told of each.

    `values` are its arguments, those by keyword behind the others, `size` the second of them or the
    kernel size. `call` numbers calls that have a rule; with `wanted` it is told of those alone.
    """

    def __init__(self, handle: Callable[..., None], wanted: Container[int] | None = None) -> None:
        super().__init__()
        self.handle, self.wanted = handle, wanted
        self.inside = 0  # above 0 within a spiking layer, or within a hook of the recording itself
        self.call = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        name = "" if self.inside else getattr(func, "__name__", "")
        ruled = name in FUNCTIONS
        self.call += ruled
        if not name or (self.wanted is not None and not (ruled and self.call in self.wanted)):
            return func(*args, **keywords)
        # Operands as they are before the call: it may write its result into one of them. The mode
        # itself is off in here.
        values = (*args, *keywords.values())
        if ruled and name.endswith("_"):
            values = tuple(v.clone() if isinstance(v, Tensor) else v for v in values)
        out = func(*args, **keywords)
        size = keywords.get("kernel_size", args[1] if len(args) > 1 else None)
        self.handle(name, self.call, values, size, out, keywords)
        return out

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What runs in the block is not the network's."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


@dataclass(frozen=True)
class Operator:
    """An operation of the pinned structure.

    `shapes` are those of the operands that are measured, of one sample and step. `called` are the
    numbers of its function calls in a pass over all steps; a module has none. `spikes_of` is the
    spiking layer that feeds a max pooling directly.
    """

    activity: OperatorActivity
    called: tuple[int, ...] = ()
    spikes_of: str | None = None
    shapes: tuple[Shape, ...] = ()
    calls: int = 1  # in a pass of a network that loops over time itself
    batch_first: bool = False


class Place(NamedTuple):
    """Where a network does something: its name without a number, and for a function the places in
    the code, from the function to the module's call.
    """

    name: str
    code: tuple[tuple[CodeType, int], ...] = ()

    def numbered(self, number: int) -> str:
        """The name of the `number`th operation of this name, from 1."""
        if self.code:
            return f"{self.name} {number}"
        return self.name if number == 1 else f"{self.name} (use {number})"


class OpTracer:
    """Collects the operations of a discovery pass, told of every module that begins and ends."""

    def __init__(self, net: SpikingNet, samples: int, names: Mapping[nn.Module, str]) -> None:
        self.spec, self.samples, self.names, self.tensors = net.spec, samples, names, Tensors()
        self.weights = {_storage(parameter) for parameter in net.parameters()}
        self.constants = self.weights | {_storage(buffer) for buffer in net.buffers()}
        self.calls = FunctionCalls(self._function)
        self.ran: Counter[nn.Module] = Counter()  # spiking layers in one forward pass
        self.step = -1  # of the pass, in single-step mode
        # Functions by place in the code, and by turn there in a step or pass: not every step runs
        # them all.
        self.labels: dict[tuple[Place, int], str] = {}
        # Of each use; in a loop over time several are one.
        self.operators: dict[str, Operator] = {}
        self.problems: dict[str, str] = {}
        self.places: dict[str, Place] = {}
        self.products: dict[Key, str] = {}  # output of a layer with weights → its name
        self.stack: list[nn.Module] = []
        # Of a module, or of a kind of function in it, in one forward pass.
        self.uses: Counter[str | Place] = Counter()
        self.takers: dict[Key | None, set[str]] = defaultdict(set)  # tensor → who takes it
        # Average pooling, mean and product → its output, normalisation → its input.
        self.keys: dict[str, Key] = {}
        self.onward: dict[str, set[str]] = defaultdict(set)  # one of those → those of its output

    def entered(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A module's forward begins."""
        if not self.stack:
            self.step = (self.step + 1) % calls_of(self.spec)
            if self.step == 0:
                self.calls.call = 0
            self.uses.clear()
            self.ran.clear()
        kind = kind_of(module)
        if kind and inputs and isinstance(inputs[0], Tensor):
            with self.calls.paused():
                self._take(inputs[0], kind)
        self.stack.append(module)
        self.calls.inside += kind == NEURON
        self.ran[module] += kind == NEURON

    @property
    def loops(self) -> bool:
        """Whether the network is seen to call the same modules at each time step itself."""
        return max(self.ran.values(), default=0) > 1

    def left(self, module: nn.Module, x: Any, out: Any) -> None:
        """A module's forward ends, which took `x`."""
        self.stack.pop()
        kind = kind_of(module)
        self.calls.inside -= kind == NEURON
        covered = any(map(kind_of, self.stack))
        if kind in MODULES and isinstance(x, Tensor) and isinstance(out, Tensor) and not covered:
            with self.calls.paused():
                self._module(kind, module, x, out)

    def found(self, pools: Mapping[str, str]) -> tuple[list[Operator], list[Uncounted]]:
        """The operations, and what no rule counts. Averages and constant factors of spikes come
        with the layers they are folded into; none where something else takes what they would have
        made. `pools`: layer with weights → the last of these before it.
        """
        rows = self._rows()
        row_of = {use: name for name, uses in rows.items() for use in uses}
        behind = {layer: row_of.get(pool, "") for layer, pool in pools.items()}

        def into(name: str, passed: frozenset[str] = frozenset()) -> set[str]:
            """The layers with weights that take up an average or constant factor; none where
            something else takes its output.
            """
            uses, passed = rows[name], passed | {name}
            takers = [self.takers[self.keys.get(use)] for use in uses]
            if self.operators[uses[0]].activity.kind not in FOLDS:
                return set()
            if all(taken == {SYNAPSE} for taken in takers):
                return {layer for layer, row in behind.items() if row == name}
            onward = {row_of[one] for use in uses for one in self.onward[use]} - passed
            further = [into(one, passed) for one in onward]
            alone = all(len(taken) == 1 for taken in takers)
            return set().union(*further) if alone and all(further) else set()

        operators, problems = [], []
        for name, uses in rows.items():
            if uses[0] in self.problems:
                problems.append(Uncounted(name, self.problems[uses[0]]))
                continue
            operator, layers = self._joined(name, uses), into(name)
            activity = operator.activity
            activity = replace(activity, folded_into=tuple(one for one in behind if one in layers))
            if any(self.takers[self.keys.get(use)] != {NORMALISATION} for use in uses):
                activity = replace(activity, behind=None)
            operators.append(replace(operator, activity=activity))
        return operators, problems

    def _rows(self) -> dict[str, list[str]]:
        """Name → its uses in a pass, of every operation and problem in the order in which they were
        met: one row for each place, all time steps of a loop in it.
        """
        of_place: dict[Place, list[str]] = defaultdict(list)
        for use, place in self.places.items():
            if use in self.operators or use in self.problems:  # not what is of no sample
                of_place[place].append(use)
        met = {use: i for i, use in enumerate(self.places)}
        rows = [row for uses in of_place.values() for row in self._over_time(uses)]
        numbers: Counter[str] = Counter()
        named = {}
        for row in sorted(rows, key=lambda row: met[row[0]]):
            place = self.places[row[0]]
            numbers[place.name] += 1
            named[place.numbered(numbers[place.name])] = row
        return named

    def _over_time(self, uses: list[str]) -> list[list[str]]:
        """The uses of one place by row: those of a loop over time are one, or as many as a step
        has, if each is of a single step and alike. The first step may lack (sums begin there).
        """
        each, steps = [[use] for use in uses], self.spec.timesteps
        if len(uses) == 1 or calls_of(self.spec) > 1:
            return each
        if all(use in self.problems for use in uses):
            return [uses]
        of_step = max(1, len(uses) // steps)
        loops = len(uses) in (of_step * steps, steps - 1)
        if not loops or any(use in self.problems for use in uses):
            return each
        for rows in (
            [uses[i::of_step] for i in range(of_step)],
            [uses[i * steps : (i + 1) * steps] for i in range(of_step)],
        ):
            if all(len(set(map(self._facts, row))) == 1 for row in rows):
                return rows if self._facts(uses[0]).steps == 1 else each
        return each

    def _facts(self, use: str) -> OperatorActivity:
        return replace(self.operators[use].activity, name="", operand_kinds=())

    def _joined(self, name: str, uses: Sequence[str]) -> Operator:
        """The uses of a place as one operation."""
        joined = [self.operators[use] for use in uses]
        first, place = joined[0], self.places[uses[0]]
        activity = replace(first.activity, name=name, steps=sum(o.activity.steps for o in joined))
        shapes = first.shapes
        # A module's hook sees all its uses; of functions those that are measured are told apart.
        alone = sum(other == place for other in self.places.values()) == len(uses)
        if not (all(o.shapes == shapes for o in joined) if place.code else alone):
            shapes, activity = (), replace(activity, operand_kinds=())
        called = tuple(number for one in joined for number in one.called)
        return replace(first, activity=activity, called=called, shapes=shapes, calls=len(uses))

    def _take(self, x: Tensor, who: str) -> None:
        self.tensors.alive.append(x)
        self.takers[self.tensors.key(x)].add(who)

    def _module(self, kind: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        place = Place(self.names[module])
        self.uses[place.name] += 1
        first = self.uses[place.name] == 1
        name = place.numbered(self.uses[place.name])
        self.places[name] = place
        self.keys[name] = self.tensors.key(out if kind == AVERAGE_POOL else x)
        facts: dict[str, Any] = {}
        if kind == NORMALISATION:
            affine = getattr(module, "weight", None) is not None
            facts = {"behind": self.products.get(self.keys[name]), "affine": affine}
        elif kind == MAX_POOL and first:  # a second use's input is not told from the first's
            origin = self.tensors.origin(x)
            if origin is not None and origin.source != INPUT and not (origin.whole or origin.pool):
                facts = {"spikes_of": origin.source}
            else:
                facts = {"measured": kind_by_value(x) != "analog"}
        size = getattr(module, "kernel_size", None)
        self._note(name, kind, type(module).__name__, (x,), out, size=size, **facts)
        if kind == AVERAGE_POOL:
            how = partial(divisor_of_module, module)
            self._average(name, type(module).__name__, x, out, how)

    def _axes_of(self, type_name: str, x: Tensor) -> ModelSpec:
        """The specification by which axes of a tensor are read: its second axis is channels, and
        not time, where a layer or function takes no other, and in a loop over time.
        """
        images = re.search(r"(?:pool|norm)([123])d$", type_name.lower())
        channels = images is not None and x.dim() == int(images[1]) + 2
        return replace(self.spec, calls="") if self.loops or channels else self.spec

    def _average(
        self,
        name: str,
        type_name: str,
        x: Tensor,
        out: Tensor,
        divisor: Callable[[Shape, Shape], Divisor],
        gain: float = 1.0,
    ) -> None:
        """Follow averages, or the product with a constant `gain`, of what are spikes, sums of them,
        or averages of one divisor.
        """
        spec = self._axes_of(type_name, x)
        taken, given = (per_sample(one, spec, self.samples) for one in (x, out))
        earlier = self.tensors.averages.get(key_of(x))
        if taken is None or given is None or taken[0] != given[0] or not x.is_floating_point():
            return
        if earlier is None and kind_by_value(x) == "analog":
            return
        before, own = earlier or Average(1.0, ""), divisor(taken[1], given[1])
        if isinstance(before.divisor, float) or (isinstance(own, float) and taken == given):
            found = Average(before.divisor * own, name, before.gain * gain)
            self.tensors.averages[key_of(out)] = found
            self.onward[before.pool].add(name)

    def _pass_on(self, name: str, values: Sequence[Any], out: Any) -> None:
        """Follow averages of spikes through a function."""
        tensors = [x for x in _tensors(values) if x.is_floating_point()]
        known = [self.tensors.averages.get(key_of(x)) for x in tensors]
        given = per_sample(out, self.spec, self.samples) if isinstance(out, Tensor) else None
        if given is None or not any(known):
            return
        divisor = passed_on(name, [one and one.divisor for one in known], given[1])
        pools = {one.pool for one in known if one}
        gains = {one.gain for one in known if one}
        if divisor is not None and len(gains) == 1:
            self.tensors.alive.append(out)
            pool = pools.pop() if len(pools) == 1 else ""
            self.tensors.averages[key_of(out)] = Average(divisor, pool, gains.pop())

    def _function(
        self,
        name: str,
        call: int,
        values: tuple[Any, ...],
        size: Any,
        out: Any,
        keywords: Mapping[str, Any],
    ) -> None:
        if not self.stack or any(map(kind_of, self.stack)):
            return
        kind = FUNCTIONS.get(name)
        with self.calls.paused():
            self._pass_on(name, values, out)
        tensors = [value for value in values if isinstance(value, Tensor)]
        if kind in (ADDITION, PRODUCT):  # first what the other is spread over
            tensors.sort(key=Tensor.numel, reverse=True)
        moved = _given_on(name, values, out) if kind is None else None
        for value in tensors if moved is None else moved:
            self._take(value, name)
        if moved is not None:
            return
        module = self.stack[-1]
        own = f"{self.names.get(module) or type(module).__name__}: {kind or name}"
        place = Place(own, _code_of_call())
        self.uses[place] += 1
        turn = place, self.uses[place]
        if turn not in self.labels:
            number = sum(known.name == own for known, _ in self.labels) + 1
            self.labels[turn] = place.numbered(number)
        label = self.labels[turn]
        by_weights = kind == MATMUL and any(_storage(x) in self.weights for x in tensors)
        if kind is None or by_weights:
            if not list(module.parameters(recurse=False)):  # else the module itself is listed
                self.places[label] = place
                self.problems[label] = f"no rule counts the function {name}"
        elif isinstance(out, Tensor) and tensors and tensors[0].dim() > 0:
            self.places[label] = place
            size = size if "pool" in name and "adaptive" not in name else None
            self._note(label, kind, name, tensors, out, call=call, size=size)
            if kind in FOLDS:
                given = values[1 : len(values) - len(keywords)]
                with self.calls.paused():
                    self.tensors.alive.append(out)
                    self.keys[label] = self.tensors.key(out)
                    if kind == AVERAGE_POOL:
                        how = partial(divisor_of_function, name, given, keywords)
                        self._average(label, name, tensors[0], out, how)
                    elif any(self.ran.values()):  # else they are of the image
                        self._folds(label, name, values, out)

    def _folds(self, label: str, name: str, values: Sequence[Any], out: Tensor) -> None:
        """Follow a mean of spikes over axes of a sample, or their product with a constant."""
        x, *others = values
        if FUNCTIONS[name] == MEAN and name != "sum":
            self._average(label, name, x, out, lambda a, b: math.prod(a) / math.prod(b))
            return
        if not isinstance(x, Tensor) or x.numel() == 1:
            x, others = others[0], [x]
            if "div" in name:  # a constant by spikes
                return
        constant = next((self._constant(one) for one in others), None)
        if FUNCTIONS[name] == PRODUCT and constant and isinstance(x, Tensor):
            gain = 1 / constant if "div" in name else constant
            self._average(label, name, x, out, lambda a, b: 1 / gain, gain)

    def _constant(self, value: Any) -> float | None:
        """A number, or a parameter or buffer that holds one; None for what may change."""
        if isinstance(value, Tensor):
            own = value.numel() == 1 and _storage(value) in self.constants
            return float(value) if own else None
        return float(value) if isinstance(value, (int, float)) else None

    def _note(
        self,
        name: str,
        kind: str,
        type_name: str,
        tensors: Sequence[Tensor],
        out: Tensor,
        *,
        call: int | None = None,
        spikes_of: str | None = None,
        measured: bool = False,
        size: Any = None,
        **facts: Any,
    ) -> None:
        spec = self._axes_of(type_name, tensors[0])
        taken = [per_sample(x, spec, self.samples) for x in tensors]
        given = per_sample(out, spec, self.samples)
        if taken[0] is None or given is None:
            if any(self.samples in x.shape for x in tensors):
                reason = f"its tensors of shape {tuple(tensors[0].shape)} have no axis of samples"
                self.problems.setdefault(name, reason)
            return
        shape = taken[0][1]
        # A mean over time takes all steps for its one output.
        inputs, outputs = math.prod(shape) * taken[0][0] // given[0], math.prod(given[1])
        window = shape[-1] if kind == MATMUL else 1
        if size is not None:
            window = math.prod(each_axis(size, max(1, len(shape) - 1)))
        elif kind in (AVERAGE_POOL, MAX_POOL, MEAN):
            window = max(1, inputs // max(1, outputs))
        activity = OperatorActivity(
            name,
            kind,
            type_name,
            inputs,
            outputs,
            steps=given[0] * calls_of(self.spec),
            window=window,
            channels=shape[0] if kind in MODULES else 0,
            **facts,
        )
        shapes: tuple[Shape, ...] = (shape,) if measured else ()
        if kind in (ADDITION, MATMUL) and len(tensors) == 2 and taken[1] is not None:
            # Whether the work depends on the spikes that the two hold.
            kinds = tuple(map(kind_by_value, tensors))
            if kind == ADDITION:
                measured = "analog" not in kinds and taken[0] == taken[1] == given
            else:
                alike = taken[0][0] == taken[1][0] == given[0]
                in_rows = min(len(shape), len(taken[1][1])) > 1
                measured = set(kinds) != {"analog"} and alike and in_rows
            if measured:
                activity, shapes = replace(activity, operand_kinds=kinds), (shape, taken[1][1])
        batch_first = has_batch_first(tensors[0], spec, self.samples)
        called = () if call is None else (call,)
        operator = Operator(activity, called, spikes_of, shapes, batch_first=batch_first)
        earlier = self.operators.get(name, operator)
        if call is not None and calls_of(self.spec) > 1:  # as often as it ran
            numbers = tuple(dict.fromkeys((*earlier.called, call)))
            activity = replace(activity, steps=given[0] * len(numbers))
            operator = replace(operator, activity=activity, called=numbers)
        found = earlier.activity
        if found != replace(activity, operand_kinds=found.operand_kinds, steps=found.steps):
            raise RecordingError(
                f"{name} runs with other shapes at other time steps; its work cannot be counted "
                "from one of them"
            )
        if earlier.shapes and not shapes:  # spikes at other steps than this one
            activity = replace(activity, operand_kinds=found.operand_kinds)
            operator = replace(operator, activity=activity, shapes=earlier.shapes)
        self.operators[name] = operator


def kind_of(module: nn.Module) -> str:
    """The kind of a module that has a rule of its own; '' for any other."""
    if is_neuron(module) or is_found_neuron(module):
        return NEURON
    if is_synapse(module):
        return SYNAPSE
    return next((kind for kind, types in MODULES.items() if isinstance(module, types)), "")


def _code_of_call() -> tuple[tuple[CodeType, int], ...]:
    """Where a function is called: the code and place in it of every frame within its module."""
    found, frame = [], inspect.currentframe()
    while frame is not None and frame.f_code is not nn.Module._call_impl.__code__:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def _storage(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _given_on(name: str, values: Sequence[Any], out: Any) -> list[Tensor] | None:
    """The tensors among `values` whose numbers, all or some, a function without a rule gives on:
    not where it shows the whole another way, makes another tensor of its shape, or compares. None
    where it makes new numbers."""
    given = [x for x in _tensors((out,)) if x.is_floating_point()]
    taken = [_storage(value) for value in values if isinstance(value, Tensor)]
    in_place = name.endswith("_") and not name.endswith("__")
    computes = isinstance(out, Tensor) and (in_place or _storage(out) not in taken)
    if computes and given and taken and name not in _FREE:
        return None
    if not given or name in _LAID_OUT or name.startswith("new_") or name.endswith("_like"):
        return []
    whole = {(_storage(x), x.numel()) for x in given}
    return [x for x in _tensors(values) if (_storage(x), x.numel()) not in whole]


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among values, those in lists and tuples too."""
    held = [value if isinstance(value, (tuple, list)) else (value,) for value in values]
    return [x for inner in held for x in inner if isinstance(x, Tensor)]
