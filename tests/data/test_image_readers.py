"""Whatever lies in a folder or an archive of images is read, or refused by an error of the package:
hypothesis looks for anything else.
"""

import io
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ahsar_eval.data import DataOptions, open_set
from ahsar_eval.data.classes import Classes, in_classes_of
from ahsar_eval.data.images import read_image
from ahsar_eval.data.split import split_of
from ahsar_eval.errors import AhsarError

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F", "YCbCr"]
SUFFIXES = ["png", "gif", "jpg", "tiff", "bmp", "webp", "ppm", "tga"]
NAMES = st.sampled_from(
    ["0", "1", "10", "2", "cat", "Cat", ".hid", "__MACOSX", "train", "Test", "val", "ä ö", "a.b"]
)
ARRAYS = st.sampled_from(
    ["x", "X", "images", "x_test", "x_train", "y", "y_test", "labels", "fine_labels", "label", "z"]
)
TYPES = st.sampled_from(
    ["u1", "u2", "u4", "i1", "i4", "i8", "f2", "f4", "f8", "?", "c8", "U3", "M8[s]"]
)
ORDINARY, EVERY = 60, 3_400  # of each of three
SETTINGS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "derandomize": True,
}


def used(source) -> None:
    """As an evaluation uses a set: labels of a network, and every sample at its size."""
    known = in_classes_of(split_of(source, source.shape or (1, 8, 8)), Classes("net", 4))
    assert len(known.labels) == len(source)
    for place in range(len(source)):
        (image,) = source.fetch(np.array([place]))
        assert image.shape[0] in (1, 2, 3)
        assert not (image < 0).any()
        assert not (image > 1).any()


def tried(action) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refusal = ""
        try:
            action()
        except AhsarError as error:
            refusal = str(error)
        assert "\n" not in refusal


@st.composite
def pictures(draw) -> tuple[str, bytes]:
    """A picture file, often damaged, and its suffix, sometimes another's."""
    mode, suffix = draw(st.sampled_from(MODES)), draw(st.sampled_from(SUFFIXES))
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    maker = np.random.default_rng(draw(st.integers(0, 99)))
    levels = draw(st.sampled_from([2, 17, 256]))
    image = Image.fromarray(maker.integers(0, levels, shape, dtype=np.uint16).astype(np.uint8))
    image = image.convert("L" if mode.startswith("I") or mode == "F" else mode)
    if mode.startswith("I") or mode == "F":
        top = draw(st.sampled_from([1, 255, 4095, 65535, 0.5]))
        pixels = np.asarray(image, np.float64) / 255 * top
        image = Image.fromarray(
            pixels.astype({"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode])
        )
    tag = Image.Exif()
    tag[0x0112] = draw(st.integers(0, 9))
    content = io.BytesIO()
    try:
        image.save(content, {"jpg": "jpeg"}.get(suffix, suffix), exif=tag)
    except (OSError, ValueError, KeyError):
        image.convert("RGB").save(content, "png")
    data = bytearray(content.getvalue())
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.integers(0, 5)) == 0:
        del data[draw(st.integers(0, len(data) - 1)) :]
    return draw(st.sampled_from([suffix, suffix.upper(), "png", "heic", "txt"])), bytes(data)


FOLDERS = st.lists(st.tuples(st.lists(NAMES, max_size=2), pictures()), max_size=5)
ROLES = st.sampled_from(["train", "test", "validation", "all"])


@st.composite
def archives(draw) -> dict[str, np.ndarray]:
    found = {}
    count = draw(st.integers(0, 4))
    for name in draw(st.lists(ARRAYS, unique=True, max_size=4)):
        label = "y" in name or "label" in name
        shape = (count, *draw(st.lists(st.integers(1, 5), min_size=0, max_size=3)))
        shape = (count,) if label and draw(st.integers(0, 3)) else shape
        values = draw(
            st.lists(
                st.sampled_from([0, 1, 2, 3, 4, -1, 255, 4095, 65535, 1e9, 0.5, np.nan, np.inf]),
                min_size=1,
                max_size=4,
            )
        )
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = np.resize(np.array(values), shape).astype(np.dtype(draw(TYPES)))
    return found


def check_pictures(tmp_path_factory, count: int) -> None:
    @settings(max_examples=count, **SETTINGS)
    @given(picture=pictures())
    def check(picture):
        _, content = picture
        tried(lambda: read_image(content, "bytes"))

    check()


def check_folders(tmp_path_factory, count: int) -> None:
    @settings(max_examples=count, **SETTINGS)
    @given(files=FOLDERS, role=ROLES, background=st.sampled_from(["white", "#123456"]))
    def check(files, role, background):
        root = tmp_path_factory.mktemp("folder")
        for number, (folders, (suffix, content)) in enumerate(files):
            place = root.joinpath(*folders)
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.{suffix}").write_bytes(content)
        options = DataOptions(background=background)
        tried(lambda: used(open_set(f"folder:{root}", role, options)))

    check()


def check_archives(tmp_path_factory, count: int) -> None:
    file = tmp_path_factory.mktemp("archives") / "set.npz"

    @settings(max_examples=count, **SETTINGS)
    @given(arrays=archives(), role=ROLES)
    def check(arrays, role):
        np.savez(file, allow_pickle=False, **arrays)
        tried(lambda: used(open_set(f"npz:{file}", role)))

    check()


CHECKS = {"pictures": check_pictures, "folders": check_folders, "archives": check_archives}


@pytest.mark.parametrize("kind", CHECKS)
def test_only_errors_of_the_package(kind, tmp_path_factory):
    CHECKS[kind](tmp_path_factory, ORDINARY)


@pytest.mark.every
@pytest.mark.parametrize("kind", CHECKS)
def test_only_errors_of_the_package_in_ten_thousand_cases(kind, tmp_path_factory):
    CHECKS[kind](tmp_path_factory, EVERY)
