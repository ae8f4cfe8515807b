"""CIFAR batches without executing their pickles, CIFAR-10.1, and the official corrupted files, read
without loading them whole.
"""

import hashlib
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.data import DataOptions, facts, open_split, open_splits, parse
from ahsar_eval.data.array_files import cifar_c, read_arrays
from ahsar_eval.data.sets import ENTRIES, MD5, STORED, classes_of
from ahsar_eval.errors import DataError

RNG = np.random.default_rng(1)
CIFAR_C = {"cifar10-c": "CIFAR-10-C", "cifar100-c": "CIFAR-100-C"}


def authors_pickle(pixels: np.ndarray, labels: list[int], key: str = "labels") -> bytes:
    """A batch in the opcodes that Python 2 wrote in 2009: protocol 2, byte strings,
    numpy.core.multiarray.
    """

    def text(value: bytes) -> bytes:
        return (
            b"U" + bytes([len(value)]) + value
            if len(value) < 256
            else b"T" + len(value).to_bytes(4, "little") + value
        )

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    rows, columns = pixels.shape
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + number(0)
        + b"\x85"
        + text(b"b")
        + b"\x87R"
    )
    array += (
        b"("
        + number(1)
        + number(rows)
        + number(columns)
        + b"\x86"
        + dtype
        + b"\x89"
        + text(pixels.tobytes())
        + b"tb"
    )
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    return (
        b"\x80\x02}("
        + text(b"data")
        + array
        + text(key.encode())
        + listed
        + text(b"batch_label")
        + text(b"testing batch 1 of 1")
        + b"u."
    )


# Files of the test split in the Python and in the binary version, the key of the labels in the
# first, and how many bytes of label a row of the second has.
TEST_FILES = {
    "cifar10": (
        "cifar-10-batches-py/test_batch",
        "cifar-10-batches-bin/test_batch.bin",
        "labels",
        1,
    ),
    "cifar100": ("cifar-100-python/test", "cifar-100-binary/test.bin", "fine_labels", 2),
}


def batch_file(
    root: Path, patch: pytest.MonkeyPatch, name: str = "cifar10", content: bytes = b""
) -> np.ndarray:
    """A test batch of five images in the Python version, whose checksum is taken for the
    authors'; its pixels.
    """
    pixels = RNG.integers(0, 256, (5, 3072), dtype=np.uint8)
    file, _, key, _ = TEST_FILES[name]
    content = content or authors_pickle(pixels, [3, 8, 0, 9, 1], key)
    (root / file).parent.mkdir(parents=True)
    (root / file).write_bytes(content)
    patch.setitem(MD5, Path(file).name, hashlib.md5(content).hexdigest())
    return pixels


def opened(root: Path, name: str = "cifar10"):
    return ENTRIES[name].open("test", DataOptions(root=root))


def numbers(content) -> np.ndarray:
    return np.stack(
        [
            np.rint(image.numpy() * 255).astype(np.uint8)
            for image in content.fetch(np.arange(len(content.labels)))
        ]
    )


@pytest.mark.parametrize("name", TEST_FILES)
def test_the_authors_own_pickle_is_read(tmp_path, monkeypatch, name):
    pixels = batch_file(tmp_path, monkeypatch, name)
    found = opened(tmp_path, name)
    assert found.labels.tolist() == [3, 8, 0, 9, 1]
    assert np.array_equal(numbers(found), pixels.reshape(5, 3, 32, 32))
    file, _, key, _ = TEST_FILES[name]
    oracle = pickle.loads((tmp_path / file).read_bytes(), encoding="bytes")
    assert np.array_equal(oracle[b"data"], pixels), (
        "the bytes of this test are what Python itself reads"
    )
    assert oracle[key.encode()] == [3, 8, 0, 9, 1]


@pytest.mark.parametrize("name", TEST_FILES)
def test_the_binary_version_is_the_same_set(tmp_path, monkeypatch, name):
    pixels = batch_file(tmp_path / "python", monkeypatch, name)
    _, file, _, label_bytes = TEST_FILES[name]
    rows = b"".join(
        bytes([5] * (label_bytes - 1) + [n]) + row.tobytes()
        for n, row in zip([3, 8, 0, 9, 1], pixels, strict=True)
    )
    (tmp_path / "binary" / file).parent.mkdir(parents=True)
    (tmp_path / "binary" / file).write_bytes(rows)
    first, second = opened(tmp_path / "python", name), opened(tmp_path / "binary", name)
    assert first.identity == second.identity
    assert first.labels.tolist() == second.labels.tolist()


