"""The named image sets: small ones made in their authors' layout, real ones against independent
readers, damaged ones refused.
"""

import builtins
import bz2
import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import struct
import tarfile
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ahsar_eval.data import DataOptions, ImageSet, facts
from ahsar_eval.data.sets import ENTRIES, STORED, classes_of
from ahsar_eval.errors import DataError

RNG = np.random.default_rng(5)
SIDES = {"kmnist": 28, "emnist": 28, "emnist-letters": 28, "mnist": 28, "fashion-mnist": 28}


def opened(name: str, root: Path, role: str = "test", *, download: bool = False) -> ImageSet:
    found = ENTRIES[name].open(role, DataOptions(root=root, download=download))
    assert isinstance(found, ImageSet)
    return found


def refusal(name: str, root: Path, role: str = "test", *, download: bool = False) -> str:
    """The message of a refusal, which is one sentence."""

    def read() -> None:
        source = opened(name, root, role, download=download)
        source.fetch(np.arange(len(source)))

    with pytest.raises(DataError) as caught:
        read()
    text = str(caught.value)
    assert "\n" not in text
    assert not text.endswith(".")
    assert len(text) < 700
    return text


def bytes_of(source: ImageSet) -> list[np.ndarray]:
    """All images back as whole numbers [C, H, W], after a look at type and range."""
    images = source.fetch(np.arange(len(source)))
    for image in images:
        assert image.dtype == torch.float32
        assert image.is_contiguous() or image.stride(0) == 0  # grey made colour
        levels = np.rint(image.double().numpy() * 255)
        assert np.array_equal(image.numpy(), levels.astype(np.float32) / np.float32(255)), (
            "not v / 255"
        )
        if source.shape is not None:
            assert tuple(image.shape) == source.shape
    return [np.rint(image.numpy() * 255).astype(np.uint8) for image in images]


def stacked(source: ImageSet, indices: np.ndarray) -> torch.Tensor:
    return torch.stack(list(source.fetch(indices)))


