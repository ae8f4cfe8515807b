"""A NIR file as nodes and edges, read from an HDF5 file that is not trusted.

HDF5 holds arrays and cannot execute, but a hostile file can point to other files, claim any size,
or contain itself; all of that is refused before anything large is read. Every function raises
`ModelError`.
"""

from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from ahsar_eval.errors import ModelError
from ahsar_eval.files import table_beside

_MOST_BYTES = 2**30
_MOST_ENTRIES = 20_000
_DEEPEST = 13
# Those HDF5 and h5py bring themselves; any other would load a plug-in.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
_PADDINGS = ("same", "valid")
NODES = table_beside(__file__, "nir_nodes.toml")

Node = dict[str, Any]  # its NIR type under "type", and its values by NIR's names: arrays or texts
Graph = tuple[dict[str, Node], list[tuple[str, str]]]  # nodes by name, and edges (from, to)


def read_graph(path: Path) -> Graph:
    """The graph of a NIR file without sub-graphs: their nodes under a prefix, their ends as nodes
    of type "Pass".
    """
    try:
        with h5py.File(path, "r") as file:
            content = _plain(file, 0, {"bytes": _MOST_BYTES, "entries": _MOST_ENTRIES})
    except ModelError:
        raise
    # h5py raises OSError, KeyError, RuntimeError, ValueError and more for damaged files
    except Exception as error:
        raise ModelError(
            "it is no readable NIR file: it is truncated, or of another kind "
            f"({type(error).__name__}); copy it again"
        ) from None
    top = content.get("node")
    if not isinstance(top, dict) or str(top.get("type")) != "NIRGraph":
        raise ModelError("it holds no NIRGraph as its node; expected a graph written by nir.write")
    return _unfold(top, "")


def only(nodes: dict[str, Node], kind: str) -> str:
    """The name of the one node of a kind."""
    found = [name for name, node in nodes.items() if node["type"] == kind]
    if len(found) != 1:
        raise ModelError(f"the graph has {len(found)} {kind} nodes; expected one")
    return found[0]


def _plain(group: Any, depth: int, left: dict[str, int]) -> dict[str, Any]:
    """A group as nested dictionaries of arrays and texts, within the bounds that are `left` and
    without leaving the file.
    """
    found: dict[str, Any] = {}
    for name in group:
        left["entries"] -= 1
        link = group.get(name, getlink=True)
        _refuse(not isinstance(link, h5py.HardLink), f"points elsewhere with the link {name!r}")
        _refuse(left["entries"] < 0, f"holds more than {_MOST_ENTRIES} entries")
        item: Any = group[name]
        if name == "metadata":
            continue
        if isinstance(item, h5py.Group):
            _refuse(depth == _DEEPEST, "holds groups nested too deeply, or inside themselves")
            found[name] = _plain(item, depth + 1, left)
            continue
        _refuse(not isinstance(item, h5py.Dataset), f"holds {name!r}, which is no array")
        made = item.id.get_create_plist()
        filters = {made.get_filter(number)[0] for number in range(made.get_nfilters())}
        left["bytes"] -= (item.size or 0) * item.dtype.itemsize
        elsewhere = item.external or item.is_virtual
        _refuse(elsewhere, f"keeps the values of {name!r} in another file")
        _refuse(filters - _FILTERS, f"compresses {name!r} in a way that would load a plug-in")
        _refuse(left["bytes"] < 0, f"claims more than {_MOST_BYTES // 2**30} GiB of values")
        if item.shape is not None:  # none has an entry that is there and holds nothing
            text = h5py.check_string_dtype(item.dtype)
            found[name] = (item.asstr(errors="replace") if text else item)[()]
    return found


def _refuse(found: object, fault: str) -> None:
    if found:
        raise ModelError(f"it {fault}; expected a plain NIR file")


def _unfold(content: dict[str, Any], prefix: str) -> Graph:
    """Nodes and edges of a graph; edges to a sub-graph go to its Input, from its Output."""
    stored, linked = content.get("nodes"), np.asarray(content.get("edges"))
    if not isinstance(stored, dict) or not stored or linked.ndim != 2 or linked.shape[1] != 2:
        raise ModelError("it lacks the nodes or the edges of a graph; write it with nir.write")
    if len(linked) > _MOST_ENTRIES:
        raise ModelError(f"it has {len(linked)} edges; expected at most {_MOST_ENTRIES}")
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    ends: dict[str, tuple[str, str]] = {}  # where edges to a node lead, and where they come from
    for name, values in stored.items():
        if isinstance(values, dict) and str(values.get("type")) == "NIRGraph":
            inner, inner_edges = _unfold(values, f"{prefix}{name}.")
            ends[name] = only(inner, "Input"), only(inner, "Output")
            inner |= {end: {"type": "Pass"} for end in ends[name]}
            edges += inner_edges
        else:
            inner = {prefix + name: _checked(name, values)}
            ends[name] = prefix + name, prefix + name
        for twice in inner.keys() & nodes.keys():
            raise ModelError(f"it has two nodes named {twice!r}, one in a sub-graph; rename one")
        nodes |= inner
    for start, end in linked.astype(str).tolist():
        for name in (start, end):
            if name not in ends:
                raise ModelError(
                    f"it has an edge {start!r} to {end!r} and no node {name!r}; it is damaged, "
                    "write it again"
                )
        edges.append((ends[start][1], ends[end][0]))
    return nodes, edges


def _checked(name: str, values: Any) -> Node:
    kind = str(values.get("type")) if isinstance(values, dict) else None
    if kind not in NODES:
        raise ModelError(
            f"it has the node {name!r} of type {kind!r}, which is not mapped; known are "
            f"{', '.join(NODES)}"
        )
    if kind == "Input" and "input_type" in values:  # as older writers called it
        values["shape"] = values.pop("input_type")
    needed = set(NODES[kind]["has"])
    known = needed | {"type", *NODES[kind]["may"]}
    if not needed <= values.keys() <= known:
        odd = sorted((needed - values.keys()) | (values.keys() - known))
        raise ModelError(f"its node {name!r} is no {kind} of NIR: it lacks or adds {odd}")
    for field in values.keys() - {"type", "input_type"}:
        value = np.asarray(values[field])
        if field == "padding" and value.dtype.kind == "U" and value.item() in _PADDINGS:
            continue
        if value.dtype.kind not in "iuf":
            raise ModelError(
                f"its node {name!r} has {field!r} of type {value.dtype}; expected numbers"
            )
        if not np.isfinite(value).all():
            raise ModelError(
                f"it has a value that is not finite (NaN or Inf) in {field!r} of node {name!r}; "
                "the training diverged; use another one"
            )
    return dict(values)
