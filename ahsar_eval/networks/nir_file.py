"""A NIR file as a plain value: read with the `nir` package, from an HDF5 file that is not trusted.

HDF5 holds arrays and cannot execute, but a hostile file can point to other files, claim any size,
or contain itself; all of that is refused before anything large is read. The nodes themselves are
made by `nir`, whose reader takes types from a fixed list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ahsar_eval.errors import CheckpointError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_BYTES = 2**30
_MOST_ENTRIES = 20_000
_DEEPEST = 12
# Those HDF5 and h5py bring themselves; any other would load a plug-in.
_FILTERS = (1, 2, 3, 4, 5, 6, 32000)
_FIELDS = {
    "Input": ("shape",),
    "Output": ("shape",),
    "Conv2d": ("input_shape", "weight", "stride", "padding", "dilation", "groups", "bias"),
    "Linear": ("weight",),
    "Affine": ("weight", "bias"),
    "Scale": ("scale",),
    "Flatten": ("start_dim", "end_dim"),
    "SumPool2d": ("kernel_size", "stride", "padding"),
    "AvgPool2d": ("kernel_size", "stride", "padding"),
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
}


@dataclass(frozen=True)
class NirNode:
    """One node: its NIR type and its values by NIR's names, arrays or None where the file leaves
    one out.
    """

    kind: str
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


@dataclass(frozen=True)
class NirGraph:
    """A NIR graph without sub-graphs: nodes by name, and edges (from, to)."""

    nodes: Mapping[str, NirNode]
    edges: tuple[tuple[str, str], ...]

    @property
    def reset(self) -> str:
        """What the file says of resets: 'unsaid' where no node has `v_reset` or all are nir's
        default of zero, else 'potential'.
        """
        stored = [node.values.get("v_reset") for node in self.nodes.values()]
        potentials = [value for value in stored if value is not None]
        if not potentials:
            return "unsaid"
        return "potential" if any(map(np.any, potentials)) else "zero"


def is_nir(path: Path) -> bool:
    """Whether a file is to be read as NIR: by its first bytes, or by its name."""
    if path.suffix.lower() == ".nir":
        return True
    try:
        with open(path, "rb") as reader:
            return reader.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def read_nir(path: Path) -> NirGraph:
    """The graph of a NIR file. Raises `CheckpointError` for a file that is none, or holds what this
    package does not map.
    """
    try:
        import h5py  # type: ignore[import-untyped, unused-ignore]
        import nir  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        raise CheckpointError(
            f"{path} is a NIR file, and the package nir is not installed; pip install "
            "'ahsar-eval[nir]'"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            if "node" not in file:
                raise CheckpointError(
                    f"{path} is an HDF5 file without the group 'node'; expected a NIR graph "
                    "written by nir.write"
                )
            content = _plain(file["node"], path, h5py)
    except CheckpointError:
        raise
    # h5py raises OSError, KeyError, RuntimeError, ValueError and more for damaged files
    except Exception as error:
        reason = type(error).__name__
        raise CheckpointError(
            f"{path} is no readable NIR file: it is truncated, or of another kind ({reason}); copy "
            "it again"
        ) from None
    if not isinstance(content, dict) or content.get("type") != "NIRGraph":
        raise CheckpointError(
            f"{path} holds no NIRGraph at its top; expected a graph written by nir.write"
        )
    nodes: dict[str, NirNode] = {}
    edges: list[tuple[str, str]] = []
    _unfold(content, "", nodes, edges, path, nir)
    return NirGraph(nodes, tuple(edges))


def _plain(group: Any, path: Path, h5py: Any) -> dict[str, Any]:
    """A group as nested dictionaries of arrays and texts, within bounds and without leaving the
    file.
    """
    left = {"bytes": _MOST_BYTES, "entries": _MOST_ENTRIES}

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(f"{path} {what}; expected a plain NIR file")

    def walk(group: Any, depth: int) -> dict[str, Any]:
        if depth > _DEEPEST:
            raise refuse("holds groups nested too deeply, or inside themselves")
        found: dict[str, Any] = {}
        for name in group:
            left["entries"] -= 1
            if left["entries"] < 0:
                raise refuse(f"holds more than {_MOST_ENTRIES} entries")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise refuse(f"points elsewhere with the link {name!r}")
            if name == "metadata":
                continue
            item = group[name]
            found[name] = (
                walk(item, depth + 1) if isinstance(item, h5py.Group) else read(item, name)
            )
        return found

    def read(item: Any, name: str) -> Any:
        if not isinstance(item, h5py.Dataset):
            raise refuse(f"holds {name!r}, which is no array")
        made = item.id.get_create_plist()
        if item.external or item.is_virtual:
            raise refuse(f"keeps the values of {name!r} in another file")
        if any(made.get_filter(number)[0] not in _FILTERS for number in range(made.get_nfilters())):
            raise refuse(f"compresses {name!r} in a way that would load a plug-in")
        left["bytes"] -= item.size * item.dtype.itemsize if item.size else 0
        if left["bytes"] < 0:
            raise refuse(f"claims more than {_MOST_BYTES // 2**30} GiB of values")
        value = item[()]
        if isinstance(value, h5py.Empty):
            return None
        return value.decode("utf8") if isinstance(value, bytes) else value

    return walk(group, 0)


def _unfold(
    content: dict[str, Any],
    prefix: str,
    nodes: dict[str, NirNode],
    edges: list[tuple[str, str]],
    path: Path,
    nir: Any,
) -> None:
    """Put a graph's nodes into `nodes`, those of sub-graphs under a prefix; edges to a sub-graph go
    to its Input, from its Output.
    """
    stored, linked = content.get("nodes"), np.asarray(content.get("edges"))
    if not isinstance(stored, dict) or not stored or linked.ndim != 2 or linked.shape[1] != 2:
        raise CheckpointError(
            f"{path} lacks the nodes or the edges of a NIR graph; write it again with nir.write"
        )
    if len(linked) > _MOST_ENTRIES:
        raise CheckpointError(f"{path} has {len(linked)} edges; expected at most {_MOST_ENTRIES}")
    inside: dict[str, dict[str, str]] = {}
    for name, values in stored.items():
        kind = values.get("type") if isinstance(values, dict) else None
        mine: dict[str, NirNode] = {}
        if kind == "NIRGraph":
            _unfold(values, f"{prefix}{name}.", mine, edges, path, nir)
            ends = {
                end: [inner for inner, node in mine.items() if node.kind == end]
                for end in ("Input", "Output")
            }
            for end, found in ends.items():
                if len(found) != 1:
                    raise CheckpointError(
                        f"{path} has a sub-graph {name!r} with {len(found)} {end} nodes; expected "
                        "one of each"
                    )
            inside[name] = {end: found[0] for end, found in ends.items()}
            mine |= {inner: NirNode("Pass", {}) for inner in inside[name].values()}
        else:
            mine = {prefix + name: _node(name, kind, values, path, nir)}
        for inner in mine.keys() & nodes.keys():
            what = f"{path} has two nodes named {inner!r}"
            raise CheckpointError(f"{what}, one of them in a sub-graph; rename one")
        nodes.update(mine)
    for pair in linked:
        start, end = (
            text.decode("utf8", "replace") if isinstance(text, bytes) else str(text)
            for text in pair
        )
        for name in (start, end):
            if name not in stored:
                raise CheckpointError(
                    f"{path} has an edge {start!r} to {end!r} and no node {name!r}; it is damaged, "
                    "write it again"
                )
        first = inside[start]["Output"] if start in inside else prefix + start
        edges.append((first, inside[end]["Input"] if end in inside else prefix + end))


def _node(name: str, kind: Any, values: Any, path: Path, nir: Any) -> NirNode:
    if kind not in _FIELDS:
        raise CheckpointError(
            f"{path} has the node {name!r} of type {kind!r}, which is not mapped; known are "
            f"{', '.join(_FIELDS)}"
        )
    if kind == "Input" and "shape" not in values:  # older writers used other names, or left it out
        other = [
            value for value in values.values() if isinstance(value, np.ndarray) and value.ndim == 1
        ]
        values = {"type": kind, "shape": other[0] if other else None}
    # nir fills in zeros where the file says no reset, and works out shapes of its own from the side
    # of an image.
    said = {"v_reset": values.get("v_reset"), "input_shape": values.get("input_shape")}
    if kind == "Conv2d":
        values = {**values, "input_shape": None}
    try:
        made = nir.dict2NIRNode(dict(values))
        ends = {"shape": made.input_type["input"]} if kind in ("Input", "Output") else {}
        fields = {
            field: ends[field] if field in ends else said.get(field, getattr(made, field))
            for field in _FIELDS[kind]
        }
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise CheckpointError(
            f"{path} has a node {name!r} that is no {kind} of NIR ({reason}); write it again"
        ) from None
    for field in fields:
        if isinstance(fields[field], str | None):
            continue
        value = np.asarray(fields[field])
        if value.dtype.kind not in "iuf":
            raise CheckpointError(
                f"{path} has {field!r} of node {name!r} of type {value.dtype}; expected numbers"
            )
        if not np.isfinite(value).all():
            raise CheckpointError(
                f"{path} has a value that is not finite (NaN or Inf) in {field!r} of node "
                f"{name!r}; the training diverged; use another one"
            )
    return NirNode(kind, fields)