def picture(path: Path, height: int, width: int, *, grey: bool = False) -> np.ndarray:
    """A random picture in a lossless format under the name its set gives it (PIL looks at the
    content); [C, H, W] of it.
    """
    pixels = RNG.integers(0, 256, (height, width) if grey else (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PPM" if path.suffix == ".ppm" else "PNG")
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


# Every set, made small in its own layout. Each maker writes both splits and gives the pixels and
# labels that are to be found in `test`.


def make_idx(
    root: Path, folder: str, names: tuple[str, str], pixels: np.ndarray, labels: list[int]
) -> None:
    for name in names:
        idx(root / folder / "raw" / f"{name}-images-idx3-ubyte", pixels)
        idx(root / folder / "raw" / f"{name}-labels-idx1-ubyte", np.array(labels, np.uint8))


def make_kmnist(root: Path, patch: pytest.MonkeyPatch):
    pixels = RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    make_idx(root, "KMNIST", ("train", "t10k"), pixels, [9, 0, 4])
    return list(pixels[:, None]), [9, 0, 4]


def make_emnist(root: Path, patch: pytest.MonkeyPatch, split: str = "balanced", first: int = 0):
    upright = RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    stored = np.ascontiguousarray(upright.transpose(0, 2, 1))
    make_idx(
        root,
        "EMNIST",
        (f"emnist-{split}-train", f"emnist-{split}-test"),
        stored,
        [first, first + 25, first + 10],
    )
    return list(upright[:, None]), [0, 25, 10]


def make_letters(root: Path, patch: pytest.MonkeyPatch):
    return make_emnist(root, patch, "letters", 1)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_svhn(root: Path, patch: pytest.MonkeyPatch):
    from scipy.io import savemat
    from torchvision import datasets

    pixels = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    stored = pixels.transpose(2, 3, 1, 0)  # the authors' order: rows, columns, colours, images
    lists = {}
    for role in ("train", "test"):
        savemat(
            root / f"{role}_32x32.mat",
            {"X": stored, "y": np.array([[10], [1], [9], [10]], np.uint8)},
        )
        lists[role] = ["", f"{role}_32x32.mat", md5(root / f"{role}_32x32.mat")]
    patch.setattr(datasets.SVHN, "split_list", lists)
    return list(pixels), [0, 1, 9, 0]


def make_stl10(root: Path, patch: pytest.MonkeyPatch):
    from torchvision import datasets

    pixels = RNG.integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    folder = root / "stl10_binary"
    folder.mkdir()
    for role in ("train", "test"):
        (folder / f"{role}_X.bin").write_bytes(
            np.ascontiguousarray(pixels.transpose(0, 1, 3, 2)).tobytes()
        )  # column by column
        (folder / f"{role}_y.bin").write_bytes(bytes((10, 1)))
    patch.setattr(
        datasets.STL10,
        "train_list",
        [[n, md5(folder / n)] for n in ("train_X.bin", "train_y.bin")] + [["unlabeled_X.bin", "0"]],
    )
    patch.setattr(
        datasets.STL10, "test_list", [[n, md5(folder / n)] for n in ("test_X.bin", "test_y.bin")]
    )
    return list(pixels), [9, 0]


def make_dtd(root: Path, patch: pytest.MonkeyPatch):
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    pixels = {}
    for split in ("train", "val", "test"):
        names = [f"striped/{split}_1.jpg", f"banded/{split}_0.jpg"]
        (folder / "labels" / f"{split}1.txt").write_text("".join(f"{name}\n" for name in names))
        pixels[split] = [picture(folder / "images" / name, 20, 30) for name in names]
    return pixels["test"], [1, 0]


def make_textures(root: Path, patch: pytest.MonkeyPatch):
    make_dtd(root, patch)
    files = sorted((root / "dtd" / "dtd" / "images").glob("*/*.jpg"))
    return [np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files], [0, 0, 0, 1, 1, 1]


def make_food101(root: Path, patch: pytest.MonkeyPatch):
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    listed = {"waffles": ["waffles/7"], "apple_pie": ["apple_pie/10", "apple_pie/2"]}
    for role in ("train", "test"):
        (folder / "meta" / f"{role}.json").write_text(json.dumps(listed))
    return [
        picture(folder / "images" / f"{name}.jpg", 12, 16)
        for names in listed.values()
        for name in names
    ], [1, 0, 0]


def make_places365(root: Path, patch: pytest.MonkeyPatch):
    from torchvision import datasets

    (root / "categories_places365.txt").write_text("/a/airfield 0\n/b/attic 1\n/a/abbey 2\n")
    (root / "places365_val.txt").write_text(
        "Places365_val_00000001.jpg 2\nPlaces365_val_00000002.jpg 0\n"
    )
    patch.setattr(
        datasets.Places365,
        "_CATEGORIES_META",
        ("categories_places365.txt", md5(root / "categories_places365.txt")),
    )
    patch.setattr(
        datasets.Places365,
        "_FILE_LIST_META",
        {"val": ("places365_val.txt", md5(root / "places365_val.txt"))},
    )
    return [
        picture(root / "val_256" / f"Places365_val_0000000{n}.jpg", 256, 256) for n in (1, 2)
    ], [2, 0]


def make_gtsrb(root: Path, patch: pytest.MonkeyPatch):
    folder = root / "gtsrb"
    names, labels = ["00000.ppm", "00001.ppm"], [42, 7]
    pixels = [picture(folder / "GTSRB" / "Final_Test" / "Images" / name, 15, 17) for name in names]
    with open(folder / "GT-final_test.csv", "w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Filename", "Width", "ClassId"])
        writer.writerows((name, 17, label) for name, label in zip(names, labels, strict=True))
    for label in range(43):
        picture(folder / "GTSRB" / "Training" / f"{label:05d}" / "00000_00000.ppm", 15, 15)
    return pixels, labels


def make_omniglot(root: Path, patch: pytest.MonkeyPatch):
    folder = root / "omniglot-py"
    pixels = []
    # Made in another order than the alphabet's: the file system's order must not number the
    # characters.
    for name in (
        "B_last/character01/1_01.png",
        "A_first/character02/2_01.png",
        "A_first/character01/3_01.png",
    ):
        drawing = RNG.integers(0, 2, (105, 105)).astype(bool)
        for part in ("images_background", "images_evaluation"):
            (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawing).save(folder / part / name)
        pixels.append(drawing[None].astype(np.uint8) * 255)
    return pixels[::-1], [0, 1, 2]


def make_lsun(root: Path, patch: pytest.MonkeyPatch):
    lmdb = pytest.importorskip("lmdb")
    pixels = []
    for name in " ".join(way for (way,) in STORED["lsun"].needs.values()).split():
        with (
            lmdb.open(str(root / name), map_size=2**20) as database,
            database.begin(write=True) as writing,
        ):
            for key in (b"b", b"a"):
                array = picture(root / "one.png", 24, 32)
                writing.put(key, (root / "one.png").read_bytes())
                if name == "test_lmdb":
                    pixels.append(array)
    return pixels[::-1], [-1, -1]


def make_usps(root: Path, patch: pytest.MonkeyPatch):
    import h5py  # type: ignore[import-untyped]

    levels = RNG.integers(
        0, 2, (3, 256)
    )  # black and white are among its 2,001 grey values and among the 256
    (root / "usps").mkdir()
    with h5py.File(root / "usps" / "usps.h5", "w") as file:
        for role in ("train", "test"):
            file[f"{role}/data"] = levels.astype(np.float32)
            file[f"{role}/target"] = np.array([3, 9, 0], np.int32)
    return [(row.reshape(1, 16, 16) * 255).astype(np.uint8) for row in levels], [3, 9, 0]


def make_tiny_imagenet(root: Path, patch: pytest.MonkeyPatch):
    folder = root / "tiny-imagenet-200"
    wnids = ["n02", "n01"]
    pixels = [picture(folder / "val" / "images" / f"val_{n}.JPEG", 64, 64) for n in range(2)]
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "val" / "val_annotations.txt").write_text(
        "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n"
    )
    for wnid in wnids:
        picture(folder / "train" / wnid / "images" / f"{wnid}_0.JPEG", 64, 64)
    return pixels, [1, 0]


def make_cifar_binary(
    root: Path, folder: str, names: list[str], label_bytes: int
) -> tuple[list[np.ndarray], list[int]]:
    pixels = RNG.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    labels = [3, 9, 0]
    (root / folder).mkdir()
    for name in names:
        rows = [
            bytes([7] * (label_bytes - 1) + [label]) + image.tobytes()
            for image, label in zip(pixels, labels, strict=True)
        ]
        (root / folder / name).write_bytes(b"".join(rows))
    return list(pixels), labels


