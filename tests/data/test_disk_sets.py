"""Images from the user's own disk: folders and NumPy archives, read as they are or refused with a
reason.
"""

import io
import os
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ahsar_eval.data import SampleSet, open_set
from ahsar_eval.errors import DataError

RNG = np.random.default_rng(0)


def colour(side: int = 6) -> np.ndarray:
    return RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)


def save(path, pixels: np.ndarray, mode: str | None = None) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)
    return pixels


def fetched(source: SampleSet) -> list[np.ndarray]:
    return [image.numpy() for image in source.fetch(np.arange(len(source)))]


def folder(path, role: str = "test") -> SampleSet:
    return open_set(f"folder:{path}", role)


def npz(path, role: str = "test") -> SampleSet:
    return open_set(f"npz:{path}", role)


# Folders


def test_class_folders_give_labels_in_alphabetical_order(tmp_path):
    pixels = [
        save(tmp_path / name, colour()) for name in ("cat/2.png", "cat/10.png", "ant/deep/er/1.png")
    ]
    source = folder(tmp_path)
    assert source.classes == ("ant", "cat")
    assert source.labels.tolist() == [0, 1, 1]
    assert source.labels.dtype == np.int64
    expected = [pixels[2], pixels[1], pixels[0]]  # ant/…, cat/10.png, cat/2.png
    for found, original in zip(fetched(source), expected, strict=True):
        assert found.dtype == np.float32
        assert np.allclose(found, original.transpose(2, 0, 1) / 255, atol=1e-7)


def test_a_flat_folder_has_no_labels(tmp_path):
    for name in ("b.png", "a.JPG", "c.bmp"):
        save(tmp_path / name, colour())
    (tmp_path / "notes.txt").write_text("no image")
    source = folder(tmp_path)
    assert source.labels.tolist() == [-1, -1, -1]
    assert source.classes == ()
    assert source.role == "all"


def test_train_and_test_folders_are_chosen_by_role(tmp_path):
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for number in range(count):
            save(tmp_path / part / "a" / f"{number}.png", colour())
    assert [
        (len(folder(tmp_path, role)), folder(tmp_path, role).role)
        for role in ("train", "validation", "test")
    ] == [
        (3, "train"),
        (2, "validation"),
        (1, "test"),
    ]
    with pytest.raises(DataError, match="is divided but has no folder for its dev split"):
        folder(tmp_path, "dev")


def test_val_serves_as_test_where_there_is_no_test(tmp_path):
    save(tmp_path / "train" / "a" / "0.png", colour())
    save(tmp_path / "val" / "a" / "0.png", colour())
    assert folder(tmp_path, "test").role == "test"


def test_a_class_called_train_is_a_class(tmp_path):
    """Only a folder that holds both parts is divided."""
    for name in ("train", "ship"):
        save(tmp_path / name / "0.png", colour())
    assert folder(tmp_path).classes == ("ship", "train")


def test_the_identity_follows_the_files(tmp_path):
    save(tmp_path / "a" / "0.png", colour())
    before = folder(tmp_path).identity
    assert folder(tmp_path).identity == before
    save(tmp_path / "a" / "1.png", colour())
    assert folder(tmp_path).identity != before


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deep_images_are_scaled_not_clipped(tmp_path, dtype):
    top = 65535 if dtype == "uint16" else 1
    pixels = (np.array([[0, 0.25], [0.5, 1]]) * top).astype(dtype)
    save(tmp_path / ("a.png" if dtype == "uint16" else "a.tiff"), pixels)
    (found,) = fetched(folder(tmp_path))
    assert np.allclose(found, pixels[None].astype(np.float64) / top, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)]
)
def test_every_common_mode_becomes_grey_or_colour(tmp_path, mode, channels):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:2] = 255
    save(tmp_path / "a.png", pixels, mode)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == mode
    (found,) = fetched(folder(tmp_path))
    assert np.array_equal(
        found, np.repeat(pixels[None, ..., 0] / np.float32(255), channels, axis=0)
    )


def test_a_colour_palette_keeps_its_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 128, 255])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    (found,) = fetched(folder(tmp_path))
    assert (found * 255).round().astype(int)[:, 0].T.tolist() == [[255, 0, 0], [0, 128, 255]]


