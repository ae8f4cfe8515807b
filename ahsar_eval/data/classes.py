"""Whether the labels of a set are those of a network: by the names of the classes where both sides
have names, by number where one has none (docs/data.md).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.split import Split
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of

_SHOWN = 4


@dataclass(frozen=True)
class Classes:
    """The `count` classes that a network, `who`, tells apart: what they mean (None where it does
    not say) and their names, which may be none.
    """

    who: str
    count: int
    space: str | None = None
    names: tuple[str, ...] = ()


def in_classes_of(split: Split, network: Classes, match: bool = False) -> Split:
    """`split` with the labels of `network`, and with a remark where that takes more than equal
    names. With `match` the user says that class i is class i.

    The same names in another order, or some of them, are put in the network's order. Where names
    differ the labels count as not preserved: there is no accuracy. Where one side has no names,
    labels are class numbers. Raises `DataError` for numbers beyond the classes.
    """
    source = split.source
    if not (source.labels >= 0).any():
        return split
    own = _names(source.label_space, source.classes)
    theirs = _names(network.space, network.names)
    numbers = _numbers(own) if _is_folder(source.label_space) else None
    if match:  # of folders called by numbers these are meant, where some are missing
        within = numbers if numbers and max(numbers) < network.count else None
        return _numbered(split, network, within, "class i is class i (--labels-match)")
    if source.label_space == network.space:
        return _numbered(split, network, None, "")
    if own is not None and theirs is not None:
        if (order := _by_name(own, theirs)) is not None:
            return _by_order(split, network, own, order)
        if numbers is not None and not _is_folder(network.space):
            return _numbered(split, network, numbers, _FOLDERS.format(network.who))
        counted = _is_folder(network.space) and theirs == [*map(str, range(len(theirs)))]
        if not counted or _is_folder(source.label_space):
            return _differing(split, network)
    if own is None or theirs is not None:
        labels = source.labels[source.labels >= 0]
        side = "the set names none" if own is None else f"{network.who} names none"
        side = "neither side names any" if own is None and theirs is None else side
        said = (
            f"labels {labels.min()} to {labels.max()} are taken as numbers of the classes of "
            f"{network.who}, for {side}"
        )
        return _numbered(split, network, None, said)
    if numbers is not None:
        return _numbered(split, network, numbers, _FOLDERS.format(network.who))
    if len(own) != network.count:
        raise DataError(
            f"{network.who} tells {network.count} classes apart and {split.name} has {len(own)}; "
            "choose the set it was trained on, or say with --labels-match that class i is class i"
        )
    listed = _listed([f"{i} {name}" for i, name in enumerate(own)])
    said = f"its classes are taken as class numbers of {network.who}, which has no names: {listed}"
    return _numbered(split, network, None, said)


_FOLDERS = "the names of its folders are taken as class numbers of {}"


def beside(split: Split, id_split: Split, network: Classes, match: bool = False) -> Split:
    """A set beside the ID set, `id_split` as `in_classes_of` gave it, with labels of the same
    meaning where names say that it has them, or where it holds the ID set's classes.
    """
    id_set, source = id_split.source, split.source
    if source.label_space == id_set.label_space:
        found = in_classes_of(split, network, match)
        kept = found.labels_preserved and id_split.labels_preserved
        return replace(found, labels_preserved=kept)
    theirs = _names(network.space, network.names)
    reference = (
        network
        if theirs is not None
        else Classes(id_set.name, len(id_set.classes), id_set.label_space, id_set.classes)
    )
    own, names = _names(source.label_space, source.classes), theirs
    if names is None:
        names = _names(id_set.label_space, id_set.classes)
    if not own or names is None or (order := _by_name(own, names)) is None:
        return split if id_split.labels_preserved else replace(split, labels_preserved=False)
    found = _by_order(split, reference, own, order)
    same = replace(found.source, label_space=id_set.label_space, classes=id_set.classes)
    return replace(found, source=same)


def _names(space: str | None, classes: Sequence[str]) -> list[str] | None:
    """Names of classes; None where a set has numbers in their place, or nobody says what the
    classes mean.
    """
    if space is None or (_kind(space) in ("npz", "given") and _numbers(classes) is not None):
        return None
    return [str(name) for name in classes]


def _kind(space: str | None) -> str:
    return str(space).partition(":")[0]


def _is_folder(space: str | None) -> bool:
    """Whether names of folders are all that is known of the classes."""
    return _kind(space) in ("folder", "events")


def _numbers(names: Sequence[str] | None) -> list[int] | None:
    """The numbers that all names are, each another; None for words."""
    if names is None or not all(re.fullmatch("[0-9]{1,9}", name) for name in names):
        return None
    found = [int(name) for name in names]
    return found if len(set(found)) == len(found) else None


def _by_name(own: Sequence[str], theirs: Sequence[str]) -> list[int] | None:
    """Where each of `own` stands among `theirs`; None where one does not. Capitals and signs
    between words do not count, where names still differ.
    """

    def plain(name: str) -> str:
        return re.sub(r"[\W_]+", " ", name.casefold()).strip()

    for spelling in (str, plain):
        places = {spelling(name): place for place, name in enumerate(theirs)}
        found = [places.get(spelling(name), -1) for name in own]
        unique = len(places) == len(theirs) and len(set(found)) == len(found)
        if found and unique and min(found) >= 0:
            return found
    return None


def _by_order(split: Split, network: Classes, own: Sequence[str], order: list[int]) -> Split:
    """`split` with class i as class `order[i]` of the network."""
    if order == list(range(len(network.names))):
        return split
    said = f"its classes are told by name: {len(own)} of the {len(network.names)} of {network.who}"
    if len(own) == len(network.names):
        said = f"its classes are put in the order of {network.who}: {_listed(network.names)}"
    return _relabelled(split, order, network.names, said)


def _numbered(split: Split, network: Classes, numbers: list[int] | None, said: str) -> Split:
    """`split` with its labels, or the `numbers` of its classes, as class numbers of the network."""
    source = split.source
    held = np.array(numbers) if numbers else source.labels[source.labels >= 0]
    low, high = int(held.min()), int(held.max())
    if high >= network.count:
        what = "names of folders" if numbers else "labels"
        if low == 1 and high == network.count:
            raise _from_one(split.name, what, high)
        raise DataError(
            f"{network.who} tells {network.count} classes apart and {split.name} has "
            f"{what} up to {high}; expected 0 to {network.count - 1}: choose the set it was "
            "trained on"
        )
    if numbers is None or numbers == list(range(len(numbers))):
        return _saying(split, said) if said else split
    names = network.names or tuple(map(str, range(network.count)))
    return _relabelled(split, numbers, names, said)


def check_counted_from_zero(name: str, classes: Sequence[str], *labels: NDArray[np.int64]) -> None:
    """Raise `DataError` where the `labels` of all splits of a set whose classes are mere numbers
    begin at 1: a network trained on them would have a class without samples.
    """
    known = np.concatenate([some[some >= 0] for some in labels])
    if len(known) and known.min() == 1 and [*classes] == [*map(str, range(len(classes)))]:
        raise _from_one(name, "labels", int(known.max()))


def _from_one(name: str, what: str, high: int) -> DataError:
    return DataError(
        f"{name} has {what} from 1 to {high}, counted from 1; expected 0 to {high - 1}: subtract 1"
    )


def _differing(split: Split, network: Classes) -> Split:
    said = (
        f"no accuracy: its classes ({_listed(split.source.classes)}) are not those of "
        f"{network.who} ({_listed(network.names) or network.space}); --labels-match says that "
        "class i is class i"
    )
    return replace(_saying(split, said), labels_preserved=False)


def _relabelled(split: Split, order: Sequence[int], names: tuple[str, ...], said: str) -> Split:
    """`split` with class i as class `order[i]` of those called `names`."""
    source = replace(_saying(split, said).source, classes=names)
    if list(order) != list(range(len(order))):
        # A label −1, of what is unknown, takes the last place.
        labels = np.append(np.asarray(order, dtype=np.int64), -1)[source.labels]
        identity = sha256_of(source.identity, "labels", *map(str, order))
        origin = source.origin or source.identity
        source = replace(source, labels=labels, identity=identity, origin=origin)
    return replace(split, source=source)


def _saying(split: Split, said: str) -> Split:
    source = split.source
    return replace(split, source=replace(source, said=tuple(dict.fromkeys([*source.said, said]))))


def _listed(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
