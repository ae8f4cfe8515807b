"""Weights as people save them: what a file of PyTorch or safetensors holds, read without running
anything of it, and the tensors in it that fill a network, under the names it has for them.
"""

import difflib
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ahsar_eval.errors import CheckpointError
from ahsar_eval.files import table_beside

Weights = Mapping[str, Tensor]
_DEEPEST = 4  # of records within records that are looked through
# Written by batch norms of later PyTorch, and by thop: no evaluation needs them.
_UNNEEDED = re.compile(r"(^|\.)num_batches_tracked$")
_LEFTOVERS = re.compile(r"(^|\.)total_(ops|params)$")
# Parts of names that wrappers put in: torch.compile anywhere, parallel runs anywhere, too, where a
# part of a network is wrapped.
_WRAPPED: tuple[tuple[str, ...], ...] = ((), ("_orig_mod",), ("_orig_mod", "module"))


class Unread:
    """What stands for an object that only code could make: nothing of it runs."""

    def __init__(self, *values: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    @classmethod
    def told(cls) -> str:
        """The name of the class or function that would have been needed."""
        return f"{cls.__module__}.{cls.__qualname__}"


class _UnreadRecords(Unread):
    """The same for one that takes entries, such as a `defaultdict`."""

    def __new__(cls, *values: object) -> Any:
        return {}


class _UnreadList(Unread):
    """The same for one that takes items."""

    def __new__(cls, *values: object) -> Any:
        return []


def read_file(path: Path) -> dict[Any, Any]:
    """The records of a file of `torch.save` or safetensors, with `Unread` where an object would
    have to be made by code. Raises `CheckpointError` for a damaged file, and for any other.
    """
    if path.suffix.lower() == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"it is no safetensors file ({error}); copy it again") from None
    _check_sums(path)
    try:
        content = _unpickled(path)
    except Exception as error:
        if "torchscript" in str(error).lower():
            raise CheckpointError(
                "it is a TorchScript archive, which is code; expected weights: save the "
                "state_dict() of its module"
            ) from None
        code = re.search(r"(?:GLOBAL|class|global:?)\s+([A-Za-z_][\w.]+\.[\w]+)", str(error))
        if code is not None:
            raise CheckpointError(_would_run(code[1])) from None
        raise CheckpointError(
            "it is no checkpoint: it is truncated, of another kind, or asks to run code "
            f"({type(error).__name__}); expected a file written by torch.save that holds plain "
            "tensors and numbers; copy it again"
        ) from None
    if isinstance(content, Unread):
        raise CheckpointError(_would_run(content.told()))
    if isinstance(content, (list, tuple)) and any(isinstance(one, dict) for one in content):
        content = {str(i): one for i, one in enumerate(content)}  # (state dict, epoch)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"it holds a {type(content).__name__}; expected a checkpoint of ahsar-eval or a "
            "state dict"
        )
    return content


def _would_run(code: str) -> str:
    return (
        f"it asks to run code when it is opened ({code}); it was not opened further; expected "
        "plain tensors and numbers (save a state_dict, not a module)"
    )


def _unpickled(path: Path) -> Any:
    """By PyTorch's reader of plain content, told an inert class for each name it does not know."""
    kinds: dict[str, type[Unread]] = {}
    if zipfile.is_zipfile(path):  # files of before PyTorch 1.6 hold what they hold
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        kinds = dict.fromkeys(names, Unread)
    while True:
        inert: list[Any] = []
        for name, kind in kinds.items():
            module, _, own = name.rpartition(".")
            inert.append(type(own, (kind,), {"__module__": module}))
        try:
            with torch.serialization.safe_globals(inert):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # told which one is to hold entries or items
            wanted = re.search(r"Can only (SETITEM|append|extend).*<class '([^']+)'>", str(error))
            if wanted is None or kinds.get(wanted[2]) is not Unread:
                raise
            kinds[wanted[2]] = _UnreadRecords if wanted[1] == "SETITEM" else _UnreadList


def _check_sums(path: Path) -> None:
    """Raise `CheckpointError` where a part of a file is not what its checksum says."""
    if not zipfile.is_zipfile(path):
        return
    damaged = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            for name in members:
                try:
                    with archive.open(name) as member:
                        while member.read(1 << 20):
                            pass
                except zipfile.BadZipFile:
                    damaged.append(name)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"it is a damaged archive ({error}); copy it again") from None
    # PyTorch can be told to write none, which are then wrong everywhere.
    if damaged and len(damaged) < len(members):
        raise CheckpointError(
            f"it is damaged: {damaged[0]!r} in it is not what its checksum says; copy it again"
        )