@pytest.mark.parametrize("kind", ["text", "truncated", "empty", "huge"])
def test_an_unreadable_image_is_named(tmp_path, kind):
    save(tmp_path / "a.png", colour(40))
    good = (tmp_path / "a.png").read_bytes()
    bad = {"text": b"no image", "truncated": good[: len(good) // 2], "empty": b"", "huge": None}[
        kind
    ]
    if bad is None:  # a header that claims 60,000 × 60,000 pixels
        save(tmp_path / "b.bmp", colour())
        content = bytearray((tmp_path / "b.bmp").read_bytes())
        content[18:26] = (60000).to_bytes(4, "little") * 2
        (tmp_path / "b.bmp").write_bytes(bytes(content))
    else:
        (tmp_path / "b.png").write_bytes(bad)
    source = folder(tmp_path)
    assert source.fetch(np.array([0]))[0].shape == (3, 40, 40), "the readable one is not affected"
    with pytest.raises(
        DataError, match=r"b\.(png|bmp) cannot be read as an image .*replace or remove it"
    ):
        source.fetch(np.array([0, 1]))


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(
        DataError, match="is no folder \\(nothing is there\\); give the path of a folder of images"
    ):
        folder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder \\(a file is there\\)"):
        folder(tmp_path / "file")
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no image file"):
        folder(tmp_path / "empty")


def test_links_that_lead_nowhere_or_back_are_counted(tmp_path):
    save(tmp_path / "a" / "1.png", colour())
    os.symlink("loop", tmp_path / "loop")
    os.symlink(tmp_path, tmp_path / "up")
    os.symlink("gone.png", tmp_path / "a" / "gone.png")
    found = folder(tmp_path)
    assert (len(found), found.classes) == (1, ("a",))
    assert found.skipped == {
        "link to a folder above": 1,
        "broken link": 1,
        "loose other file": 1,
    }


# Folders beside `train` and `test`, and what each role then reads
SPLITS: dict[str, dict[str, str | None]] = {
    "Train Test": {"train": "Train", "test": "Test", "validation": None},
    "train val": {"train": "train", "test": "val", "validation": "val"},
    "TRAIN VALID": {"train": "TRAIN", "test": "VALID", "validation": "VALID"},
    "training testing": {"train": "training", "test": "testing"},
    "Training Validation testing": {"test": "testing", "validation": "Validation"},
    "test": {"test": "test", "train": None},
    "val test": {"test": "test", "validation": "val", "train": None},
    "train": {"train": "train", "test": None},
    "train test extra": {"train": "train", "test": "test"},
    "train extra": {"train": "", "test": ""},
    "test extra": {"test": ""},
    "train Train test": {"train": None, "test": "test"},
}


@pytest.mark.parametrize("names", SPLITS)
def test_splits_are_known_in_capitals_or_not(tmp_path, names):
    for shade, name in enumerate(names.split(), start=1):
        save(tmp_path / name / "a" / "0.png", np.full((4, 4), 40 * shade, np.uint8))
    for role, chosen in SPLITS[names].items():
        if chosen is None:
            with pytest.raises(DataError, match=f"(no folder for|holds) its {role} split"):
                folder(tmp_path, role)
        elif chosen:
            found = folder(tmp_path, role)
            shade = 40 * (1 + names.split().index(chosen))
            assert [int(image.max() * 255 + 0.5) for image in found.fetch(np.arange(1))] == [shade]
            assert (found.role, found.classes) == (role, ("a",))
            extra = {"folder beside the splits": 1} if "extra" in names else {}
            assert found.skipped == extra
        else:
            assert folder(tmp_path, role).classes == tuple(sorted(names.split()))


def test_a_folder_says_what_it_did_not_read(tmp_path):
    for name in ("a/0.png", "a/deep/1.JPG", "b/0.gif"):
        save(tmp_path / name, colour())
    for name in ("a/Thumbs.db", "a/x.heic", "b/y.heic", "readme.txt", ".DS_Store"):
        (tmp_path / name).touch()
    save(tmp_path / ".ipynb_checkpoints" / "0.png", colour())
    save(tmp_path / "loose.png", colour())
    found = folder(tmp_path)
    assert (found.classes, found.labels.tolist()) == (("a", "b"), [0, 0, 1])
    assert found.skipped == {
        ".heic file": 2,
        "hidden file": 2,
        "hidden folder": 1,
        "loose .png file": 1,
        "loose .txt file": 1,
    }
    assert found.remarks == (
        "2 .heic files, 2 hidden files, 1 hidden folder, 1 loose .png file and 1 loose .txt file "
        "were not read",
    )


@pytest.mark.parametrize("names", ["0 1 2 9 10", "c1 c2 c10", "2a 10a", "a B", "01 02 10"])
def test_classes_are_in_natural_order(tmp_path, names):
    for name in names.split():
        save(tmp_path / name / "0.png", colour())
    found, expected = folder(tmp_path), names.split() if names != "a B" else ["B", "a"]
    assert list(found.classes) == expected
    natural = expected != sorted(expected)
    assert any("natural order" in one for one in found.said) == natural


def test_a_link_that_leads_back_is_not_followed_for_ever(tmp_path):
    save(tmp_path / "a" / "1.png", colour())
    os.symlink(tmp_path, tmp_path / "a" / "up")
    os.symlink(tmp_path / "a" / "x.png", tmp_path / "a" / "x.png")
    found = folder(tmp_path)
    assert (len(found), found.skipped) == (1, {"linked folder": 1, "broken link": 1})


def test_a_name_that_is_too_long_is_one_sentence():
    with pytest.raises(DataError, match=r"^folder:x{5000} is no folder \(nothing is there\)"):
        folder("x" * 5000)
    with pytest.raises(DataError, match=r"^npz:x{5000} is no file; give the path of an \.npz file"):
        npz("x" * 5000)


# Archives


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "float16"])
def test_layouts_and_types_are_read_alike(tmp_path, layout, dtype):
    images = RNG.integers(0, 256, (5, 3, 6, 7))
    if layout == "NHW":
        images = images[:, :1]
    pixels = images.astype(np.uint8) if dtype == "uint8" else (images / 255).astype(dtype)
    stored = {"NHW": pixels[:, 0], "NHWC": pixels.transpose(0, 2, 3, 1), "NCHW": pixels}[layout]
    np.savez(tmp_path / "set.npz", x=stored, y=np.array([0, 1, 2, 1, 0]))
    source = npz(tmp_path / "set.npz")
    assert source.shape == images.shape[1:]
    assert source.labels.tolist() == [0, 1, 2, 1, 0]
    assert source.classes == ("0", "1", "2")
    assert np.allclose(
        np.stack(fetched(source)), images / 255, atol=1e-3 if dtype == "float16" else 1e-6
    )
    assert all(image.dtype == torch.float32 for image in source.fetch(np.arange(5)))


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("data", "targets")])
def test_other_usual_names_are_known(tmp_path, images, labels):
    arrays: dict[str, Any] = {images: np.zeros((2, 8, 8), np.uint8), labels: np.array([3, 1])}
    np.savez(tmp_path / "set.npz", **arrays)
    assert npz(tmp_path / "set.npz").labels.tolist() == [3, 1]


