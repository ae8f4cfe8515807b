"""OpenOOD's groups by one name, and classes of Tiny-ImageNet that the ID set has, too,
taken out."""

import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from ahsar_eval.data import SETS, ImageSet
from ahsar_eval.data.catalogue import GROUPS, OVERLAPS, expand_groups, without_overlap
from ahsar_eval.data.sets import classes_of
from ahsar_eval.errors import DataError


def test_near_and_far_of_both_cifars():
    far = ["mnist", "svhn", "textures", "places365"]
    assert expand_groups(["near"], "cifar10") == ["cifar100", "tiny-imagenet"]
    assert expand_groups(["near"], "cifar100") == ["cifar10", "tiny-imagenet"]
    assert expand_groups(["far"], "cifar10") == expand_groups(["far"], "cifar100") == far
    assert expand_groups(("near", "far"), "cifar10") == ["cifar100", "tiny-imagenet", *far]


def test_other_names_stay_where_they_are_and_come_once():
    assert expand_groups(["digits", "near", "cifar100", "svhn:fog:3", "far"], "cifar10") == [
        "digits", "cifar100", "tiny-imagenet", "svhn:fog:3", "mnist", "svhn", "textures", "places365",
    ]  # fmt: skip
    assert expand_groups([], "digits") == []
    assert expand_groups(["mnist"], "digits") == ["mnist"]


@pytest.mark.parametrize("name", ["near", "far"])
def test_another_id_set_has_no_groups(name):
    with pytest.raises(DataError) as caught:
        expand_groups([name], "digits")
    assert str(caught.value) == (
        f"there is no {name} group for digits; groups are known for cifar10 and cifar100: name "
        "the sets"
    )


def test_every_member_of_a_group_is_in_the_catalogue():
    for groups in GROUPS.values():
        assert set(groups) == {"near", "far"}
        for members in groups.values():
            assert set(members) <= set(SETS)
    assert not any(name in ("near", "far") for name in SETS)


def of_classes(
    classes: tuple[str, ...], labels: list[int], space: str = "tiny-imagenet", note: str = ""
) -> ImageSet:
    return ImageSet(
        name="some",
        role="test",
        labels=np.array(labels),
        classes=classes,
        identity="of the whole",
        label_space=space,
        fetch=lambda indices: [torch.full((1, 1, 1), float(index)) for index in indices],
        note=note,
    )


def test_shared_classes_go_and_the_rest_keeps_order_and_labels():
    goose, goldfish, trilobite = "n01855672", "n01443537", "n01768244"
    source = of_classes((goldfish, trilobite, goose), [2, 0, 1, 2, 0], note="said before")
    kept = without_overlap(source, "cifar10")
    assert kept.labels.tolist() == [0, 1, 0]
    assert kept.classes == source.classes
    assert kept.note == "said before; 2 of 5 images removed, of 1 classes that cifar10 has, too"
    assert [float(image) for image in kept.fetch(np.arange(3))] == [1, 2, 4]
    assert (kept.name, kept.role, kept.origin) == ("some", "test", "of the whole")
    assert kept.identity != source.identity
    assert without_overlap(source, "cifar100").labels.tolist() == [2, 1, 2]


def test_a_set_without_shared_classes_comes_back_as_it_is():
    for source in (
        of_classes(("n01768244",), [0, 0]),
        of_classes(("n01855672",), [0], space="folder:n01855672"),
    ):
        assert without_overlap(source, "cifar10") is source
    goose = of_classes(("n01855672", "n01768244"), [0, 1])
    assert without_overlap(goose, "digits") is goose
    unknown = without_overlap(replace(goose, note="some"), "folder:0,1")
    assert (len(unknown), unknown.identity) == (2, goose.identity)
    assert (
        unknown.note
        == "some; no class removed: whether the ID set has some of these is not known (--id-space)"
    )
    assert without_overlap(of_classes(("n01855672", "n01768244"), [1, 1]), "cifar10").note == ""


def test_a_set_of_shared_classes_alone_is_refused():
    with pytest.raises(
        DataError,
        match="every image of some is of a class that cifar10 has, too; choose another set",
    ):
        without_overlap(of_classes(("n01855672",), [0, 0]), "cifar10")


def texts(shared_data) -> dict[str, str]:
    wanted = ("words_200.txt", "wnids.txt", "val_annotations.txt")
    with tarfile.open(
        shared_data / "tinyimagenet32_val" / "tinyimagenet32_val_jpegs.tar.xz"
    ) as archive:
        found = {}
        for member in archive.getmembers():
            name = member.name.rpartition("/")[2]
            if name in wanted:
                opened = archive.extractfile(member)
                assert opened is not None
                found[name] = opened.read().decode()
    return found


def test_the_lists_against_the_words_of_the_set(shared_data):
    """Ids and words are those of the set; the classes are CIFAR's; and every class whose words say
    so is listed.
    """
    real = texts(shared_data)
    words = dict(line.split("\t") for line in real["words_200.txt"].splitlines())
    assert sorted(words) == sorted(real["wnids.txt"].split())
    assert len(words) == 200
    for space in ("cifar10", "cifar100"):
        classes = classes_of(space)
        listed = OVERLAPS[space]["tiny-imagenet"]
        for wnid, (cifar, said) in listed.items():
            assert set(said.split(", ")) <= set(words[wnid].split(", ")) | {"monarch butterfly"}, (
                wnid,
                said,
            )
            assert cifar in classes
        plain = {name.replace("_", " ") for name in classes}
        named = {
            wnid
            for wnid, text in words.items()
            if {word for phrase in text.split(", ") for word in (phrase, phrase.split()[-1])}
            & plain
        }
        # A word of the class is in the words of the set, in another sense.
        other_sense = {
            "n01882714",  # koala bear
            "n02509815",  # lesser panda, bear cat
            "n04399382",  # teddy bear
            "n02125311",  # cougar, mountain lion: a cat of CIFAR-10, no lion of CIFAR-100
            "n02268443",  # dragonfly, a sewing needle …
            "n09256479",  # coral reef
        }
        assert named - other_sense <= set(listed), {
            wnid: words[wnid] for wnid in named - other_sense - set(listed)
        }
    labels = [line.split("\t")[1] for line in real["val_annotations.txt"].splitlines()]
    order = sorted(words)
    whole = of_classes(tuple(order), [order.index(wnid) for wnid in labels])
    assert len(whole) == 10_000
    assert len(without_overlap(whole, "cifar10")) == 8_800
    assert "1,200 of 10,000 images removed, of 24 classes" in without_overlap(whole, "cifar10").note
    assert len(without_overlap(whole, "cifar100")) == 7_700
