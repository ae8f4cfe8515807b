"""Whether class i of a set is class i of a network: by names where both have some, by number where
one has none.
"""

from dataclasses import replace

import numpy as np
import pytest

from ahsar_eval.data.classes import Classes, beside, in_classes_of
from ahsar_eval.data.split import ImageSet, Split, split_of
from ahsar_eval.errors import DataError


def split(space: str, classes: str, labels: list[int], name: str = "mine") -> Split:
    found = ImageSet(
        name=name,
        role="all",
        labels=np.array(labels),
        classes=tuple(classes.split()),
        identity=name,
        label_space=space,
        fetch=lambda indices: [],
        shape=(1, 4, 4),
    )
    return split_of(found, (1, 4, 4))


def network(space: str | None, names: str, count: int | None = None) -> Classes:
    given = tuple(names.split())
    return Classes("net", count or len(given), space, given)


ANIMALS = network("folder:cat,dog,owl", "cat dog owl")
DIGITS = network("digits", "0 1 2")
PUBLISHED = network("cifar10", "airplane bird cat")
FOREIGN = network(None, "", 3)
OF_NPZ = network("npz:/a.npz", "0 1 2")
NUMBERED = network("folder:0,1,2", "0 1 2")
ELEVEN = network(None, "", 11)

# network, label space and classes of the set, its labels → labels in the network's order, and what
# is said (a part of it); None: no accuracy
TAKEN = {
    "equal names": (ANIMALS, "folder:x", "cat dog owl", [0, 1, 2], [0, 1, 2], ""),
    "one space": (DIGITS, "digits", "0 1 2", [0, 2], [0, 2], ""),
    "another order": (
        ANIMALS,
        "folder:x",
        "dog owl cat",
        [0, 1, 2, -1],
        [1, 2, 0, -1],
        "its classes are put in the order of net: cat, dog, owl",
    ),
    "some of them": (
        ANIMALS,
        "folder:x",
        "cat owl",
        [0, 1, 1],
        [0, 2, 2],
        "its classes are told by name: 2 of the 3 of net",
    ),
    "the first of them": (ANIMALS, "folder:x", "cat dog", [0, 1], [0, 1], "2 of the 3 of net"),
    "spelled otherwise": (
        PUBLISHED,
        "folder:x",
        "Bird CAT Airplane",
        [0, 1, 2],
        [1, 2, 0],
        "order",
    ),
    "of a data set in memory": (ANIMALS, "given:x", "owl cat dog", [0, 1, 2], [2, 0, 1], "order"),
    "numbers of digits": (DIGITS, "folder:x", "0 1 2", [0, 1, 2], [0, 1, 2], ""),
    "digits without a zero": (DIGITS, "folder:x", "1 2", [0, 1], [1, 2], "2 of the 3"),
    "other names": (ANIMALS, "folder:x", "chat chien hibou", [0, 1, 2], None, "no accuracy: its"),
    "one name more": (ANIMALS, "folder:x", "ant cat dog owl", [0, 3], None, "no accuracy: its"),
    "one name another": (ANIMALS, "folder:x", "cat cow owl", [0, 1], None, "no accuracy: its"),
    "words for digits": (DIGITS, "folder:x", "eins null zwei", [0], None, "(eins, null, zwei)"),
    "words for numbers": (NUMBERED, "folder:x", "cat dog owl", [0], None, "no accuracy"),
    "another published set": (DIGITS, "cifar10", "airplane bird cat", [0], None, "no accuracy"),
    "a space without names": (network("a", "", 3), "digits", "0 1 2", [0], None, "no accuracy"),
    "numbered folders of a published set": (
        PUBLISHED,
        "folder:x",
        "0 2",
        [0, 1],
        [0, 2],
        "the names of its folders are taken as class numbers of net",
    ),
    "trained on numbered folders": (
        NUMBERED,
        "cifar10",
        "airplane bird cat",
        [0, 1, 2],
        [0, 1, 2],
        "labels 0 to 2 are taken as numbers of the classes of net, for net names none",
    ),
    "an archive": (ANIMALS, "npz:b", "0 1", [0, 1], [0, 1], "labels 0 to 1 are taken as numbers"),
    "an archive that begins at 1": (ANIMALS, "npz:b", "0 1 2", [1, 2], [1, 2], "labels 1 to 2 are"),
    "an archive and its like": (OF_NPZ, "npz:b", "0 1", [0, 1], [0, 1], "neither side names any"),
    "the same archive": (OF_NPZ, "npz:/a.npz", "0 1 2", [0, 1, 2], [0, 1, 2], ""),
    "arrays for a foreign network": (FOREIGN, "given:b", "0 1", [0, 1], [0, 1], "neither side"),
    "names for a foreign network": (
        FOREIGN,
        "folder:x",
        "a b c",
        [0, 1, 2],
        [0, 1, 2],
        "its classes are taken as class numbers of net, which has no names: 0 a, 1 b, 2 c",
    ),
    "numbers for a foreign network": (FOREIGN, "folder:x", "0 2", [0, 1], [0, 2], "of its folders"),
    "0 to 10 for a foreign network": (
        ELEVEN,
        "folder:x",
        " ".join(map(str, range(11))),
        [0, 10],
        [0, 10],
        "of its folders",
    ),
    "nothing known": (FOREIGN, "folder:/x", "", [-1, -1], [-1, -1], ""),
}


