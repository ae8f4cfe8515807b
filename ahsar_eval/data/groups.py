"""Near and far out-of-distribution groups by one name, and the removal of classes that the
in-distribution set has, too.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ahsar_eval.data.split import AnySet, SampleSet, subset
from ahsar_eval.errors import DataError

# OpenOOD v1.5 (Zhang et al. 2023, arXiv 2306.09301; configs/datasets/cifar10/cifar10_ood.yml and
# its twin for CIFAR-100). It takes all
# 70,000 images of MNIST and leaves out single images of Places365; here the sets are the test
# splits named in docs/data.md.
_FAR = ("mnist", "svhn", "textures", "places365")
GROUPS = {
    "cifar10": {"near": ("cifar100", "tiny-imagenet"), "far": _FAR},
    "cifar100": {"near": ("cifar10", "tiny-imagenet"), "far": _FAR},
}

# WordNet id, class of the ID set that it means the same as, and its words: the classes of
# Tiny-ImageNet that are left out beside CIFAR-10 and CIFAR-100. All 200 were gone through. One is
# listed where it is a kind of the CIFAR class (WordNet, or everyday use of the word), or where its
# photographs have one as their subject (espresso, lampshade, plate, seashore, freight car). Whole
# classes are removed, 1,200 and 2,300 of the 10,000 images; OpenOOD removes single images and tests
# on 7,793 and 6,526 (github.com/Jingkang50/OpenOOD, issue 259).
#
# CIFAR-10's ships are boats of every size; a van is a truck (WordNet). Kept beside it, though near:
# lion (a big cat, not a cat of WordNet's cat.n.01, as the cougar, a wildcat, is); gazelle (an
# antelope: no deer); Arabian camel, ox, bison, bighorn (no horse); school bus and trolleybus
# (CIFAR-10 has no buses), tractor, go-kart, lawn mower, jinrikisha, freight car and bullet train
# (neither automobile nor truck); fire salamander (no frog); missile (no airplane). There is no
# airplane, deer or horse in it.
_IN_CIFAR10 = """
n02814533 automobile beach wagon, station wagon
n03100240 automobile convertible
n03670208 automobile limousine
n04285008 automobile sports car
n01855672 bird       goose
n02002724 bird       black stork
n02056570 bird       king penguin
n02058221 bird       albatross
n02123045 cat        tabby
n02123394 cat        Persian cat
n02124075 cat        Egyptian cat
n02125311 cat        cougar
n02085620 dog        Chihuahua
n02094433 dog        Yorkshire terrier
n02099601 dog        golden retriever
n02099712 dog        Labrador retriever
n02106662 dog        German shepherd
n02113799 dog        standard poodle
n01641577 frog       bullfrog
n01644900 frog       tailed frog
n03447447 ship       gondola
n03662601 ship       lifeboat
n03796401 truck      moving van
n03977966 truck      police van
"""
# A jug is a large bottle (WordNet); an alligator is a crocodilian, and at 32x32 nobody tells them
# apart; the word plate means a dish of food here, which lies on one. Kept beside CIFAR-100, though
# near: cougar (no leopard, lion or tiger), bison (no cattle), guinea pig (no hamster), red panda
# (no raccoon), koala (no bear), teddy, slug (no snail), scorpion (no spider), fire salamander (no
# lizard), dugong (no whale or seal), stopwatch, hourglass and parking meter (no clocks), candle and
# torch (no lamps of a household), barn, cliff dwelling and thatch (no house), chest and
# refrigerator (no wardrobe), moving van and police van (no pickup), cliff (no mountain), lakeside
# (no sea), barrel, bucket and beaker (no can, bowl or cup), teapot, wok and frying pan, acorn (no
# oak), lemon and pomegranate (no orange), and clothes, though people wear them.
_IN_CIFAR100 = """
n01443537 aquarium_fish goldfish
n02132136 bear          brown bear
n02206856 bee           bee
n02165456 beetle        ladybug
n02823428 bottle        beer bottle
n03937543 bottle        pill bottle
n03983396 bottle        pop bottle
n04560804 bottle        water jug
n04311004 bridge        steel arch bridge
n04366367 bridge        suspension bridge
n04532670 bridge        viaduct
n04146614 bus           school bus
n04487081 bus           trolleybus
n02279972 butterfly     monarch butterfly
n02281406 butterfly     sulphur butterfly
n02437312 camel         Arabian camel
n02403003 cattle        ox
n04099969 chair         rocking chair
n02481823 chimpanzee    chimpanzee
n02233338 cockroach     cockroach
n01698640 crocodile     American alligator
n07920052 cup           espresso
n02504458 elephant      African elephant
n03085013 keyboard      computer keyboard
n03637318 lamp          lampshade
n03649909 lawn_mower    lawn mower
n02129165 lion          lion
n01983481 lobster       American lobster
n01984695 lobster       spiny lobster
n09193705 mountain      alp
n07734744 mushroom      mushroom
n07747607 orange        orange
n07579787 plate         plate
n04008634 rocket        projectile, missile
n09428293 sea           seashore
n01944390 snail         snail
n01742172 snake         boa constrictor
n01774384 spider        black widow
n01774750 spider        tarantula
n07720875 sweet_pepper  bell pepper
n03179701 table         desk
n03201208 table         dining table
n03902125 telephone     pay-phone
n04465501 tractor       tractor
n02917067 train         bullet train
n03393912 train         freight car
"""


def _listed(table: str) -> dict[str, tuple[str, str]]:
    """{WordNet id: (words, class of the ID set)}."""
    rows = [line.split(maxsplit=2) for line in table.strip().splitlines()]
    return {wnid: (words, cls) for wnid, cls, words in rows}


# ID label space: label space of an OOD set whose classes are WordNet ids: the ids to leave out.
OVERLAPS = {
    "cifar10": {"tiny-imagenet": _listed(_IN_CIFAR10)},
    "cifar100": {"tiny-imagenet": _listed(_IN_CIFAR100)},
}


def expand(names: Iterable[str], id_name: str) -> list[str]:
    """`names` with `near` and `far` replaced by the sets of OpenOOD's groups for the ID set
    `id_name`, each set once.

    Raises `DataError` where there is no such group for that ID set.
    """
    found: list[str] = []
    for name in names:
        if name in ("near", "far"):
            if id_name not in GROUPS:
                raise DataError(
                    f"there is no {name} group for {id_name}; groups are known for "
                    f"{' and '.join(GROUPS)}: name the sets"
                )
            found += GROUPS[id_name][name]
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def group_of(name: str, id_name: str) -> str:
    """'near' or 'far' for an unshifted set of OpenOOD's groups for the ID set `id_name` (a name or
    label space), '' for any other.
    """
    return next((group for group, names in GROUPS.get(id_name, {}).items() if name in names), "")


def without_overlap(source: AnySet, id_name: str) -> AnySet:
    """`source` without the images whose class the ID set has, too; the note says how many were
    removed.

    `id_name` is the ID set's name or label space (cifar10, cifar100). A set that has no listed
    class comes back as it is.
    """
    if source.label_space == "tiny-imagenet" and id_name.partition(":")[0] in ("folder", "npz"):
        unknown = "no class removed: whether the ID set has some of these is not known (--id-space)"
        return replace(source, note=_noted(source, unknown))
    listed = OVERLAPS.get(id_name, {}).get(source.label_space, {})
    shared = [number for number, wnid in enumerate(source.classes) if wnid in listed]
    kept = np.flatnonzero(~np.isin(source.labels, shared))
    removed = len(source) - len(kept)
    if not removed:
        return source
    if not len(kept):
        raise DataError(
            f"every image of {source.name} is of a class that {id_name} has, too; choose another "
            "set"
        )
    return replace(
        subset(source, kept, source.role),
        note=_noted(
            source,
            f"{removed:,} of {len(source):,} images removed, of {len(shared)} classes that "
            f"{id_name} has, too",
        ),
    )


def _noted(source: SampleSet, note: str) -> str:
    return f"{source.note}; {note}" if source.note else note
