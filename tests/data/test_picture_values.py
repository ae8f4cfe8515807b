"""What the values of pictures and arrays mean: ranges are read, not assumed from the type; alpha
and orientation are applied and said.
"""

import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from ahsar_eval.data import DataOptions, open_set
from ahsar_eval.errors import DataError, UsageError

RAMP = np.linspace(0, 1, 16).reshape(4, 4)


def opened(path, **options):
    return open_set(f"folder:{path}", options=DataOptions(**options))


def values(source) -> np.ndarray:
    return np.stack([image.numpy() for image in source.fetch(np.arange(len(source)))])


def saved(path, pixels: np.ndarray, **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)


# Type and largest value → the value that is white and what is said, or the refusal.
RANGES: dict[tuple[str, Any], tuple[Any, str]] = {
    ("uint8", 255): (255, ""),
    ("uint8", 100): (255, ""),
    ("uint8", 1): (1, "uint8 of 0 and 1 alone: 1 is white"),
    ("uint8", 16): (255, "uint8 of at most 16 of 255: nearly black"),
    ("uint16", 65535): (65535, "at most 65535: 65535 is white"),
    ("uint16", 40000): (65535, "at most 65535: 65535 is white"),
    ("uint16", 255): (255, "at most 255: 255 is white"),
    ("uint16", 1): (1, "of 0 and 1 alone: 1 is white"),
    ("uint16", 4095): (None, "from 0 to 4095, which says nothing of what is white"),
    ("uint16", 1023): (None, "from 0 to 1023, which says nothing of what is white"),
    ("int32", 255): (255, "at most 255: 255 is white"),
    ("int32", 65535): (65535, "65535 is white"),
    ("int32", 16): (None, "from 0 to 16, which says nothing of what is white"),
    ("int32", 100000): (None, "from 0 to 100000, which says nothing of what is white"),
    ("float32", 1): (1, ""),
    ("float32", 255): (None, r"floats from 0 to 255; expected \[0, 1\], or uint8; rescale them"),
    ("float32", 1.5): (None, r"floats from 0 to 1.5; expected \[0, 1\]"),
    ("float32", 1 / 255): (None, "as if divided by 255 twice"),
}
OF_ARRAYS: dict[tuple[str, Any], tuple[Any, str]] = {
    ("int64", 255): (255, "int64 of at most 255: 255 is white"),
    ("uint32", 70000): (None, "from 0 to 70000, which says nothing of what is white"),
    ("int8", 100): (None, "int8 from 0 to 100, which says nothing of what is white"),
    ("bool", 1): (1, ""),
    ("float64", 255): (None, r"expected \[0, 1\]"),
    ("float16", 1): (1, ""),
}


def check(open_it, pixels: np.ndarray, white: float | None, said: str) -> None:
    if white is None:
        with pytest.raises(DataError, match=said) as refused:
            open_it()
        assert "\n" not in str(refused.value)
        return
    source = open_it()
    expected = np.tile(pixels.astype(np.float64) / white, (1, 1))
    assert np.allclose(values(source)[0], expected[None], atol=1e-3)
    assert [bool(re.search(said, one)) for one in source.said] == [True] * bool(said)


@pytest.mark.parametrize(("dtype", "top"), RANGES)
def test_the_range_of_pictures_decides_what_is_white(dtype, top, tmp_path):
    pixels = (RAMP * top).astype(dtype)
    suffix = "png" if dtype in ("uint8", "uint16") else "tiff"
    saved(tmp_path / "set" / f"a.{suffix}", pixels)
    check(lambda: opened(tmp_path / "set"), pixels, *RANGES[dtype, top])


@pytest.mark.parametrize(("dtype", "top"), [*RANGES, *OF_ARRAYS])
def test_the_range_of_arrays_decides_alike(dtype, top, tmp_path):
    pixels = (RAMP * top).astype(dtype)
    np.savez(tmp_path / "set.npz", x=pixels[None].repeat(2, 0))
    rule = {**RANGES, **OF_ARRAYS}[dtype, top]
    check(lambda: open_set(f"npz:{tmp_path / 'set.npz'}"), pixels, *rule)


def test_the_range_is_that_of_the_whole_set(tmp_path):
    """One dark picture of 16 bits does not become one of 8, and one of 8 bits beside it stays."""
    saved(tmp_path / "a.png", np.full((4, 4), 200, np.uint16))
    saved(tmp_path / "b.png", np.full((4, 4), 65535, np.uint16))
    saved(tmp_path / "c.png", np.full((4, 4), 51, np.uint8))
    found = values(opened(tmp_path))[:, 0, 0, 0]
    assert np.allclose(found, [200 / 65535, 1, 0.2], atol=1e-6)


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """A PNG of 16-bit colours, which Pillow does not write."""
    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(lines),
        b"IEND": b"",
    }
    found = b"\x89PNG\r\n\x1a\n"
    for name, data in parts.items():
        check = struct.pack(">I", zlib.crc32(name + data))
        found += struct.pack(">I", len(data)) + name + data + check
    return found