def tensors_of(named: Mapping[Any, Any]) -> dict[str, Tensor]:
    """`named`, all of it weights. Raises `CheckpointError` for what is no tensor, and for tensors
    that cannot be evaluated: sparse, quantised, without values, of less than 16 bits.
    """
    for name, value in named.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"it holds {name!r} of type {type(value).__name__} among its weights; expected "
                "tensors by name"
            )
        if (odd := _odd_kind(value)) is not None:
            raise CheckpointError(
                f"it holds {name!r} as a {odd} tensor; expected dense numbers of 16 to 64 bits; "
                "convert it and save again"
            )
    if not named:
        raise CheckpointError("it holds no weights")
    return dict(named)


def _odd_kind(x: Tensor) -> str | None:
    kind = str(x.dtype).removeprefix("torch.")
    if x.is_quantized or x.is_complex():
        return kind
    if x.layout is not torch.strided or x.is_nested:
        return "nested" if x.is_nested else str(x.layout).removeprefix("torch.")
    if x.device.type == "meta":
        return "meta (without values)"
    small = x.dtype.is_floating_point and x.element_size() < 2
    return kind if small or kind.startswith(("bits", "uint1b")) else None


def unread_in(content: Any, place: str = "", deeper: int = _DEEPEST) -> Iterator[tuple[str, str]]:
    """Where objects stood that were not made, and which class or function each asked for."""
    if isinstance(content, Unread):
        yield place, content.told()
    elif isinstance(content, (Mapping, list, tuple)) and deeper:
        inner = content.items() if isinstance(content, Mapping) else enumerate(content)
        for name, value in inner:
            yield from unread_in(value, f"{place}.{name}".removeprefix("."), deeper - 1)


@dataclass(frozen=True)
class Found:
    """Tensors by name in a file: under which `key` they stand in it; '' is the file itself."""

    key: str
    weights: Weights


def found_in(content: Mapping[Any, Any]) -> list[Found]:
    """Every set of tensors by name in a file's records, outer before inner. Raises
    `CheckpointError` where there is none.
    """
    sets = list(_found(content, "", _DEEPEST))
    if not sets:
        objects = [f"{place} is a {kind}" for place, kind in unread_in(content)]
        told = f" ({', '.join(objects[:3])}; save the state_dict() of a module, not the module)"
        raise CheckpointError(f"it holds no weights{told if objects else ''}")
    return sets


def _found(content: Mapping[Any, Any], key: str, deeper: int) -> Iterator[Found]:
    named = {name: x for name, x in content.items() if isinstance(name, str)}
    weights = {name: x for name, x in named.items() if isinstance(x, Tensor)}
    if weights:
        yield Found(key, weights)
    for name, value in named.items():
        if isinstance(value, (list, tuple)):
            value = {str(i): inner for i, inner in enumerate(value) if isinstance(inner, Mapping)}
        if isinstance(value, Mapping) and deeper:
            yield from _found(value, f"{key}.{name}".removeprefix("."), deeper - 1)


@dataclass(frozen=True)
class Fitted:
    """Weights under a network's names: the `key` under which they stood, with what stood before
    their names, and what was `done` to names and left aside.
    """

    found: Found
    key: str
    weights: dict[str, Tensor]
    done: tuple[str, ...]


def fitted(sets: Sequence[Found], network: Weights, key: str | None = None) -> Fitted:
    """Of the tensors of a file those that fill `network`, which is given as its own state dict.

    What wrappers put before or into names goes where that makes all of them fit; missing counts of
    batches and left sums of thop do no harm. `key` names a set, with or without what stands before
    its names, where several fit. Raises `CheckpointError` where none does, with the nearest names
    of both, or several do.
    """
    fits = [fit for one in sets for fit in _fits(one, network)]
    if key is not None:
        fits = [fit for fit in fits if key in (fit.key, fit.found.key)]
        named = [one for one in sets if one.key == key]
        if not fits and not named:
            known = ", ".join(repr(one.key) for one in sets)
            raise CheckpointError(f"it holds no weights under {key!r}; it does under {known}")
        sets = named or sets
    if not fits:
        raise CheckpointError(f"{_misfit(sets, network)}; is it another network's?")
    for fit in fits[1:]:
        if any(not torch.equal(fit.weights[name], x) for name, x in fits[0].weights.items()):
            keys = " and ".join(dict.fromkeys(repr(one.key) for one in fits))
            raise CheckpointError(
                f"it holds several weights that fit the network, under {keys}; choose with --key"
            )
    return replace(fits[0], weights={**network, **tensors_of(fits[0].weights)})


