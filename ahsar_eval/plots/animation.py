"""The raster as an animation: a frame for each time step of the sample, with the input of that
step, the spikes up to it, and the firing map of it alone.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahsar_eval.files import written_whole
from ahsar_eval.plots.pictures import raster
from ahsar_eval.plots.style import styled
from ahsar_eval.results.results import Results

_STEP_MS = 500
_DPI = 120
_COLOURS = 256  # a GIF has no more


def save_animation(results: Results, path: str | Path) -> list[Path]:
    """Write the GIF of a raster's results, two frames a second without end, and beside it the
    arrays of the still figure. Both files appear, or none; the same results give the same bytes.

    Returns the files. Raises `DataError` where there is nothing to draw, `OutputError`.
    """
    target = Path(path)
    (still,) = raster(results)
    files = [target, target.with_suffix(".arrays.npz")]
    first, *others = _in_shared_colours([_pixels(figure) for figure in figures(results)])
    with ExitStack() as stack:
        places = [stack.enter_context(written_whole(file)) for file in files]
        times: dict[str, Any] = {"duration": _STEP_MS, "loop": 0}
        first.save(places[0], "GIF", save_all=True, append_images=others, **times)
        np.savez_compressed(places[1], **still.numbers)
    return files


def figures(results: Results) -> Iterator[Any]:
    """The still figure as it is after each time step, of as many as the longest network has. All
    maps of all steps share one colour scale; below each stands the rate of its step.
    """
    arrays, rows = results.arrays, results.records["panel"]
    shown = [f"{row['checkpoint']}/{row['setting']}" for row in rows if row["rate"] is not None]
    maps = [arrays[f"{one}/maps"] for one in shown]
    top = max((float(np.nanmax(one)) for one in maps), default=0.0) or 1.0
    count = max(map(len, maps), default=1)
    for i in range(count):
        (found,) = raster(_at_step(results, i))
        (figure,) = found.pages
        with styled():
            figure.suptitle(f"step {i + 1} of {count}", x=0.99, ha="right", fontsize="large")
        for image in (image for axes in figure.axes for image in axes.get_images()):
            if image.get_cmap().name == "magma":
                image.set_clim(0, top)
        yield figure


def _at_step(results: Results, i: int) -> Results:
    """What is known at index `i` of time: later spikes are left out, input, maps and rates are
    those of that step alone. A network of fewer steps stays at its last.
    """
    arrays, rows = dict(results.arrays), []
    for row in results.records["panel"]:
        name, one = row["checkpoint"], f"{row['checkpoint']}/{row['setting']}"
        inputs = arrays[f"{name}/inputs"]
        arrays |= {f"{name}/image": inputs[min(i, len(inputs) - 1)], f"{name}/full": inputs.max()}
        if row["rate"] is not None:
            spikes = arrays[f"{one}/spikes"].copy()
            step = min(i, len(spikes) - 1)
            row = {**row, "rate": float(spikes[step].mean())}
            spikes[step + 1 :] = 0
            arrays |= {f"{one}/spikes": spikes, f"{one}/map": arrays[f"{one}/maps"][step]}
        rows.append(row)
    return replace(results, records={"panel": rows}, arrays=arrays)


def _pixels(figure: Any) -> NDArray[np.int32]:
    """The figure's colours [H, W] as one number each, red × 65536 + green × 256 + blue."""
    with styled(), BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=_DPI)
        colours = np.asarray(Image.open(buffer).convert("RGB"), dtype=np.int32)
    return colours @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)


def _in_shared_colours(frames: Sequence[NDArray[np.int32]]) -> list[Image.Image]:
    """Frames [H, W] of one palette, the most frequent colours of all of them, so that a colour is
    the same in every frame; any other becomes the nearest of those.
    """
    counts: Counter[int] = Counter()
    for frame in frames:
        found, times = np.unique(frame, return_counts=True)
        counts.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
    known = np.array(sorted(counts))
    palette = _channels(np.array([colour for colour, _ in counts.most_common(_COLOURS)]))
    nearest = [int(((palette - one) ** 2).sum(1).argmin()) for one in _channels(known)]
    pictures = []
    for frame in frames:
        index = np.array(nearest, dtype=np.uint8)[np.searchsorted(known, frame)]
        picture = Image.fromarray(index)
        picture.putpalette(palette.astype(np.uint8).tobytes())
        pictures.append(picture)
    return pictures


def _channels(colours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Red, green and blue [M, 3] of colours [M]."""
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