@pytest.mark.parametrize("case", TAKEN)
def test_labels_are_those_of_the_network_or_there_is_no_accuracy(case):
    of, space, classes, labels, expected, said = TAKEN[case]
    before = split(space, classes, labels)
    found = in_classes_of(before, of)
    assert found.labels_preserved == (expected is not None)
    assert found.labels.tolist() == (labels if expected is None else expected)
    assert said in " ".join(found.source.said)
    assert len(found.source.said) == bool(said)
    same = found.labels.tolist() == labels  # recordings are found by identity, and keep labels
    assert (found.identity == before.identity) == same
    assert in_classes_of(found, of).labels.tolist() == found.labels.tolist(), "done once"


REFUSED = {
    "from 1": (ANIMALS, "npz:b", "0 1 2 3", [1, 2, 3], "labels from 1 to 3, counted from 1; expec"),
    "from 1, all foreign": (FOREIGN, "given:b", "0 1 2 3", [1, 3], "labels from 1 to 3, counted"),
    "folders from 1": (FOREIGN, "folder:x", "1 2 3", [0, 1, 2], "names of folders from 1 to 3, "),
    "beyond": (ANIMALS, "npz:b", "", [0, 7], "net tells 3 classes apart and mine has labels up to"),
    "beyond in one space": (DIGITS, "digits", "0 1 2", [0, 3], "mine has labels up to 3; expected"),
    "folders beyond": (
        FOREIGN,
        "folder:x",
        "0 9",
        [0, 1],
        "has names of folders up to 9; expected",
    ),
    "too few names": (
        FOREIGN,
        "folder:x",
        "a b",
        [0, 1],
        "net tells 3 classes apart and mine has 2",
    ),
    "too many names": (
        FOREIGN,
        "cifar10",
        "a b c d",
        [0],
        "apart and mine has 4; choose the set it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_numbers_that_are_none_of_the_classes_are_refused(case):
    of, space, classes, labels, message = REFUSED[case]
    with pytest.raises(DataError) as refused:
        in_classes_of(split(space, classes, labels), of)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "case", ["other names", "another order", "some of them", "words for digits", "an archive"]
)
def test_the_user_says_that_class_i_is_class_i(case):
    of, space, classes, labels, *_ = TAKEN[case]
    found = in_classes_of(split(space, classes, labels), of, match=True)
    assert (found.labels.tolist(), found.labels_preserved) == (labels, True)
    assert found.source.said == ("class i is class i (--labels-match)",)
    with pytest.raises(DataError, match="expected 0 to 2"):
        in_classes_of(split(space, classes, [5]), of, match=True)


@pytest.mark.parametrize(("names", "labels"), [("0 2", [0, 2]), ("1 2 3", [0, 1])])
def test_folders_called_by_numbers_are_these_classes_where_they_can_be(names, labels):
    found = in_classes_of(split("folder:x", names, [0, 1]), ANIMALS, match=True)
    assert found.labels.tolist() == labels
    assert in_classes_of(found, ANIMALS, match=True).labels.tolist() == labels


# A set beside the ID set: whether it has an accuracy, and its labels
BESIDE = {
    "names of the network": ("folder:y", "owl cat dog", [0, 1, 2], [2, 0, 1]),
    "some names": ("folder:y", "owl", [0], [2]),
    "other names": ("folder:y", "ant bee", [0, 1], None),
    "numbers": ("npz:y", "0 1 2", [0, 1], None),
    "no labels": ("patches", "", [-1], None),
    "a copy of the ID set": ("folder:x", "dog owl cat", [0, 1, 2], [1, 2, 0]),
}


@pytest.mark.parametrize("case", BESIDE)
@pytest.mark.parametrize("named", [True, False], ids=["named", "foreign"])
def test_sets_beside_the_id_set_have_its_classes_by_name_alone(case, named):
    from ahsar_eval.recording import describe, same_classes

    space, classes, labels, expected = BESIDE[case]
    of = ANIMALS if named else FOREIGN
    order = "dog owl cat" if named else "cat dog owl"
    id_split = in_classes_of(split("folder:x", order, [0, 1, 2], "id"), of)
    if not named and space == "folder:x":
        return
    found = beside(split(space, classes, labels), id_split, of)
    judged = found.labels_preserved and same_classes(describe(found), describe(id_split))
    assert judged == (expected is not None)
    if expected is not None:
        assert found.labels.tolist() == expected


def test_what_shares_the_id_sets_names_shares_that_they_are_none_of_the_networks():
    id_split = in_classes_of(split("folder:x", "chat chien", [0, 1], "id"), ANIMALS)
    assert not id_split.labels_preserved
    for space in ("folder:x", "folder:y"):
        assert not beside(split(space, "chat chien", [0, 1]), id_split, ANIMALS).labels_preserved
    shifted = replace(id_split, shift="contrast", severity=3, labels_preserved=True)
    assert not beside(shifted, id_split, ANIMALS).labels_preserved