def test_without_labels_they_are_unknown(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 8, 8), np.uint8))
    source = npz(tmp_path / "set.npz")
    assert source.labels.tolist() == [-1, -1]
    assert source.classes == ()


class Executes:
    """Pickled, it would write a file when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_pickled_objects_are_refused_unopened(tmp_path):
    np.savez(
        tmp_path / "set.npz",
        allow_pickle=True,
        x=np.array([Executes(str(tmp_path / "ran"))], dtype=object),
    )
    with pytest.raises(DataError, match="without executable content"):
        npz(tmp_path / "set.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.zeros((2, 3, 8, 3), np.uint8)},
            r"shape \(2, 3, 8, 3\), whose channel axis is ambiguous",
        ),
        ({"x": np.zeros((2, 8, 8, 4), np.uint8)}, r"shape \(2, 8, 8, 4\); expected \[N, H, W\]"),
        ({"x": np.zeros((2, 8), np.uint8)}, r"shape \(2, 8\); expected \[N, H, W\]"),
        ({"x": np.full((2, 8, 8), 1.5)}, r"floats from 1.5 to 1.5; expected \[0, 1\]"),
        ({"x": np.full((2, 8, 8), -0.1)}, r"floats from -0.1 to -0.1; expected \[0, 1\]"),
        ({"x": np.full((2, 8, 8), np.inf)}, r"floats from inf to inf"),
        (
            {"x": np.zeros((2, 8, 8), np.complex64)},
            r"type complex64; expected uint8, or floats in \[0, 1\]",
        ),
        ({"x": np.zeros((0, 8, 8), np.uint8)}, r"holds no image"),
        (
            {"x": np.zeros((2, 8, 8), np.uint8), "y": np.array([0])},
            r"labels of shape \(1,\) .*expected 2 integers",
        ),
        (
            {"x": np.zeros((2, 8, 8), np.uint8), "y": np.array([0.0, 1.0])},
            r"type float64; expected 2 integers",
        ),
        ({"z": np.zeros((2, 8, 8), np.uint8)}, r"holds z; expected one named x or images or data"),
    ],
)
def test_what_an_archive_must_hold(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=message):
        npz(tmp_path / "set.npz")


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"is no file; give the path of an \.npz file"):
        npz(tmp_path / "nowhere.npz")
    np.save(tmp_path / "single.npy", np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(DataError, match="is a single array, not an archive"):
        npz(tmp_path / "single.npy")
    (tmp_path / "text.npz").write_text("x = 1")
    with pytest.raises(DataError, match="cannot be read as a NumPy archive"):
        npz(tmp_path / "text.npz")


@pytest.mark.parametrize("kept", [0, 10, 100, -30])
def test_a_truncated_archive_is_refused(tmp_path, kept):
    np.savez(tmp_path / "set.npz", x=RNG.integers(0, 256, (9, 8, 8), dtype=np.uint8))
    (tmp_path / "set.npz").write_bytes((tmp_path / "set.npz").read_bytes()[:kept])
    with pytest.raises(DataError, match="cannot be read as a NumPy archive"):
        npz(tmp_path / "set.npz")


def test_no_flipped_byte_ends_in_another_error(tmp_path):
    """Damage to compressed data and to the archive's own headers surfaces in many ways inside zlib
    and zipfile.
    """
    np.savez_compressed(tmp_path / "set.npz", x=RNG.integers(0, 256, (9, 8, 8), dtype=np.uint8))
    good = (tmp_path / "set.npz").read_bytes()
    whole, refused = np.stack(fetched(npz(tmp_path / "set.npz"))), 0
    for place in range(len(good)):
        (tmp_path / "bad.npz").write_bytes(
            good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :]
        )
        try:
            found = np.stack(fetched(npz(tmp_path / "bad.npz")))
        except DataError:
            refused += 1
        else:
            assert np.array_equal(found, whole), (
                f"a flipped byte at {place} changed the images unnoticed"
            )
    assert refused > len(good) // 2


def member(header: str, content: bytes = bytes(256)) -> bytes:
    """An .npy file with this text as its header."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        member("("),
        member("(" * 300),
        member("-" * 3000 + "1"),
        member(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8, 8\udcd2, }".encode(
                "utf-8", "surrogateescape"
            ).decode("latin1")
        ),
        member("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 8, 8)}"),
        member("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 8, 8)}"),
        member("{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 8, 8)}"),
        member("{'descr': '|O', 'fortran_order': False, 'shape': (4, 8, 8)}"),
        member("{'descr': '|V8', 'fortran_order': False, 'shape': (4, 2, 4)}"),
        member("{'descr': '<M8', 'fortran_order': False, 'shape': (2, 4, 4)}"),
        member("{'descr': '|u1', 'fortran_order': False, 'shape': ()}"),
        member("[]"),
    ],
    ids=range(14),
)
def test_members_that_lie_about_themselves_are_refused(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(DataError) as caught:
        npz(tmp_path / "set.npz")
    assert str(caught.value).startswith(f"npz:{tmp_path / 'set.npz'} ")
    assert "\n" not in str(caught.value)


def test_an_encrypted_member_is_refused(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 8, 8), np.uint8))
    content = bytearray((tmp_path / "set.npz").read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "set.npz").write_bytes(bytes(content))
    with pytest.raises(DataError, match="RuntimeError"):
        npz(tmp_path / "set.npz")


