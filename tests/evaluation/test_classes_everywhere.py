"""Every command reads labels by the one rule: in the network's order, or there is no accuracy and
the sentence why.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import ahsar_eval
from ahsar_eval.data import DataOptions, open_set
from ahsar_eval.errors import DataError
from ahsar_eval.evaluation.verbs import energy as energy_of
from ahsar_eval.evaluation.verbs import ood as ood_of
from ahsar_eval.networks.checkpoints import save_checkpoint

NAMES = "ant bee cat dog eel fox gnu hen ibis jay".split()
FRENCH = "abeille chat chien fourmi geai gnou ibis poule renard z".split()


def write(root, names, labels, images):
    for name in names:  # a class without an image is one
        (root / name).mkdir(parents=True, exist_ok=True)
    for i, (label, image) in enumerate(zip(labels, images, strict=True)):
        place = root / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:02d}.png")
    return f"folder:{root}"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A network whose classes are called in another order than the alphabet's, twelve images, and
    its accuracy on them by hand.
    """
    from tests.conftest import tiny_checkpoint

    root = tmp_path_factory.mktemp("classes")
    images = [
        np.round(x[0].numpy() * 255).astype(np.uint8)
        for x in open_set("digits").fetch(np.arange(12))
    ]
    order = NAMES[::-1]
    paths = []
    for name in ("one", "two"):
        tiny = tiny_checkpoint(width=0.0625 if name == "one" else 0.125)
        tiny = replace(tiny, provenance={"label_space": "folder:mine", "classes": order})
        paths.append(root / f"{name}.pt")
        save_checkpoint(tiny, paths[-1])
    networks = [ahsar_eval.load(path, threads=1, no_cache=True) for path in paths]
    flat = write(root / "flat", [""], [0] * 12, images)
    said = ahsar_eval.record(networks[0], flat).predictions  # in the order of the files
    labels = np.where(np.arange(12) % 3 == 0, (said + 1) % 10, said)
    hand = float((said == labels).mean())
    assert hand == pytest.approx(8 / 12)
    sets = {
        "other order": write(root / "a", order, labels, images),
        "other names": write(root / "b", FRENCH, labels, images),
        "numbers": write(root / "c", [*map(str, range(10))], labels, images),
    }
    np.savez(root / "d.npz", x=np.stack(images), y=labels)
    np.savez(root / "from1.npz", x=np.stack(images), y=labels % 10 + 1)
    np.savez(root / "half.npz", x=np.stack(images), y=np.where(np.arange(12) < 6, labels, -1))
    sets |= {name: f"npz:{root / name}.npz" for name in ("d", "from1", "half")}
    return networks, sets, hand, float((said == labels)[:6].mean())


def accuracies(networks, name, options):
    """What each command says of the ID set's accuracy, and its notes."""
    settings = {"options": options}
    one, other = networks
    found = ood_of(one, name, "photo-patches", intervals=False, **settings)
    energy = energy_of(one, name, **settings)
    swept = ahsar_eval.sweep(one, name, scales=(1.0,), replicates=100, **settings)
    several = [
        (found.records["id"][0]["accuracy"], found.notes),
        (energy.records["total"][0]["accuracy"], energy.notes),
        (swept.records["point"][0]["accuracy"], swept.notes),
    ]
    compared = ahsar_eval.compare(
        one,
        other,
        name,
        "photo-patches",
        intervals=False,
        metrics=("auroc", "accuracy"),
        **settings,
    )
    values = [row["a"] for row in compared.records["differences"] if row["metric"] == "accuracy"]
    return several, (values, compared.notes)


CASES = {
    "other order": (1, "its classes are put in the order of one: jay, ibis, hen, gnu"),
    "other names": (None, "no accuracy: its classes (abeille, chat, chien, fourmi, …) are not"),
    "numbers": (None, "no accuracy: its classes (0, 1, 2, 3, …) are not those of one (jay, ibis"),
    "d": (1, "are taken as numbers of the classes of one, for the set names none"),
    "half": (1, "6 of 12 samples have a label; accuracy is theirs"),
}


FEW = ("other order", "other names")


@pytest.mark.parametrize(
    "case", [case if case in FEW else pytest.param(case, marks=pytest.mark.every) for case in CASES]
)
def test_all_commands_say_the_same_accuracy_and_why(case, world):
    networks, sets, hand, of_half = world
    known, said = CASES[case]
    expected = (of_half if case == "half" else hand) if known else None
    several, (values, notes) = accuracies(networks, sets[case], DataOptions(limit=10**6))
    for accuracy, told in several:
        assert accuracy == (None if expected is None else pytest.approx(expected))
        assert any(said in note for note in told)
    assert len(values) == (1 if known else 0)
    assert values == ([pytest.approx(expected)] if known else [])
    assert any(said in note for note in notes)


@pytest.mark.every
def test_the_user_can_say_that_class_i_is_class_i(world):
    networks, sets, hand, _ = world
    several, _ = accuracies(networks, sets["numbers"], DataOptions(labels_match=True))
    for accuracy, told in several:
        assert accuracy == pytest.approx(hand)
        assert any("class i is class i (--labels-match)" in note for note in told)


def test_labels_from_1_are_refused_by_all(world):
    networks, sets, *_ = world
    for verb in (energy_of, ahsar_eval.sweep, ahsar_eval.raster):
        with pytest.raises(
            DataError, match=r"labels from 1 to 10, counted from 1; expected 0 to 9"
        ):
            verb(networks[0], sets["from1"])
    with pytest.raises(DataError, match="counted from 1"):
        ood_of(networks[0], sets["from1"], "photo-patches")


def test_what_was_not_read_is_in_notes_and_json(world, tmp_path):
    networks, *_ = world
    place = tmp_path / "set" / "jay"
    place.mkdir(parents=True)
    Image.new("L", (16, 16), 90).save(place / "a.png")
    (place / "b.heic").touch()
    (tmp_path / "set" / "readme.txt").touch()
    found = energy_of(networks[0], f"folder:{tmp_path / 'set'}")
    assert any("1 .heic file and 1 loose .txt file were not read" in one for one in found.notes)
    described = json.loads(found.to_json())["provenance"]["checkpoints"][0]["data"]
    assert described["skipped"] == {".heic file": 1, "loose .txt file": 1}
    assert described["said"] == ["its classes are told by name: 1 of the 10 of one"]