def _fits(found: Found, network: Weights) -> Iterator[Fitted]:
    """Every way in which a set fills the network, the one with fewest changes first."""
    needed = [name for name in network if not _UNNEEDED.search(name)]
    seen: list[set[int]] = []  # the same tensors by other ways are no other weights
    for wrapped in _WRAPPED:
        named = {_without(name, wrapped): name for name in found.weights}
        for before, after in _ends(named, needed):
            taken = {
                f"{after}{name.removeprefix(before)}": found.weights[own]
                for name, own in named.items()
                if name.startswith(before) and not _LEFTOVERS.search(name)
            }
            tensors = {id(x) for x in taken.values()}
            whole = all(n in taken and taken[n].shape == network[n].shape for n in needed)
            if not whole or set(taken) - set(network) or tensors in seen:
                continue
            seen.append(tensors)
            parts = [part for part in wrapped if any(part in n.split(".") for n in found.weights)]
            gone = [f"{part}." for part in parts] + [before] * bool(before)
            done = [f"the names of its tensors are read without {one!r}" for one in gone]
            if after:
                done.append(f"the names of its tensors are read with {after!r} before them")
            if left := [own for name, own in named.items() if not name.startswith(before)]:
                more = ", …" if len(left) > 3 else ""
                done.append(f"tensors left aside: {', '.join(left[:3])}{more} ({len(left)})")
            key = ".".join(filter(None, (found.key, before.rstrip("."))))
            yield Fitted(found, key, taken, tuple(done))


def unwrapped(weights: Weights) -> dict[str, Tensor]:
    """Under names without what torch.compile and parallel training put into them."""
    return {_without(name, _WRAPPED[-1]): x for name, x in weights.items()}


def _without(name: str, parts: tuple[str, ...]) -> str:
    return ".".join(part for part in name.split(".") if part not in parts)


def _ends(names: Iterable[str], needed: list[str]) -> Iterator[tuple[str, str]]:
    """What may stand before the names in a file, or before those of a network, and not before the
    others'.
    """
    first = next(iter(needed), "")
    yield "", ""
    yield from ((name[: -len(first)], "") for name in names if name.endswith(f".{first}"))
    for dot in re.finditer(r"\.", first):
        if all(name.startswith(first[: dot.end()]) for name in needed):
            yield "", first[: dot.end()]


def _misfit(sets: Iterable[Found], network: Weights) -> str:
    """Why the set that comes nearest does not fill a network, with the nearest names of both."""
    tries: list[tuple[int, dict[str, Tensor]]] = []
    for one in sets:
        for before, after in _ends(one.weights, list(network)):
            names = {f"{after}{name.removeprefix(before)}": x for name, x in one.weights.items()}
            tries.append((len(names.keys() & network.keys()), names))
    taken = max(tries, key=lambda tried: tried[0])[1]
    lacks = [name for name in network if name not in taken and not _UNNEEDED.search(name)]
    extra = [name for name in taken if name not in network and not _LEFTOVERS.search(name)]
    for name, x in taken.items():
        if name in network and x.shape != network[name].shape:
            return (
                f"{name} has the shape {tuple(x.shape)} in it and {tuple(network[name].shape)} in "
                "the network"
            )
    told = []
    for own, others, text in (
        (lacks, extra or [*taken], "it lacks {} of the network's ({})"),
        (extra, lacks or [*network], "it has {} that the network lacks ({})"),
    ):
        if own:
            near = difflib.get_close_matches(own[0], others, 1, 0.5)
            nearest = f"{own[0]}, nearest to it {near[0]}" if near else own[0]
            told.append(text.format(len(own), nearest))
    return "; ".join(told)


def from_rate_bp(backbone: str, sets: Sequence[Found]) -> list[Found]:
    """State dicts of the public rate-based-backpropagation code under the names of our `backbone`
    (rate_bp_keys.toml); other sets of a file are left.

    Their VGG-13 gives every convolution a bias; since batch norm follows, (x + b − μ) =
    (x − (μ − b)), the bias moves into the running mean, exact but for rounding.
    """
    layouts: dict[str, dict[str, str]] = table_beside(__file__, "rate_bp_keys.toml")
    if backbone not in layouts:
        raise CheckpointError(
            f"the layout rate-bp is known for {', '.join(layouts)}, and the backbone is "
            f"{backbone!r}; choose one with --backbone"
        )
    layout, read, unknown = layouts[backbone], [], ""
    for found in sets:
        taken: dict[str, Tensor] = {}
        for name, tensor in unwrapped(found.weights).items():
            module, _, leaf = name.rpartition(".")
            if module not in layout:
                unknown = unknown or name
                break
            taken[f"{layout[module]}.{leaf}"] = tensor
        else:
            read.append(replace(found, weights=_without_biases(taken)))
    if not read:
        raise CheckpointError(
            f"it has {unknown}, which a {backbone} of the layout rate-bp lacks; is it another "
            "network's?"
        )
    return read


def _without_biases(taken: dict[str, Tensor]) -> dict[str, Tensor]:
    """Biases of convolutions moved into the batch norms behind them."""
    for name in [name for name in taken if ".conv" in name and name.endswith(".bias")]:
        bias, mean = taken.pop(name), name.replace(".conv", ".bn").replace("bias", "running_mean")
        if mean not in taken or taken[mean].shape != bias.shape:
            raise CheckpointError(
                f"it has a bias {name} of shape {tuple(bias.shape)}, which the batch norm behind "
                "it does not fit; is it another network's?"
            )
        taken[mean] = taken[mean] - bias
    return taken
