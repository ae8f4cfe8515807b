"""Event sets by name and by folder: which files, which labels, which part, and what happens where
they are not as expected.
"""

import json
import os
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from ahsar_eval.data.events import folders
from ahsar_eval.data.events.folders import (
    Recording,
    content_hashes,
    divided,
    event_set,
)
from ahsar_eval.data.events.own import event_folder
from ahsar_eval.data.met import file_order, files_below
from ahsar_eval.data.sets import ENTRIES, LAYOUTS, DataOptions
from ahsar_eval.data.split import EventSet
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of_file

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(autouse=True)
def _own_index(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path_factory.mktemp("index")))


def opened(name: str, role: str, root: Path, seed: int = 0) -> EventSet:
    source = ENTRIES[name].open(role, DataOptions(root=root, split_seed=seed))
    assert isinstance(source, EventSet)
    return source


def write_npz(path: Path, mark: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, t=[mark, mark + 1], x=[0, 1], y=[1, 0], p=[1, 0])


def write_bin(path: Path, mark: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([1, 2, 128, mark // 256, mark % 256]))


def write_dat(path: Path, mark: int = 0, header: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        f"% Version 2\n{header}".encode()
        + bytes([0, 8])
        + struct.pack("<II", mark, 5 | 6 << 14 | 1 << 28)
    )


def write_mat(path: Path, mark: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"ts": [[mark]], "x": [[3]], "y": [[4]], "pol": [[1]]})


def write_taxels(path: Path, mark: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = np.zeros((101, 1))
    table[3], table[100] = 1, mark / 1e6
    scipy.io.savemat(path, {"spiketrain": table})


def write_npy(path: Path, mark: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([[2, 3, 1, mark] if "ibm" in str(path) else [mark, 2, 3, 1]]))


def marks(source: EventSet) -> list[int]:
    """The first time stamp of each recording: what a fixture wrote to tell files apart."""
    return [int(events.t[0]) for events in source.fetch(np.arange(len(source)))]


# By name


def cifar10_dvs(root: Path, per_class: int = 20, seed: int | None = None) -> Path:
    places = [
        (label, cls, number) for label, cls in enumerate(CIFAR10) for number in range(per_class)
    ]
    if seed is not None:
        random.Random(seed).shuffle(places)
    for label, cls, number in places:
        write_npz(root / "CIFAR10DVS" / cls / f"cifar10_{cls}_{number}.npz", label * 1000 + number)
    return root


def test_the_first_tenth_by_number_of_the_file_is_test(tmp_path):
    cifar10_dvs(tmp_path)
    test, train = opened("cifar10-dvs", "test", tmp_path), opened("cifar10-dvs", "train", tmp_path)
    assert test.classes == CIFAR10
    assert test.label_space == "cifar10"
    assert test.shape == (2, 128, 128)
    assert test.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert marks(test) == [label * 1000 + number for label in range(10) for number in (0, 1)], (
        "not 0 and 10, as letters would sort them"
    )
    assert marks(train) == [label * 1000 + number for label in range(10) for number in range(2, 20)]
    assert sorted(marks(test) + marks(train)) == marks(opened("cifar10-dvs", "all", tmp_path))
    assert (
        "by file name: within each class, in natural order (9 before 10), the first tenth is test"
        in test.note
    )
    assert "20 of 10,000" not in test.note, "the official number is that of all, not of a part"
    assert len({test.identity, train.identity}) == 2
    assert test.origin == train.origin == "", (
        "a network trained on one part may be tested on the other"
    )


def test_of_a_thousand_the_first_hundred_are_test():
    files = [Recording(Path(f"cifar10_cat_{number}.aedat"), 3) for number in range(1000)]
    random.Random(0).shuffle(files)
    names = [recording.file.name for recording in divided(files, "test")]
    assert names == [f"cifar10_cat_{number}.aedat" for number in range(100)]
    assert len(divided(files, "train")) == 900
    assert [len(divided(files[:count], "test")) for count in (1, 9, 10, 11, 20, 21)] == [
        1,
        1,
        1,
        2,
        2,
        3,
    ], "a tenth, rounded up"


@pytest.mark.parametrize("random_split", [False, True])
def test_neither_place_nor_order_of_directories_decides(tmp_path, random_split):
    name = "cifar10-dvs-random" if random_split else "cifar10-dvs"
    first = opened(name, "test", cifar10_dvs(tmp_path / "a", seed=1))
    second = opened(name, "test", cifar10_dvs(tmp_path / "b", seed=2))
    assert marks(first) == marks(second)
    assert first.identity == second.identity


def test_the_random_split_follows_its_seed_and_says_so(tmp_path):
    cifar10_dvs(tmp_path)
    parts = {seed: opened("cifar10-dvs-random", "test", tmp_path, seed) for seed in (0, 1)}
    assert marks(parts[0]) != marks(parts[1])
    assert marks(parts[0]) != marks(opened("cifar10-dvs", "test", tmp_path))
    assert marks(parts[0]) == marks(opened("cifar10-dvs-random", "test", tmp_path, 0))
    for seed, part in parts.items():
        assert np.bincount(part.labels).tolist() == [2] * 10
        assert f"at random (seed {seed})" in part.note
        assert part.name == "cifar10-dvs-random"
        train = opened("cifar10-dvs-random", "train", tmp_path, seed)
        assert sorted(marks(part) + marks(train)) == marks(opened("cifar10-dvs", "all", tmp_path))


def test_the_rule_of_the_split_is_in_the_identity(tmp_path):
    cifar10_dvs(tmp_path, 1)  # one per class: every rule makes the same test set
    found = [
        opened("cifar10-dvs", "test", tmp_path),
        *(opened("cifar10-dvs-random", "test", tmp_path, seed) for seed in (0, 1)),
    ]
    assert len({tuple(marks(source)) for source in found}) == 1
    assert len({source.identity for source in found}) == 3


def test_natural_order():
    names = ["b2", "a10.bin", "a9.bin", "A1.bin", "a09.bin", "a.bin", "10", "9"]
    ordered = ["9", "10", "A1.bin", "a09.bin", "a9.bin", "a10.bin", "a.bin", "b2"]
    assert [path.name for path in sorted(map(Path, names), key=file_order)] == ordered


@pytest.mark.parametrize(
    "place", ["NMNIST", "N-MNIST", "nmnist", "NMNIST/NMNIST", "NMNIST/unpacked"]
)
def test_n_mnist_directly_or_one_level_down(tmp_path, place):
    for part, label, mark in [("Train", 3, 1), ("Train", 0, 2), ("Test", 9, 3), ("Test", 3, 4)]:
        write_bin(tmp_path / place / part / str(label) / f"{mark:05}.bin", mark)
    train, test, whole = (opened("n-mnist", role, tmp_path) for role in ("train", "test", "all"))
    assert (train.labels.tolist(), marks(train)) == ([0, 3], [2, 1])
    assert (test.labels.tolist(), marks(test)) == ([3, 9], [4, 3])
    assert marks(whole) == [2, 1, 4, 3]
    assert test.classes == tuple("0123456789")
    assert test.label_space == "digits"
    assert test.note == "split official; 2 of 10,000 recordings are there"
    assert whole.note == "split official; 4 of 70,000 recordings are there"
    assert (train.role, test.role, whole.role) == ("train", "test", "all")


def test_gestures_of_tonic_are_labelled_by_the_name_of_the_file(tmp_path):
    for user in ("user01_led", "user10_lab"):
        for label in (0, 2, 10):
            write_npy(tmp_path / "DVSGesture" / "ibmGestureTrain" / user / f"{label}.npy", label)
    write_npy(tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_led" / "7.npy", 7)
    train = opened("dvs-gesture", "train", tmp_path)
    assert train.labels.tolist() == [0, 10, 2] * 2
    assert marks(train) == [0, 10_000, 2000] * 2, "milliseconds"
    assert opened("dvs-gesture", "test", tmp_path).labels.tolist() == [7]
    assert train.classes[10] == "other gestures"


def test_gestures_of_spikingjelly_and_what_lies_beside_them(tmp_path):
    root = tmp_path / "DVS128Gesture"
    for part, label, mark in [("train", 0, 1), ("train", 10, 2), ("test", 5, 3)]:
        write_npz(root / "events_np" / part / str(label) / f"user0{mark}_led_0.npz", mark)
        write_npz(
            root
            / "frames_number_16_split_by_number"
            / part
            / str(label)
            / f"user0{mark}_led_0.npz",
            99,
        )
    assert marks(opened("dvs-gesture", "train", tmp_path)) == [1, 2]
    assert opened("dvs-gesture", "test", tmp_path).labels.tolist() == [5]


def test_clips_that_are_not_divided_are_given_whole(tmp_path):
    for label in range(10):
        write_npz(tmp_path / "dvs128gesture_10clips" / "events_np" / str(label) / "clip.npz", label)
    found = [opened("dvs-gesture", role, tmp_path) for role in ("train", "test", "all")]
    for source in found:
        assert (source.role, source.labels.tolist(), marks(source)) == (
            "all",
            list(range(10)),
            list(range(10)),
        )
        assert "not divided" in source.note
    assert len({source.identity for source in found}) == 1


SETS_ON_DISK: dict[str, tuple[str, Callable[[Path, int], None], tuple[str, ...]]] = {
    "asl-dvs": ("ASLDVS/{cls}/{cls}_{number:04}.mat", write_mat, ("a", "k", "y")),
    "n-caltech101": (
        "NCaltech101/Caltech101/{cls}/image_{number:04}.bin",
        write_bin,
        ("BACKGROUND_Google", "accordion", "airplanes"),
    ),
    "st-mnist": ("STMNIST/data_submission/{cls}/u1_{number}.mat", write_taxels, ("0", "4", "9")),
}


@pytest.mark.parametrize("name", SETS_ON_DISK)
def test_sets_without_an_official_division_are_divided_by_file_name(tmp_path, name):
    pattern, write, classes = SETS_ON_DISK[name]
    for place, cls in enumerate(classes):
        for number in range(1, 12):
            write(tmp_path / pattern.format(cls=cls, number=number), 100 * place + number)
    if name == "n-caltech101":
        write_bin(
            tmp_path
            / "NCaltech101"
            / "Caltech101_annotations"
            / "accordion"
            / "annotation_0001.bin"
        )
    if name == "st-mnist":
        write_taxels(tmp_path / "STMNIST" / "data_submission" / "LUT.mat")
    test, train = opened(name, "test", tmp_path), opened(name, "train", tmp_path)
    assert marks(test) == [100 * place + number for place in range(3) for number in (1, 2)]
    assert marks(train) == [100 * place + number for place in range(3) for number in range(3, 12)]
    assert [test.classes[label] for label in test.labels[::2]] == list(classes)
    assert "by file name" in test.note
    assert {"asl-dvs": 24, "n-caltech101": 3, "st-mnist": 10}[name] == len(test.classes)
    if name == "asl-dvs":
        assert test.fetch(np.array([0]))[0].y.tolist() == [175], "y counts from below"
    assert (test.label_space == "digits") == (name == "st-mnist")


def test_n_cars_and_poker_cards(tmp_path):
    for part in ("train", "test"):
        for mark, cls in enumerate(("cars", "background")):
            write_dat(
                tmp_path / "NCARS" / f"n-cars_{part}" / part / cls / "obj_000001_td.dat", mark
            )
        for mark, cls in enumerate(("sp", "di", "he", "cl")):
            write_npy(tmp_path / "POKERDVS" / f"pips_{part}" / cls / "1.npy", mark)
    cars, cards = opened("n-cars", "test", tmp_path), opened("pokerdvs", "train", tmp_path)
    assert (cars.labels.tolist(), marks(cars), cars.classes) == (
        [0, 1],
        [1, 0],
        ("background", "cars"),
    )
    assert (cards.labels.tolist(), marks(cards)) == ([0, 1, 2, 3], [3, 2, 1, 0])
    assert (cars.shape, cards.shape) == ((2, 100, 120), (2, 35, 35))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("there", ["nothing", "no root", "an empty folder"])
def test_a_missing_set_says_in_one_sentence_what_to_place(tmp_path, name, there):
    layout = LAYOUTS[name]
    root = tmp_path / "nowhere" if there == "no root" else tmp_path
    if there == "an empty folder":
        (root / layout.folders[0]).mkdir()
    with pytest.raises(DataError) as error:
        opened(name, "test", root)
    text = str(error.value)
    assert text.startswith(f"{name} ")
    for part in (str(root), layout.files, layout.source, layout.folders[0]):
        assert part in text
    assert "\n" not in text
    assert "http" not in text
    assert ENTRIES[name].files == layout.files
    assert ENTRIES[name].modality == "events"


def test_what_is_not_as_it_should_be_is_refused(tmp_path):
    write_bin(tmp_path / "NMNIST" / "Train" / "1" / "a.bin")
    with pytest.raises(DataError, match="no folder for its test split; expected NMNIST/Train"):
        opened("n-mnist", "test", tmp_path)
    assert len(opened("n-mnist", "train", tmp_path)) == 1, "the other part is not asked for"
    with pytest.raises(
        DataError, match="n-mnist has no validation split; known are train, test, all"
    ):
        opened("n-mnist", "validation", tmp_path)
    write_npz(tmp_path / "NMNIST" / "Train" / "2" / "a.npz")
    with pytest.raises(DataError, match=r"holds files of \.bin and \.npz"):
        opened("n-mnist", "train", tmp_path)
    write_npz(tmp_path / "CIFAR10DVS" / "one" / "cat" / "a.npz")
    write_npz(tmp_path / "CIFAR10DVS" / "two" / "cat" / "a.npz")
    with pytest.raises(DataError, match=r"cifar10-dvs lies both in .*one and in .*two; keep one"):
        opened("cifar10-dvs", "test", tmp_path)
    for cls in ("car", "cars"):
        write_dat(tmp_path / "NCARS" / "train" / cls / "a.dat")
    with pytest.raises(DataError, match="holds the class cars twice, in car and in cars"):
        opened("n-cars", "train", tmp_path)


def test_a_class_without_recordings_in_its_part_is_no_error_but_an_empty_part_is(tmp_path):
    for cls in ("cat", "dog"):
        write_npz(tmp_path / "CIFAR10DVS" / cls / "1.npz")
    assert opened("cifar10-dvs", "test", tmp_path).labels.tolist() == [3, 5]
    with pytest.raises(DataError, match="has no recording for its train split"):
        opened("cifar10-dvs", "train", tmp_path)


def test_recordings_are_read_when_they_are_fetched(tmp_path):
    cifar10_dvs(tmp_path, 1)
    (tmp_path / "CIFAR10DVS" / "cat" / "cifar10_cat_0.npz").write_bytes(b"damaged")
    source = opened("cifar10-dvs", "test", tmp_path)
    assert [int(events.t[0]) for events in source.fetch(np.array([4, 0]))] == [4000, 0]
    with pytest.raises(DataError, match=r"cifar10_cat_0\.npz cannot be read"):
        source.fetch(np.array([0, 3]))


def test_real_n_mnist(shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / "nmnist_1100" / "NMNIST_1100.zip") as archive:
        archive.extractall(
            tmp_path / "NMNIST",
            [name for name in archive.namelist() if "Test/" in name or "Train/7" in name],
        )
    source = opened("n-mnist", "test", tmp_path)
    assert len(source) == 100
    assert source.shape == (2, 34, 34)
    recordings = source.fetch(np.arange(100))
    assert 3000 < np.mean([len(events) for events in recordings]) < 5000
    assert all(300_000 < events.t[-1] < 340_000 for events in recordings)
    assert all((events.height, events.width) == (34, 34) for events in recordings)
    assert set(opened("n-mnist", "train", tmp_path).labels.tolist()) == {7}
    assert "100 of 10,000 recordings are there" in source.note


def test_real_gestures(shared_data, tmp_path):
    with zipfile.ZipFile(
        shared_data / "dvs128gesture_10clips" / "dvs128gesture_10clips.zip"
    ) as archive:
        archive.extractall(tmp_path / "dvs128gesture_10clips")
    source = opened("dvs-gesture", "test", tmp_path)
    assert (source.role, source.labels.tolist()) == ("all", list(range(10)))
    (events,) = source.fetch(np.array([9]))
    assert len(events) == 85_936
    assert (events.t[0], events.t[-1]) == (24, 1_449_982)


# By folder


def labelled(root: Path) -> Path:
    for place, (cls, name) in enumerate([("cat", "2"), ("cat", "10"), ("ant", "deep/er/1")]):
        write_npz(root / cls / f"{name}.npz", place)
    (root / "sensor.txt").write_text("4x3\n")
    return root


def test_class_folders_give_labels_in_alphabetical_order(tmp_path):
    source = event_folder(str(labelled(tmp_path)), "test")
    assert source.classes == ("ant", "cat")
    assert source.labels.tolist() == [0, 1, 1]
    assert marks(source) == [2, 0, 1]
    assert source.shape == (2, 3, 4), "sensor.txt says width, then height"
    assert (source.role, source.label_space, source.name) == (
        "all",
        "events:ant,cat",
        f"events:{tmp_path}",
    )


def test_a_flat_folder_has_no_labels_and_files_of_several_kinds(tmp_path):
    write_npz(tmp_path / "a.npz", 1)
    write_bin(tmp_path / "b.bin", 2)
    write_bin(tmp_path / ".hidden.bin", 3)
    (tmp_path / "readme.txt").write_text("no recording")
    (tmp_path / "sensor.txt").write_text("34 × 34")
    source = event_folder(str(tmp_path), "train")
    assert (source.labels.tolist(), source.classes, marks(source)) == ([-1, -1], (), [1, 2])


def test_train_and_test_folders_are_used(tmp_path):
    for part, mark in (("train", 1), ("test", 2)):
        write_npz(tmp_path / part / "cat" / "a.npz", mark)
    (tmp_path / "sensor.txt").write_text("4x3")
    assert marks(event_folder(str(tmp_path), "train")) == [1]
    test = event_folder(str(tmp_path), "test")
    assert (marks(test), test.role) == ([2], "test")
    with pytest.raises(DataError, match="has no folder for its validation split"):
        event_folder(str(tmp_path), "validation")


def test_the_sensor_is_what_every_file_states_alike(tmp_path):
    for name in ("a", "b"):
        write_dat(tmp_path / "c" / f"{name}.dat", header="% Width 20\n% Height 10\n")
    assert event_folder(str(tmp_path), "test").shape == (2, 10, 20)
    write_dat(tmp_path / "c" / "c.dat", header="% Width 21\n% Height 10\n")
    with pytest.raises(
        DataError,
        match=r"c\.dat states a sensor of 21x10 and .*a\.dat one of 20x10; expected one size",
    ):
        event_folder(str(tmp_path), "test")
    (tmp_path / "sensor.txt").write_text("21x10")
    assert event_folder(str(tmp_path), "test").shape == (2, 10, 21), "a declaration wins"


def test_a_sensor_is_never_guessed(tmp_path):
    write_bin(tmp_path / "a.bin")
    with pytest.raises(
        DataError,
        match=(
            r"a\.bin does not state the size of its sensor; put a file sensor\.txt with one "
            r"line "
            r"WIDTHxHEIGHT"
        ),
    ):
        event_folder(str(tmp_path), "test")
    for text in ("", "34", "0x34", "34x34x2", "-3x4", "a\nb" * 100):
        (tmp_path / "sensor.txt").write_text(text)
        with pytest.raises(DataError, match=r"expected one line WIDTHxHEIGHT in pixels"):
            event_folder(str(tmp_path), "test")


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder \\(nothing is there\\)"):
        event_folder(str(tmp_path / "nowhere"), "test")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder \\(a file is there\\)"):
        event_folder(str(tmp_path / "file"), "test")
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no event file"):
        event_folder(str(tmp_path / "empty"), "test")


# Identity and its index


def test_the_identity_follows_names_labels_content_and_sensor_not_the_place(tmp_path):
    before = event_folder(str(labelled(tmp_path / "a")), "test").identity
    assert event_folder(str(labelled(tmp_path / "b")), "test").identity == before
    seen = {before}
    root = tmp_path / "a"
    write_npz(root / "cat" / "2.npz", 7)
    seen.add(event_folder(str(root), "test").identity)
    (root / "cat" / "2.npz").rename(root / "cat" / "3.npz")
    seen.add(event_folder(str(root), "test").identity)
    (root / "000").mkdir()
    seen.add(event_folder(str(root), "test").identity)
    (root / "sensor.txt").write_text("5x3")
    seen.add(event_folder(str(root), "test").identity)
    assert len(seen) == 5


def test_the_same_files_under_other_labels_are_another_set(tmp_path):
    files = files_below(labelled(tmp_path), [".npz"])
    facts: dict[str, Any] = {
        "name": "a",
        "role": "test",
        "classes": ("ant", "cat"),
        "label_space": "a",
        "sensor": (3, 4),
    }
    sets = [
        event_set([Recording(file, label) for file in files], tmp_path, **facts) for label in (0, 1)
    ]
    assert sets[0].identity != sets[1].identity


def aged(root: Path) -> list[Path]:
    """Files that changed long enough ago to be remembered; their time of entry cannot be set back,
    so the clock is moved instead.
    """
    files = sorted(root.rglob("*.npz"))
    for file in files:
        os.utime(file, ns=(1, 1))
    return files


@pytest.fixture
def later(monkeypatch):
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**12)


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files whose content was hashed."""
    seen: list[str] = []

    def counted(path: Path) -> str:
        seen.append(path.name)
        return sha256_of_file(path)

    monkeypatch.setattr(folders, "sha256_of_file", counted)
    return seen


def test_a_file_is_hashed_once_and_again_when_it_changed(tmp_path, later, reads):
    files = aged(labelled(tmp_path))
    first = content_hashes(files, tmp_path)
    assert first == [sha256_of_file(file) for file in files]
    assert len(reads) == 3
    assert content_hashes(files, tmp_path) == first
    assert len(reads) == 3
    write_npz(files[0], 9)
    os.utime(
        files[0], ns=(1, 1)
    )  # same size, same time of content: only the time of the entry tells
    changed = content_hashes(files, tmp_path)
    assert reads[3:] == [files[0].name]
    assert changed[0] == sha256_of_file(files[0]) != first[0]
    assert changed[1:] == first[1:]


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path, reads):
    files = sorted(labelled(tmp_path).rglob("*.npz"))
    content_hashes(files, tmp_path)
    content_hashes(files, tmp_path)
    assert len(reads) == 6


@pytest.mark.parametrize(
    "damage",
    ["{", '{"NAME": [1, 2, 3]}', "[]", '{"a": 1}', '{"NAME": [1, 2, 3, 4]}', "null", "\ud83d"],
)
def test_a_damaged_index_is_as_good_as_none(tmp_path, later, reads, damage):
    files = aged(labelled(tmp_path))
    first = content_hashes(files, tmp_path)
    (index,) = (Path(os.environ["AHSAR_EVAL_CACHE"]) / "file-hashes").iterdir()
    assert set(json.loads(index.read_text())) == {
        file.relative_to(tmp_path).as_posix() for file in files
    }
    index.write_bytes(damage.replace("NAME", "cat/2.npz").encode("utf-8", "surrogatepass"))
    assert content_hashes(files, tmp_path) == first
    assert len(reads) == 6


def test_an_index_that_cannot_be_written_costs_time_only(tmp_path, later, reads, monkeypatch):
    files = aged(labelled(tmp_path))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "file" / "cache"))
    assert content_hashes(files, tmp_path) == content_hashes(files, tmp_path)
    assert len(reads) == 6


def test_parts_share_an_index_without_losing_entries(tmp_path, later, reads):
    files = aged(labelled(tmp_path))
    content_hashes(files[:1], tmp_path)
    content_hashes(files[1:], tmp_path)
    content_hashes(files, tmp_path)
    assert len(reads) == 3


def test_a_file_that_vanishes_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.npz cannot be read \(No such file"):
        content_hashes([tmp_path / "gone.npz"], tmp_path)


def test_a_gesture_named_by_its_class_is_no_recording_of_tonic(tmp_path):
    folder = tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_led"
    write_npy(folder / "7.npy", 7)
    write_npy(folder / "arm roll.npy", 1)
    assert opened("dvs-gesture", "test", tmp_path).labels.tolist() == [7]


def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        files_below(tmp_path / "gone", [".npy"])