def test_the_checksums_are_torchvisions():
    from torchvision import datasets

    theirs = [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]
    theirs += [*datasets.CIFAR100.train_list, *datasets.CIFAR100.test_list]
    assert [list(pair) for pair in MD5.items()] == theirs


class Executes:
    """Pickled, it would write a file when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_batch_with_another_checksum_is_refused_unopened(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(
        pickle.dumps(Executes(str(tmp_path / "ran")))
    )
    monkeypatch.setattr(
        "ahsar_eval.data.array_files.read_arrays",
        lambda data: pytest.fail("it was parsed"),
    )
    with pytest.raises(
        DataError,
        match=(
            r"is not the file of CIFAR's authors \(MD5 \w{32}, expected 40351d\w+\) and could "
            r"execute code; remove"
        ),
    ):
        ENTRIES["cifar10"].open("test", DataOptions(root=tmp_path))
    assert not (tmp_path / "ran").exists()


def test_even_with_the_right_checksum_nothing_is_executed(tmp_path, monkeypatch):
    content = pickle.dumps({"data": Executes(str(tmp_path / "ran"))})
    batch_file(tmp_path, monkeypatch, content=content)
    with pytest.raises(
        DataError, match=r"is damaged \(UnpicklingError: it wants to call (_io|io)\.open\)"
    ):
        opened(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "dtype.__reduce__"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("_codecs", "encode"),
        ("copyreg", "_reconstructor"),
    ],
)
@pytest.mark.parametrize("opcode", ["global", "stack"])
def test_a_pickle_can_call_nothing_but_array_building(module, name, opcode):
    if opcode == "global":
        asked = b"c" + module.encode() + b"\n" + name.encode() + b"\n"
    else:
        asked = (
            b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
            + b"\x93"
        )
    with pytest.raises(pickle.UnpicklingError, match="it wants to call"):
        read_arrays(b"\x80\x04" + asked + b")R.")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cnumpy\nndarray\n(K\x01tR.",  # ndarray called directly
        b"\x80\x02cnumpy\ndtype\nU\x01O\x85R.",  # objects
        # another class
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R.",
        # 2 GB of nothing
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"J\x00\x00\x00\x7f\x85U\x01b\x87R.",
    ],
)
def test_arrays_of_other_kinds_are_refused(content):
    with pytest.raises((pickle.UnpicklingError, TypeError)):
        read_arrays(content)


@settings(max_examples=150)
@given(st.data())
def test_damage_behind_the_right_checksum_is_one_sentence(tmp_path_factory, data):
    good = authors_pickle(np.zeros((2, 3072), np.uint8), [1, 2])
    place = data.draw(st.integers(0, 250) | st.integers(len(good) - 80, len(good) - 1))
    bad = good[:place] + bytes([data.draw(st.integers(0, 255))]) + good[place + 1 :]
    bad = bad[: data.draw(st.sampled_from([len(bad), place]))]
    folder = tmp_path_factory.mktemp("damaged")
    with pytest.MonkeyPatch.context() as patch:
        batch_file(folder, patch, content=bad or b"\0")
        try:
            labels = opened(folder).labels.tolist()
        except DataError:
            return  # and nothing else is raised
    assert len(labels) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({b"data": [1, 2], b"labels": [1]}, 3), "is damaged"),
        (pickle.dumps({b"labels": [1]}, 3), "KeyError"),
        (pickle.dumps([1], 3), "TypeError"),
        (authors_pickle(np.zeros((2, 3000), np.uint8), [1, 2]), "cannot reshape"),
    ],
)
def test_what_a_batch_must_hold(tmp_path, monkeypatch, content, message):
    batch_file(tmp_path, monkeypatch, content=content)
    with pytest.raises(DataError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize("size", [0, 3072, 3074, 2 * 3073 - 1])
def test_a_binary_file_of_another_size_is_refused(tmp_path, size):
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(bytes(size))
    with pytest.raises(DataError, match=rf"has {size:,} bytes; expected a multiple of 3073"):
        ENTRIES["cifar10"].open("test", DataOptions(root=tmp_path))


def test_a_label_beyond_the_classes_is_refused(tmp_path):
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(DataError, match="labels from 10 to 10 and 10 classes"):
        ENTRIES["cifar10"].open("test", DataOptions(root=tmp_path))


# The official corrupted files: 153 MB each, so that the test's are written once, sparse (zeros take
# no room), with a mark in some rows.

MARKED = (0, 9_999, 10_000, 20_007, 29_999, 49_999)


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("official")
    for folder in CIFAR_C.values():
        (root / folder).mkdir()
        images = np.lib.format.open_memmap(
            root / folder / "fog.npy", mode="w+", dtype=np.uint8, shape=(50_000, 32, 32, 3)
        )
        for row in MARKED:
            images[row, 1, 2] = (
                row % 251,
                row % 241,
                row % 239,
            )  # red, green, blue of the pixel in line 1, column 2
        images.flush()
        np.save(root / folder / "labels.npy", np.tile(np.arange(10_000) % 10, 5))
    return root


@pytest.mark.parametrize("dataset", list(CIFAR_C))
def test_severity_is_a_block_of_ten_thousand_rows(official, dataset):
    options = DataOptions(root=official)
    identities = set()
    for severity in range(1, 6):
        source = cifar_c(dataset, "fog", severity, options)
        assert (source.name, source.role, len(source), source.shape) == (
            dataset,
            "test",
            10_000,
            (3, 32, 32),
        )
        assert source.labels.tolist() == [n % 10 for n in range(10_000)]
        assert source.label_space == dataset.removesuffix("-c")
        identities.add(source.identity)
        for row in MARKED:
            if row // 10_000 + 1 == severity:
                (image,) = source.fetch(np.array([row % 10_000]))
                assert np.rint(image[:, 1, 2].numpy() * 255).tolist() == [
                    row % 251,
                    row % 241,
                    row % 239,
                ]
                assert float(image.sum()) == pytest.approx(float(image[:, 1, 2].sum()))
    assert len(identities) == 5


def test_a_corrupted_file_is_not_loaded_whole(official):
    tracemalloc.start()
    try:
        source = cifar_c("cifar10-c", "fog", 3, DataOptions(root=official))
        source.fetch(np.arange(0, 10_000, 100))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 70e6, f"{peak / 1e6:.0f} MB for 31 MB of images"


@pytest.mark.parametrize("dataset", list(CIFAR_C))
def test_a_set_of_corrupted_files_is_opened_by_its_corruption(official, dataset):
    entry = ENTRIES[dataset]
    assert ENTRIES[dataset].roles == ("test",)
    assert not entry.can_download
    assert CIFAR_C[dataset] in entry.files
    with pytest.raises(DataError) as caught:
        entry.open("test", DataOptions(root=official))
    assert str(caught.value) == (
        f"{dataset} holds corrupted images only; name a corruption and its severity, as in "
        f"{dataset}:fog:3"
    )
    split = open_split(f"{dataset}:fog:3", (3, 32, 32), options=DataOptions(root=official))
    assert (split.name, len(split), split.adaptation) == (f"{dataset}:fog:3", 10_000, "none")
    assert np.rint(split.tensors(np.array([7]))[0, 0, :, 1, 2].numpy() * 255).tolist() == [
        20_007 % 251,
        20_007 % 241,
        20_007 % 239,
    ]


def test_corrupted_files_are_read_once_to_be_described(official, tmp_path, monkeypatch):
    opened: list[str] = []

    def counted(text, *rest, **named):
        opened.append(text)
        return open_splits(text, *rest, **named)

    monkeypatch.setattr(facts, "open_splits", counted)
    monkeypatch.setattr(facts, "_RACY_NS", 0)
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path))
    for _ in range(2):
        found = facts.facts_of("cifar10-c:fog:3", "test", DataOptions(root=official))
    assert found.note == "the authors' own file CIFAR-10-C/fog.npy, severity 3"
    assert opened == ["cifar10-c:fog:3"]
    assert (
        facts.facts_of("cifar10-c:fog:4", "test", DataOptions(root=official)).identity
        != found.identity
    )
    labels = official / "CIFAR-10-C" / "labels.npy"
    os.utime(labels)
    facts.facts_of("cifar10-c:fog:3", "test", DataOptions(root=official))
    assert len(opened) == 3


def test_sets_of_stored_corruptions_and_their_nineteen_names():
    assert list(CIFAR_C) == [name for name, known in STORED.items() if known.corrupted]
    for name in CIFAR_C:
        stored = {shift for shift, _ in parse(name).variants}
        assert len(stored) == 19
        assert f" {len(stored)} corruptions at 5 severities" in ENTRIES[name].note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cifar10-c:fogg", "unknown shift 'fogg' in 'cifar10-c:fogg'"),
        ("cifar10-c:rotation:1", "unknown shift 'rotation'"),
        ("cifar10-c:../labels:1", "unknown shift '../labels'"),
        ("cifar10-c:fog:0", "severity '0' in 'cifar10-c:fog:0' is none; expected a whole number"),
        ("cifar10-c:fog:6", "severity '6'"),
        (
            "cifar10-c:snow:1",
            r"is not complete in .* \(CIFAR-10-C/snow.npy is missing\); place there: "
            r"CIFAR-10-C/<corruption>.npy",
        ),
    ],
)
def test_what_is_not_there_is_refused(official, text, message):
    with pytest.raises(DataError, match=message):
        open_splits(text, (3, 32, 32), options=DataOptions(root=official))


def test_missing_labels_are_named(tmp_path):
    (tmp_path / "CIFAR-10-C").mkdir()
    np.save(tmp_path / "CIFAR-10-C" / "fog.npy", np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match=r"CIFAR-10-C/labels.npy is missing"):
        cifar_c("cifar10-c", "fog", 1, DataOptions(root=tmp_path))


def corrupted_pair(folder: Path, **arrays: np.ndarray) -> None:
    (folder / "CIFAR-10-C").mkdir(exist_ok=True)
    stored: dict[str, np.ndarray] = {
        "fog": np.zeros((2, 32, 32, 3), np.uint8),
        "labels": np.zeros(50_000, np.int64),
        **arrays,
    }
    for name, array in stored.items():
        np.save(folder / "CIFAR-10-C" / f"{name}.npy", array, allow_pickle=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"fog.npy holds uint8 \(2, 32, 32, 3\); expected uint8 \(50000, 32, 32, 3\)"),
        ({"fog": np.zeros((2, 32, 32, 3))}, r"holds float64 \(2, 32, 32, 3\)"),
        (
            {"fog": np.array([{}, []], dtype=object)},
            "fog.npy cannot be read without executing its content",
        ),
        (
            {"labels": np.array([{}, []], dtype=object)},
            "labels.npy cannot be read without executing its content",
        ),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, message):
    corrupted_pair(tmp_path, **arrays)
    with pytest.raises(DataError, match=message):
        cifar_c("cifar10-c", "fog", 1, DataOptions(root=tmp_path))


def test_labels_are_checked(official, tmp_path):
    (tmp_path / "CIFAR-10-C").mkdir()
    (tmp_path / "CIFAR-10-C" / "fog.npy").symlink_to(official / "CIFAR-10-C" / "fog.npy")
    for labels, message in [
        (np.zeros(9, int), r"int64 \(9,\)"),
        (np.zeros(50_000), "float64"),
        (np.full(50_000, 10), "labels from 10 to 10"),
    ]:
        np.save(tmp_path / "CIFAR-10-C" / "labels.npy", labels)
        with pytest.raises(DataError, match=message):
            cifar_c("cifar10-c", "fog", 1, DataOptions(root=tmp_path))


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "archive", "pickle", "brackets"])
def test_damaged_arrays_are_one_sentence(tmp_path, kind):
    corrupted_pair(tmp_path)
    file = tmp_path / "CIFAR-10-C" / "fog.npy"
    if kind == "archive":
        with open(file, "wb") as writer:
            np.savez(writer, x=np.zeros(3))
    elif kind == "pickle":
        file.write_bytes(pickle.dumps(Executes(str(tmp_path / "ran"))))
    else:
        good = file.read_bytes()
        file.write_bytes(
            {
                "empty": b"",
                "cut": good[:1000],
                "text": b"no array",
                "brackets": good[:10] + b"(" * 118 + good[128:],
            }[kind]
        )
    with pytest.raises(
        DataError,
        match=(
            r"fog.npy cannot be read without executing its content \(\w+\)|"
            r"cifar10-c in .* is damaged \(AttributeError: 'NpzFile'"
        ),
    ):
        cifar_c("cifar10-c", "fog", 1, DataOptions(root=tmp_path))
    assert not (tmp_path / "ran").exists()


def test_cifar_10_1_has_cifar_10s_classes(tmp_path):
    pixels = RNG.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "cifar10.1_v6_data.npy", pixels)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.array([0, 9, 3, 3], np.uint8))
    found = opened(tmp_path, "cifar10.1")
    assert np.array_equal(numbers(found), pixels.transpose(0, 3, 1, 2))
    assert (found.labels.tolist(), found.classes) == ([0, 9, 3, 3], classes_of("cifar10"))
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.array([0, 9, 3], np.uint8))
    with pytest.raises(DataError, match=r"holds uint8 \(3,\); expected 4 whole numbers"):
        opened(tmp_path, "cifar10.1")
    np.save(tmp_path / "cifar10.1_v6_data.npy", pixels.astype(float))
    with pytest.raises(DataError, match=r"holds float64 .*; expected uint8 \(N, 32, 32, 3\)"):
        opened(tmp_path, "cifar10.1")