def make_cifar10(root: Path, patch: pytest.MonkeyPatch):
    return make_cifar_binary(
        root,
        "cifar-10-batches-bin",
        [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"],
        1,
    )


def make_cifar100(root: Path, patch: pytest.MonkeyPatch):
    return make_cifar_binary(root, "cifar-100-binary", ["train.bin", "test.bin"], 2)


def make_cifar10_1(root: Path, patch: pytest.MonkeyPatch):
    pixels = RNG.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.save(root / "cifar10.1_v6_data.npy", pixels)
    np.save(root / "cifar10.1_v6_labels.npy", np.array([1, 9, 0], np.int32))
    return list(pixels.transpose(0, 3, 1, 2)), [1, 9, 0]


def make_mnist(root: Path, patch: pytest.MonkeyPatch, folder: str = "MNIST"):
    pixels = RNG.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    make_idx(root, folder, ("train", "t10k"), pixels, [7, 2])
    return list(pixels[:, None]), [7, 2]


def make_fashion(root: Path, patch: pytest.MonkeyPatch):
    return make_mnist(root, patch, "FashionMNIST")


MAKERS = {
    "cifar10": make_cifar10,
    "cifar100": make_cifar100,
    "cifar10.1": make_cifar10_1,
    "svhn": make_svhn,
    "mnist": make_mnist,
    "fashion-mnist": make_fashion,
    "kmnist": make_kmnist,
    "emnist": make_emnist,
    "emnist-letters": make_letters,
    "usps": make_usps,
    "stl10": make_stl10,
    "dtd": make_dtd,
    "textures": make_textures,
    "food101": make_food101,
    "places365": make_places365,
    "gtsrb": make_gtsrb,
    "omniglot": make_omniglot,
    "lsun": make_lsun,
    "tiny-imagenet": make_tiny_imagenet,
}
ALL = [
    name for name, known in STORED.items() if not known.corrupted
]  # those are in test_cifar_files.py


def test_every_named_set_is_tested():
    assert set(MAKERS) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_set_in_its_authors_layout_is_read_as_it_was_written(tmp_path, monkeypatch, name):
    pixels, labels = MAKERS[name](tmp_path, monkeypatch)
    source = opened(name, tmp_path)
    assert source.name == name
    assert source.role == "test"
    assert source.labels.tolist() == labels
    assert source.labels.dtype == np.int64
    found = bytes_of(source)
    assert len(found) == len(pixels)
    for image, original in zip(found, pixels, strict=True):
        assert np.array_equal(image, original)
    some = source.fetch(np.array([1, 0, 1]))
    assert [
        np.array_equal(np.rint(image.numpy() * 255), found[n])
        for image, n in zip(some, (1, 0, 1), strict=True)
    ] == [True] * 3
    for role in ENTRIES[name].roles:
        assert opened(name, tmp_path, role).role == role


@pytest.mark.parametrize("name", ALL)
def test_the_identity_is_that_of_content_labels_and_split(tmp_path, monkeypatch, name):
    (tmp_path / "one").mkdir()
    MAKERS[name](tmp_path / "one", monkeypatch)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = opened(name, tmp_path / "one").identity
    assert opened(name, tmp_path / "two").identity == before, "the place of a set is no part of it"
    other = [
        opened(name, tmp_path / "one", role).identity
        for role in ENTRIES[name].roles
        if role != "test"
    ]
    assert before not in other


@pytest.fixture
def looked_at(monkeypatch):
    """Paths that Python opens, lists or asks for."""
    found: list[str] = []

    def noted(function):
        def call(path=".", *rest, **named):
            if isinstance(path, str | os.PathLike):
                found.append(os.fspath(path))
            return function(path, *rest, **named)

        return call

    for place, name in (
        (builtins, "open"),
        (io, "open"),
        (os, "stat"),
        (os, "listdir"),
        (os, "scandir"),
    ):
        monkeypatch.setattr(place, name, noted(getattr(place, name)))
    return found


@pytest.mark.parametrize("name", ALL)
def test_opening_a_set_looks_at_its_places_alone(tmp_path, monkeypatch, looked_at, name):
    """What is remembered of a set on disk (`data.facts`) is forgotten after a change at one of
    `Entry.places`.
    """
    root = tmp_path / "sets"
    root.mkdir()
    for ask in (refusal, opened):
        if ask is opened:
            MAKERS[name](root, monkeypatch)
        for role in ENTRIES[name].roles:
            looked_at.clear()
            ask(name, root, role)
            below = {
                Path(path).relative_to(root).parts[0]
                for path in looked_at
                if path.startswith(f"{root}{os.sep}")
            }
            assert below
            assert below <= set(ENTRIES[name].places)
    monkeypatch.setattr(facts, "_RACY_NS", -(10**10))  # nothing has changed too recently
    before = facts._memory(name, "test", DataOptions(root=root))
    assert before is not None
    files = [
        path
        for place in ENTRIES[name].places
        for path in [root / place, *(root / place).rglob("*")]
        if path.is_file()
    ]
    assert files
    for file in files:
        file.rename(file.with_name("moved"))
        assert facts._memory(name, "test", DataOptions(root=root)) != before, file
        file.with_name("moved").rename(file)


@pytest.mark.parametrize(
    "name", ["mnist", "cifar10", "tiny-imagenet", "dtd", "usps", "cifar10.1", "omniglot"]
)
def test_another_pixel_or_label_is_another_set(tmp_path, monkeypatch, name):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    MAKERS[name](tmp_path / "one", monkeypatch)
    MAKERS[name](tmp_path / "two", monkeypatch)
    first, second = opened(name, tmp_path / "one"), opened(name, tmp_path / "two")
    assert first.labels.tolist() == second.labels.tolist()
    assert first.identity != second.identity
    if name == "mnist":
        idx(
            tmp_path / "one" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte",
            np.array([7, 3], np.uint8),
        )
        assert opened(name, tmp_path / "one").identity != first.identity


# What is missing


@pytest.mark.parametrize("name", ALL)
def test_a_missing_set_says_what_to_do(tmp_path, name):
    for role in ENTRIES[name].roles:
        text = refusal(name, tmp_path, role)
        assert text.startswith(f"{name} is not complete in {tmp_path} (")
        assert f"place there: {ENTRIES[name].files}" in text
        command = f"run `ahsar-eval data prepare {name} --download --data-root {tmp_path}`"
        assert (command in text) == ENTRIES[name].can_download
    assert not list(tmp_path.iterdir()), "looking for a set leaves nothing"


def test_the_default_place_is_not_repeated_in_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("AHSAR_EVAL_DATA", str(tmp_path / "a b"))
    with pytest.raises(
        DataError, match=r"run `ahsar-eval data prepare mnist --download`, or place"
    ):
        ENTRIES["mnist"].open("test", DataOptions())
    assert f"--data-root '{tmp_path / 'c d'}'`" in refusal("mnist", tmp_path / "c d")


@pytest.mark.parametrize("name", ALL)
def test_a_split_that_is_not_there_is_refused(tmp_path, name):
    text = refusal(name, tmp_path, "dev")
    assert text == f"{name} has no split 'dev'; known are {' and '.join(ENTRIES[name].roles)}"
    if "validation" not in ENTRIES[name].roles:
        assert "has no split 'validation'" in refusal(name, tmp_path, "validation")


@pytest.mark.parametrize("name", ALL)
def test_notes_are_one_line(name):
    entry = ENTRIES[name]
    assert entry.modality == "image"
    for text in (entry.note, entry.files):
        assert text
        assert "\n" not in text


# Downloads


@pytest.fixture
def no_network(monkeypatch):
    """Any request ends in an error and is written down."""
    requests: list[str] = []

    def refuse(request, *rest, **more):
        requests.append(request if isinstance(request, str) else request.full_url)
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return requests


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_downloaded_unasked_or_twice(tmp_path, monkeypatch, no_network, name):
    refusal(name, tmp_path)
    assert no_network == []
    MAKERS[name](tmp_path, monkeypatch)
    opened(name, tmp_path, download=True)
    assert no_network == []


@pytest.mark.parametrize("name", [name for name in ALL if ENTRIES[name].can_download])
def test_a_download_that_fails_is_one_sentence(tmp_path, no_network, name):
    for role in ENTRIES[name].roles:
        asked = len(no_network)
        text = refusal(name, tmp_path / "new", role, download=True)
        assert len(no_network) > asked, "the network was asked"
        assert f"{name} could not be downloaded to {tmp_path / 'new'} (" in text
        assert "check the connection" in text


def serve(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Requests are answered with the files of a folder."""

    class Answer(io.BytesIO):
        def __init__(self, url: str) -> None:
            content = (folder / url.rpartition("/")[2]).read_bytes()
            super().__init__(content)
            self.length = len(content)
            self.url = url

    monkeypatch.setattr(urllib.request, "urlopen", lambda request: Answer(request.full_url))


def test_a_download_is_unpacked_and_read_without_pickle(tmp_path, monkeypatch):
    """The archive of CIFAR-10 comes, with a file that would execute: it is refused before a byte of
    it is interpreted.
    """
    import pickle

    from torchvision import datasets

    class Executes:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "cifar-10-batches-py").mkdir()
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Executes()))
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    shutil.rmtree(tmp_path / "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(tmp_path / "source.tar.gz"))
    monkeypatch.setattr(datasets.CIFAR10, "url", "https://example.org/source.tar.gz")
    serve(monkeypatch, tmp_path)
    root = tmp_path / "root"
    for role in ("train", "test"):
        assert "is not the file of CIFAR's authors" in refusal("cifar10", root, role, download=True)
    assert (root / "cifar-10-batches-py" / "test_batch").is_file()
    assert not (tmp_path / "ran").exists()


def test_a_download_of_mnist_is_read(tmp_path, monkeypatch):
    from torchvision import datasets

    (tmp_path / "mirror").mkdir()
    pixels, _ = make_mnist(tmp_path / "made", monkeypatch)
    resources = []
    for name in [
        f"{part}-{kind}-ubyte"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]:
        packed = tmp_path / "mirror" / f"{name}.gz"
        packed.write_bytes(gzip.compress((tmp_path / "made" / "MNIST" / "raw" / name).read_bytes()))
        resources.append((packed.name, md5(packed)))
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["https://example.org/"])
    serve(monkeypatch, tmp_path / "mirror")
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    source = opened("mnist", tmp_path / "root", download=True)
    assert np.array_equal(np.stack(bytes_of(source)), np.stack(pixels))


# Damage


def damage(path: Path, kind: str) -> None:
    good = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": good[: len(good) // 2],
            "stub": good[:6],
            "text": b"not this file at all\n",
            "long": good + b"\0",
        }[kind]
    )


IDX_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.mark.parametrize("kind", ["empty", "cut", "stub", "text", "long"])
@pytest.mark.parametrize("file", IDX_FILES)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx_files_are_named(tmp_path, monkeypatch, kind, file, packed):
    make_mnist(tmp_path, monkeypatch)
    path = tmp_path / "MNIST" / "raw" / file
    if packed:
        content = path.read_bytes()
        damage(path, kind)
        path.with_name(file + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        assert content
    else:
        damage(path, kind)
    text = refusal("mnist", tmp_path)
    assert file in text
    assert "copy it again" in text


@pytest.mark.parametrize("kept", [0, 5, 30])
def test_a_truncated_gzip_is_named(tmp_path, monkeypatch, kept):
    make_mnist(tmp_path, monkeypatch)
    path = tmp_path / "MNIST" / "raw" / IDX_FILES[0]
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:kept])
    path.unlink()
    assert "t10k-images-idx3-ubyte.gz" in refusal("mnist", tmp_path)


@pytest.mark.parametrize(
    "shape",
    [(2**32 - 1, 2**32 - 1, 2**32 - 1), (0, 28, 28), (3, 28, 28), (2, 28, 27), (2**31, 2**31, 4)],
    ids=str,
)
def test_a_header_that_lies_is_refused(tmp_path, monkeypatch, shape):
    make_mnist(tmp_path, monkeypatch)
    path = tmp_path / "MNIST" / "raw" / IDX_FILES[0]
    path.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", *shape) + path.read_bytes()[16:])
    assert re.search(
        r"has 1,584 bytes and its header claims [\d,]+; it is damaged", refusal("mnist", tmp_path)
    )


@pytest.mark.parametrize(
    "magic", [(0, 0, 9, 3), (0, 0, 8, 1), (1, 0, 8, 3), (0, 0, 8, 255)], ids=str
)
def test_another_kind_of_idx_is_refused(tmp_path, monkeypatch, magic):
    make_mnist(tmp_path, monkeypatch)
    path = tmp_path / "MNIST" / "raw" / IDX_FILES[0]
    path.write_bytes(bytes(magic) + path.read_bytes()[4:])
    assert "is no idx file of uint8 with 3 axes" in refusal("mnist", tmp_path)


def test_images_and_labels_that_do_not_belong_together_are_refused(tmp_path, monkeypatch):
    make_mnist(tmp_path, monkeypatch)
    idx(tmp_path / "MNIST" / "raw" / IDX_FILES[1], np.array([1, 2, 3], np.uint8))
    assert "has 2 images and t10k-labels-idx1-ubyte has 3 labels" in refusal("mnist", tmp_path)
    idx(tmp_path / "MNIST" / "raw" / IDX_FILES[1], np.array([1, 10], np.uint8))
    assert "has labels from 1 to 10 and 10 classes" in refusal("mnist", tmp_path)
    for name in IDX_FILES:
        idx(
            tmp_path / "MNIST" / "raw" / name,
            np.zeros((0, 28, 28) if "images" in name else 0, np.uint8),
        )
    assert "holds no image in its test split" in refusal("mnist", tmp_path)


def test_a_pickle_that_torchvision_would_prefer_is_not_opened(tmp_path, monkeypatch):
    pixels, _ = make_mnist(tmp_path, monkeypatch)
    (tmp_path / "MNIST" / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save(
            (torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1)),
            tmp_path / "MNIST" / "processed" / name,
        )
    assert np.array_equal(np.stack(bytes_of(opened("mnist", tmp_path))), np.stack(pixels))


# One file of each other set, damaged in each way. `None`: there is no such file to damage.
DAMAGED = {
    "cifar10": "cifar-10-batches-bin/test_batch.bin",
    "cifar100": "cifar-100-binary/test.bin",
    "cifar10.1": "cifar10.1_v6_data.npy",
    "svhn": "test_32x32.mat",
    "usps": "usps/usps.h5",
    "stl10": "stl10_binary/test_X.bin",
    "dtd": "dtd/dtd/labels/test1.txt",
    "textures": "dtd/dtd/images/banded/test_0.jpg",
    "food101": "food-101/meta/test.json",
    "places365": "places365_val.txt",
    "gtsrb": "gtsrb/GT-final_test.csv",
    "omniglot": "omniglot-py/images_evaluation/A_first/character01/3_01.png",
    "lsun": "test_lmdb/data.mdb",
    "tiny-imagenet": "tiny-imagenet-200/val/val_annotations.txt",
    "food101 image": "food-101/images/waffles/7.jpg",
    "places365 image": "val_256/Places365_val_00000001.jpg",
    "gtsrb image": "gtsrb/GTSRB/Final_Test/Images/00000.ppm",
    "tiny-imagenet image": "tiny-imagenet-200/val/images/val_0.JPEG",
    "cifar10.1 labels": "cifar10.1_v6_labels.npy",
}


@pytest.mark.parametrize("kind", ["empty", "cut", "text"])
@pytest.mark.parametrize("case", list(DAMAGED))
def test_damaged_files_end_in_one_sentence(tmp_path, monkeypatch, case, kind):
    name = case.split()[0]
    MAKERS[name](tmp_path, monkeypatch)
    damage(tmp_path / DAMAGED[case], kind)
    if case in ("dtd", "tiny-imagenet") and kind == "cut":
        return  # a list of which the second half is missing is a shorter list: nothing can tell
    text = refusal(name, tmp_path)
    assert str(tmp_path) in text or name in text


@pytest.mark.parametrize(
    "case", [case for case in DAMAGED if case.endswith("image") or case == "omniglot"]
)
def test_an_image_that_is_listed_and_missing_is_named(tmp_path, monkeypatch, case):
    name = case.split()[0]
    MAKERS[name](tmp_path, monkeypatch)
    (tmp_path / DAMAGED[case]).unlink()
    assert re.match(
        rf"{re.escape(str(tmp_path))}\S+,? (which its set lists, cannot be read|holds no drawing)",
        refusal(name, tmp_path),
    )


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("dtd", "dtd/dtd/labels/test1.txt", "../secret.png\n"),
        ("food101", "food-101/meta/test.json", '{"a": ["../../../../secret"]}'),
        ("gtsrb", "gtsrb/GT-final_test.csv", "Filename;ClassId\n../../../../secret.png;1\n"),
        ("gtsrb", "gtsrb/GT-final_test.csv", "Filename;ClassId\n/secret.png;1\n"),
    ],
)
def test_a_list_of_files_leads_nowhere_else(tmp_path, monkeypatch, name, file, content):
    root = tmp_path / "root"
    root.mkdir()
    MAKERS[name](root, monkeypatch)
    picture(tmp_path / "secret.png", 4, 4)
    picture(tmp_path / "secret.jpg", 4, 4)
    (root / file).write_text(content)
    assert "does not lie in" in refusal(name, root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../../x.JPEG\tn01", "line 1 of .* names no image and class"),
        ("val_0.JPEG", "names no image"),
        ("val_0.JPEG\tn09", "class 'n09'"),
    ],
)
def test_annotations_of_tiny_imagenet_are_checked(tmp_path, monkeypatch, line, message):
    make_tiny_imagenet(tmp_path, monkeypatch)
    (tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt").write_text(line + "\n")
    assert re.search(message, refusal("tiny-imagenet", tmp_path))


def test_images_of_another_size_than_their_set_are_refused(tmp_path, monkeypatch):
    make_tiny_imagenet(tmp_path, monkeypatch)
    picture(tmp_path / "tiny-imagenet-200" / "val" / "images" / "val_1.JPEG", 64, 48)
    assert "val_1.JPEG is 48x64 in 3 channels, where its set has 64x64 in 3 channels" in refusal(
        "tiny-imagenet", tmp_path
    )


def test_links_that_point_to_themselves_are_no_files(tmp_path, monkeypatch):
    make_tiny_imagenet(tmp_path, monkeypatch)
    image = tmp_path / "tiny-imagenet-200" / "val" / "images" / "val_1.JPEG"
    image.unlink()
    os.symlink(image, image)
    assert "cannot be read (Too many levels of symbolic links" in refusal("tiny-imagenet", tmp_path)


@pytest.mark.parametrize(
    ("data", "target", "message"),
    [
        (np.zeros((2, 255), np.float32), np.zeros(2, np.int32), r"expected floats \[N, 256\]"),
        (np.zeros((2, 256), np.float32), np.zeros(3, np.int32), "and labels"),
        (np.full((2, 256), np.nan, np.float32), np.zeros(2, np.int32), r"outside \[0, 1\]"),
        (np.full((2, 256), 1.5, np.float32), np.zeros(2, np.int32), r"outside \[0, 1\]"),
        (
            np.zeros((2, 256), np.float32),
            np.array([0, 10], np.int32),
            "labels from 0 to 10 and 10 classes",
        ),
    ],
)
def test_what_usps_must_hold(tmp_path, data, target, message):
    import h5py  # type: ignore[import-untyped]

    (tmp_path / "usps").mkdir()
    with h5py.File(tmp_path / "usps" / "usps.h5", "w") as file:
        file["test/data"], file["test/target"] = data, target
    assert re.search(message, refusal("usps", tmp_path))
    assert "damaged" in refusal("usps", tmp_path, "train"), "the other split is not in the file"


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "test_lmdb").mkdir()
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    assert "which is not installed; run pip install lmdb" in refusal("lsun", tmp_path)


def test_lsun_leaves_nothing_in_the_current_folder(tmp_path, monkeypatch):
    make_lsun(tmp_path, monkeypatch)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    first, second = opened("lsun", tmp_path), opened("lsun", tmp_path, "validation")
    first.fetch(np.array([0]))
    assert second.labels.tolist() == sorted(list(range(10)) * 2)
    third, every = opened("lsun", tmp_path, "train"), np.arange(20)
    assert not any(
        torch.equal(*pair) for pair in zip(second.fetch(every), third.fetch(every), strict=True)
    ), "each split has its own"
    assert not list((tmp_path / "here").iterdir())


# Meaning of the labels


def test_sets_that_share_labels_share_classes(tmp_path, monkeypatch):
    spaces: dict[str, set[tuple[str, ...]]] = {}
    members: dict[str, set[str]] = {}
    for name in ALL:
        if name == "lsun":
            continue
        (tmp_path / name).mkdir()
        MAKERS[name](tmp_path / name, monkeypatch)
        source = opened(name, tmp_path / name)
        spaces.setdefault(source.label_space, set()).add(source.classes)
        members.setdefault(source.label_space, set()).add(name)
    assert members["digits"] == {"mnist", "usps", "svhn"}
    assert members["cifar10"] == {"cifar10", "cifar10.1"}
    assert members["cifar100"] == {"cifar100"}
    assert [space for space, names in members.items() if len(names) > 1] == [
        "cifar10",
        "digits",
        "dtd",
    ]
    assert {space: len(classes) for space, classes in spaces.items() if len(classes) > 1} == {}
    train, test = (opened("omniglot", tmp_path / "omniglot", role) for role in ("train", "test"))
    assert train.label_space != test.label_space, "its splits hold other characters"


def test_names_of_classes_are_those_of_torchvision():
    from torchvision import datasets

    assert list(classes_of("fashion-mnist")) == datasets.FashionMNIST.classes
    assert list(classes_of("kmnist")) == datasets.KMNIST.classes
    assert list(classes_of("emnist-balanced")) == datasets.EMNIST.classes_split_dict["balanced"]
    assert ["N/A", *classes_of("emnist-letters")] == datasets.EMNIST.classes_split_dict["letters"]
    (folders,) = STORED["lsun"].needs["validation"]
    theirs = datasets.LSUN._verify_classes(SimpleNamespace(), "val")
    assert [name.removesuffix("_lmdb") for name in folders.split()] == theirs
    assert folders.replace("_val_", "_train_") == STORED["lsun"].needs["train"][0]
    assert len(set(classes_of("cifar100"))) == 100
    assert list(classes_of("cifar100")) == sorted(classes_of("cifar100"))


# Real data


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_real_idx_sets_agree_with_struct_and_torchvision(tmp_path, shared_data, name, folder):
    from torchvision import datasets

    packed = shared_data / folder.lower() / folder / "raw"
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for file in packed.glob("t10k*.gz"):
        shutil.copy(file, raw)
    source = opened(name, tmp_path)
    with gzip.open(packed / "t10k-images-idx3-ubyte.gz") as reader:
        assert struct.unpack(">4I", reader.read(16)) == (2051, 10000, 28, 28)
        pixels = np.array(struct.unpack(f"{784 * 10000}B", reader.read()), np.uint8).reshape(
            10000, 1, 28, 28
        )
    with gzip.open(packed / "t10k-labels-idx1-ubyte.gz") as reader:
        assert struct.unpack(">2I", reader.read(8)) == (2049, 10000)
        assert source.labels.tolist() == list(reader.read())
    assert np.array_equal(
        stacked(source, np.arange(10000)).numpy(), pixels.astype(np.float32) / np.float32(255)
    )
    assert source.shape == (1, 28, 28)
    for file in packed.glob("*.gz"):
        content = gzip.decompress(file.read_bytes()) if file.name.startswith("t10k") else b"\0"
        (raw / file.stem).write_bytes(content)
    theirs = (
        datasets.MNIST(str(tmp_path), train=False)
        if name == "mnist"
        else datasets.FashionMNIST(str(tmp_path), train=False)
    )
    assert np.array_equal(theirs.data.numpy(), pixels[:, 0])
    assert theirs.targets.tolist() == source.labels.tolist()
    assert opened(name, tmp_path).identity == source.identity, (
        "plain and compressed files hold the same set"
    )


def test_real_usps_agrees_with_h5py_and_with_its_text_form(tmp_path, shared_data):
    import h5py  # type: ignore[import-untyped]

    (tmp_path / "usps").mkdir()
    shutil.copy(shared_data / "usps" / "usps.h5", tmp_path / "usps")
    with h5py.File(tmp_path / "usps" / "usps.h5") as file:
        values, labels = file["test/data"][:], file["test/target"][:]
    source = opened("usps", tmp_path)
    assert (len(source), len(opened("usps", tmp_path, "train"))) == (2007, 7291)
    assert source.labels.tolist() == labels.tolist()
    images = stacked(source, np.arange(2007)).numpy()
    assert np.abs(images - values.reshape(-1, 1, 16, 16)).max() < 1e-6
    text = "".join(
        f"{label + 1} "
        + " ".join(f"{n}:{2 * value - 1:.3f}" for n, value in enumerate(row, 1))
        + " \n"
        for label, row in zip(labels[:60], values[:60].astype(float), strict=True)
    )
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "usps.t.bz2").write_bytes(bz2.compress(text.encode()))
    from_text = opened("usps", tmp_path / "text")
    assert from_text.labels.tolist() == labels[:60].tolist()
    assert np.array_equal(stacked(from_text, np.arange(60)).numpy(), images[:60])
    (tmp_path / "text" / "usps.t.bz2").write_bytes(bz2.compress(text.encode())[:-20])
    assert "damaged" in refusal("usps", tmp_path / "text")


def test_the_digits_of_real_usps_are_mnists(tmp_path, shared_data):
    """A nearest-mean classifier of MNIST, both at 16×16, names most of USPS: its label 0 is the
    digit 0, not ten.
    """
    (tmp_path / "usps").mkdir()
    shutil.copy(shared_data / "usps" / "usps.h5", tmp_path / "usps")
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for file in (shared_data / "mnist" / "MNIST" / "raw").glob("t10k*.gz"):
        shutil.copy(file, tmp_path / "MNIST" / "raw")
    mnist, usps = opened("mnist", tmp_path), opened("usps", tmp_path)
    digits = stacked(mnist, np.arange(10000))[:, :, 4:24, 4:24]
    small = torch.nn.functional.interpolate(digits, (16, 16), mode="bilinear").flatten(1).numpy()
    means = np.stack([small[mnist.labels == digit].mean(0) for digit in range(10)])
    seen = stacked(usps, np.arange(len(usps))).flatten(1).numpy()
    guess = ((seen[:, None] - means[None]) ** 2).sum(2).argmin(1)
    per_digit = [float((guess[usps.labels == digit] == digit).mean()) for digit in range(10)]
    assert np.mean(guess == usps.labels) > 0.6
    assert sum(share > 0.4 for share in per_digit) >= 8


def some_members(archive: Path, target: Path, wanted: int) -> None:
    """The first `wanted` files of a compressed archive, without reading the rest of it."""
    with tarfile.open(archive, "r|xz") as reader:
        for member in reader:
            if member.isfile():
                reader.extract(member, target, filter="data")
                wanted -= 1
                if not wanted:
                    break


def test_real_tiny_imagenet_agrees_with_pil(tmp_path, shared_data):
    folder = tmp_path / "tinyimagenet32_val"
    archive = shared_data / "tinyimagenet32_val" / "tinyimagenet32_val_jpegs.tar.xz"
    with tarfile.open(archive) as reader:
        reader.extractall(
            folder,
            [
                m
                for m in reader.getmembers()
                if m.name.endswith(".txt") or re.search(r"val_1?\d\.JPEG$", m.name)
            ],
            filter="data",
        )
    lines = [
        line.split("\t")
        for line in (folder / "val" / "val_annotations.txt").read_text().splitlines()
    ]
    assert len(lines) == 10000
    kept = [line for line in lines if re.fullmatch(r"val_1?\d\.JPEG", line[0])]
    (folder / "val" / "val_annotations.txt").write_text(
        "".join("\t".join(line) + "\n" for line in kept)
    )
    source = opened("tiny-imagenet", tmp_path)
    assert len(source.classes) == 200
    assert [source.classes[label] for label in source.labels] == [line[1] for line in kept]
    assert len(kept) == 20
    for image, line in zip(source.fetch(np.arange(20)), kept, strict=True):
        with Image.open(folder / "val" / "images" / line[0]) as original:
            assert np.array_equal(
                image.numpy(),
                np.asarray(original.convert("RGB")).transpose(2, 0, 1) / np.float32(255),
            )
    assert "tinyimagenet32_val, 32x32" in source.note
    assert "tiny-imagenet-200/wnids.txt is missing" in refusal("tiny-imagenet", tmp_path, "train")


def test_real_cifar10_pictures_agree_with_pil(tmp_path, shared_data):
    from ahsar_eval.data import open_set

    some_members(shared_data / "cifar10_jpeg" / "test10000_jpegs.tar.xz", tmp_path, 30)
    source = open_set(f"folder:{tmp_path / 'test'}")
    files = sorted((tmp_path / "test").glob("*/*.jpg"))
    assert len(source) == 30
    assert [source.classes[label] for label in source.labels] == [
        file.parent.name for file in files
    ]
    for image, file in zip(source.fetch(np.arange(30)), files, strict=True):
        with Image.open(file) as original:
            assert np.array_equal(
                image.numpy(), np.asarray(original).transpose(2, 0, 1) / np.float32(255)
            )


def test_every_listed_picture_of_the_textures_must_be_there(tmp_path, monkeypatch):
    make_textures(tmp_path, monkeypatch)
    images = tmp_path / "dtd" / "dtd" / "images"
    picture(images / "banded" / "beside.jpg", 20, 30)
    assert len(opened("textures", tmp_path)) == 6, "listed ones alone"
    (images / "banded" / "val_0.jpg").unlink()
    assert "val_0.jpg" in refusal("textures", tmp_path)


@pytest.mark.parametrize(
    "row", ["3 1:0 2:-0.5", "3.7 " + " ".join(f"{k}:-1" for k in range(1, 257))]
)
def test_usps_as_text_with_a_row_cut_short_or_a_broken_label_is_refused(tmp_path, row):
    (tmp_path / "usps").mkdir()
    with bz2.open(tmp_path / "usps" / "usps.t.bz2", "wt") as file:
        whole = "2 " + " ".join(f"{k}:-1" for k in range(1, 257))
        file.write(f"{whole}\n{row}\n")
    assert "usps" in refusal("usps", tmp_path)
