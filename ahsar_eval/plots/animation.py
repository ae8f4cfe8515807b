"""The raster as an animation: a frame for each time step of the sample, with the input of that
step, the spikes up to it, and the firing map of it alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
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
    first, *others = _in_shared_colours([_picture(figure) for figure in figures(results)])
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


def _picture(figure: Any) -> Image.Image:
    with styled(), BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=_DPI)
        return Image.open(buffer).convert("RGB")


def _in_shared_colours(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Pictures of one palette, that of all below one another: a colour means the same in every
    frame.
    """
    width, height = pictures[0].size
    together = Image.new("RGB", (width, height * len(pictures)))
    for i, picture in enumerate(pictures):
        together.paste(picture, (0, i * height))
    palette = together.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE)
    return [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