def test_an_archive_whose_names_lead_elsewhere_writes_nothing(tmp_path):
    array = io.BytesIO()
    np.save(array, np.zeros((2, 8, 8), np.uint8))
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "set.npz", "w") as archive:
        for name in ("../x.npy", "../../x.npy", "/x.npy"):
            archive.writestr(name, array.getvalue())
    with pytest.raises(DataError, match=r"holds \.\./x, \.\./\.\./x, /x; expected one named x"):
        npz(tmp_path / "in" / "set.npz")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["in", "set.npz"]


@pytest.mark.parametrize(
    "labels", [np.array([0, -2]), np.array([0, 10**9]), np.array([0, 2**63], np.uint64)], ids=str
)
def test_labels_that_cannot_be_classes_are_refused(tmp_path, labels):
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 8, 8), np.uint8), y=labels)
    with pytest.raises(
        DataError, match=r"has labels from -?\d+ to \d+; expected 0 to 999999, or -1 for unknown"
    ):
        npz(tmp_path / "set.npz")


def test_an_unknown_compression_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY")
    content = bytearray((tmp_path / "set.npz").read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[8:10] = content[central + 10 : central + 12] = (97).to_bytes(2, "little")
    (tmp_path / "set.npz").write_bytes(bytes(content))
    with pytest.raises(DataError, match="NotImplementedError"):
        npz(tmp_path / "set.npz")


def test_folder_identity_follows_labels_and_content(tmp_path):
    from PIL import Image

    from ahsar_eval.data import open_set

    for name, value in (("a", 10), ("b", 20)):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4), value).save(tmp_path / name / "one.bmp")
    before = open_set(f"folder:{tmp_path}").identity
    stat = (tmp_path / "a" / "one.bmp").stat()
    Image.new("L", (4, 4), 11).save(tmp_path / "a" / "one.bmp")
    import os

    os.utime(tmp_path / "a" / "one.bmp", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    changed = open_set(f"folder:{tmp_path}").identity
    (tmp_path / "000").mkdir()
    relabelled = open_set(f"folder:{tmp_path}").identity
    assert len({before, changed, relabelled}) == 3, (
        "another pixel or another numbering of the classes is another set"
    )


# Names of labels

Y = np.array([3, 1])
OTHER = np.array([1, 0])
# Arrays beside x → labels, and what is said; None: refused
NAMED = {
    "label": ({"label": Y}, [3, 1], "labels are those of label"),
    "Targets": ({"Targets": Y}, [3, 1], "labels are those of Targets"),
    "y_test": ({"y_test": Y}, [3, 1], "labels are those of y_test"),
    "ytest": ({"ytest": Y}, [3, 1], "labels are those of ytest"),
    "fine_labels": ({"fine_labels": Y}, [3, 1], "labels are those of fine_labels"),
    "a column": ({"y": Y[:, None]}, [3, 1], ""),
    "bool": ({"y": Y > 1}, [1, 0], ""),
    "one fits": ({"label_names": np.array(["a", "b", "c"]), "labels": Y}, [3, 1], ""),
    "two that agree": ({"y": Y, "labels": Y}, [3, 1], ""),
    "two that fit": (
        {"fine_labels": Y, "coarse_labels": OTHER},
        [-1, -1],
        "no labels: fine_labels and coarse_labels fit; keep one of them",
    ),
    "none is named so": ({"index": Y}, [-1, -1], ""),
    "partly −1": ({"y": np.array([-1, 2])}, [-1, 2], "1 of 2 samples have a label"),
    "partly NaN": ({"y": np.array([np.nan, 2.0])}, [-1, 2], "1 of 2 samples have a label"),
    "too many": ({"y_train": np.arange(3)}, None, r"labels of shape \(3,\)"),
    "one-hot": ({"labels": np.eye(2)}, None, r"labels of shape \(2, 2\) .*expected 2 integers"),
    "words": ({"y": np.array(["cat", "dog"])}, None, "type <U3; expected 2 integers"),
    "halves": ({"y": np.array([np.nan, 0.5])}, None, "type float64; expected 2 integers"),
}


@pytest.mark.parametrize("case", NAMED)
def test_labels_are_taken_where_one_array_fits(tmp_path, case):
    arrays, labels, said = NAMED[case]
    np.savez(tmp_path / "set.npz", allow_pickle=False, x=np.zeros((2, 8, 8), np.uint8), **arrays)
    if labels is None:
        with pytest.raises(DataError, match=said):
            npz(tmp_path / "set.npz")
        return
    found = npz(tmp_path / "set.npz")
    assert found.labels.tolist() == labels
    assert said in " ".join(found.said)
    assert len(found.said) == bool(said)
    unread = {"index", "label_names"} & set(arrays)
    assert found.skipped == ({"other array": 1} if unread else {})


@pytest.mark.parametrize(
    "names",
    ["x_train y_train x_test y_test", "train_images train_labels val_images val_labels"],
)
def test_an_archive_of_several_splits_is_divided(tmp_path, names):
    train, train_labels, test, test_labels = names.split()
    shades = {"train": 200, "test": 100}
    arrays: dict[str, Any] = {
        train: np.full((3, 8, 8), shades["train"], np.uint8),
        train_labels: np.array([0, 1, 2]),
        test: np.full((2, 8, 8), shades["test"], np.uint8),
        test_labels: np.array([2, 1]),
    }
    np.savez(tmp_path / "set.npz", **arrays)
    found = {role: npz(tmp_path / "set.npz", role) for role in ("train", "test")}
    assert [one.labels.tolist() for one in found.values()] == [[0, 1, 2], [2, 1]]
    assert [one.role for one in found.values()] == ["train", "test"]
    for role, one in found.items():
        assert np.allclose(fetched(one)[0], shades[role] / 255)
    assert found["train"].identity != found["test"].identity
    if "val" in names:
        assert npz(tmp_path / "set.npz", "validation").labels.tolist() == [2, 1]
    else:
        with pytest.raises(DataError, match="is divided but has no images for its validation spl"):
            npz(tmp_path / "set.npz", "validation")