@pytest.mark.parametrize("top", [255, 1, 4095, 65535])
@pytest.mark.parametrize("suffix", ["png", "ppm"])
def test_sixteen_bits_of_colour_that_hold_fewer_are_refused(suffix, top, tmp_path):
    """Pillow gives the upper 8 bits of such files, of which little or nothing would be left."""
    pixels = np.full((4, 4, 3), top, np.uint16)
    ppm = b"P6 4 4 65535\n" + pixels.astype(">u2").tobytes()
    content = png_of_16_bits(pixels) if suffix == "png" else ppm
    (tmp_path / f"a.{suffix}").write_bytes(content)
    if top == 65535:
        assert np.allclose(values(opened(tmp_path)), 1)
    else:
        with pytest.raises(DataError, match=r"has 16-bit colours of at most .*what is white"):
            opened(tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_that_are_not_finite_are_left_to_the_network(dtype, tmp_path):
    pixels = np.where(RAMP > 0.9, np.nan, RAMP).astype(dtype)
    np.savez(tmp_path / "set.npz", x=pixels[None])
    assert np.isnan(values(open_set(f"npz:{tmp_path / 'set.npz'}"))).sum() == np.isnan(pixels).sum()


GREY, ALPHA = np.array([[0, 100], [200, 255]], np.uint8), np.array([[0, 255], [51, 102]], np.uint8)
COLOUR = np.stack([GREY, GREY.T, 255 - GREY], -1)


def over(colour, behind):
    part = ALPHA[..., None] / 255
    return colour * part + np.array(behind) * (1 - part)


@pytest.mark.parametrize("background", ["white", "black", "#808080", "red"])
@pytest.mark.parametrize("kind", ["LA", "png", "webp", "tiff"])
def test_alpha_is_composed_on_the_background(kind, background, tmp_path):
    colours, suffix = (GREY[..., None], "png") if kind == "LA" else (COLOUR, kind)
    more: Any = {"lossless": True, "exact": True} if kind == "webp" else {}
    saved(tmp_path / f"a.{suffix}", np.concatenate([colours, ALPHA[..., None]], -1), **more)
    saved(tmp_path / "b.png", COLOUR)
    source = opened(tmp_path, background=background)
    rgb = {"white": 255, "black": 0, "#808080": 128}.get(background, (255, 0, 0))
    expected = over(colours, rgb).transpose(2, 0, 1) / 255
    found, opaque = (image.numpy() for image in source.fetch(np.arange(2)))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1.01 / 255  # Pillow rounds to 8 bits
    assert np.allclose(opaque, COLOUR.transpose(2, 0, 1) / 255)
    said = f"1 of 2 pictures with transparent pixels: composed on {background} (--background)"
    assert source.said == (said,)


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_a_transparent_colour_of_a_palette_is_the_background(suffix, tmp_path):
    image = Image.new("P", (2, 2), 1)
    image.putpixel((0, 0), 0)
    image.putpalette([255, 0, 0, 0, 128, 255])
    image.save(tmp_path / f"a.{suffix}", transparency=0)
    found = np.round(values(opened(tmp_path))[0] * 255).astype(int)
    assert found[:, 0].T.tolist() == [[255, 255, 255], [0, 128, 255]]


def test_the_background_counts_as_content(tmp_path):
    saved(tmp_path / "a.png", np.concatenate([COLOUR, ALPHA[..., None]], -1))
    identities = {opened(tmp_path, background=name).identity for name in ("white", "black")}
    assert len(identities) == 2
    with pytest.raises(UsageError, match="--background is 'sky'; expected a colour, such as white"):
        DataOptions(background="sky").check()


TURNS: dict[int, Any] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg"])
@pytest.mark.parametrize("orientation", TURNS)
def test_orientation_is_applied(orientation, suffix, tmp_path):
    pixels = (np.arange(48).reshape(4, 4, 3) * 5).astype(np.uint8)[:3]
    tag = Image.Exif()
    tag[0x0112] = orientation
    saved(
        tmp_path / f"a.{suffix}", pixels, exif=tag, **({"quality": 100} if suffix == "jpg" else {})
    )
    saved(tmp_path / "b.png", pixels)
    source = opened(tmp_path)
    turned, plain = (image.numpy() for image in source.fetch(np.arange(2)))
    expected = TURNS[orientation](pixels).transpose(2, 0, 1) / 255
    assert turned.shape == expected.shape
    assert np.abs(turned - expected).max() < (0.2 if suffix == "jpg" else 1e-6)
    if suffix == "jpg":
        with Image.open(tmp_path / "a.jpg") as image:
            shown = np.asarray(ImageOps.exif_transpose(image)) / 255
        assert np.allclose(turned, shown.transpose(2, 0, 1), atol=1e-6)
    assert np.allclose(plain, pixels.transpose(2, 0, 1) / 255, atol=1e-6)
    assert source.said == ("1 of 2 pictures turned as EXIF says",)


@pytest.mark.parametrize("suffix", ["gif", "tiff", "png", "webp"])
def test_of_several_frames_the_first_is_read(suffix, tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    more: Any = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **more)
    source = opened(tmp_path)
    assert values(source)[0, :, 0, 0].tolist() == [1, 0, 0]
    assert source.said == ("1 of 1 pictures of several frames: the first is read",)


def test_what_was_seen_of_pictures_is_kept_and_again_looked_at(tmp_path, monkeypatch):
    from ahsar_eval.data import images

    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "cache"))
    saved(tmp_path / "set" / "a.png", np.full((4, 4), 1, np.uint8))
    looked, look = [], images._seen_in

    def counted(files):
        looked.append(files)
        return look(files)

    monkeypatch.setattr(images, "_seen_in", counted)
    found = [opened(tmp_path / "set").said for _ in range(2)]
    assert (len(looked), found[0]) == (1, found[1])
    for kept in (tmp_path / "cache" / "pictures").iterdir():
        kept.write_text("{}")
    assert opened(tmp_path / "set").said == found[0]
    assert len(looked) == 2
    saved(tmp_path / "set" / "a.png", np.full((4, 4), 40, np.uint8))
    assert opened(tmp_path / "set").said == ()
