"""The raster as an animation: frames as Pillow reads them back, against the spikes they show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.evaluation.ood_tables import OOD
from ahsar_eval.evaluation.raster import RASTER, firing_map, inputs_by_step, shown_neurons
from ahsar_eval.plots import plot
from ahsar_eval.plots.animation import _in_shared_colours, figures, save_animation
from ahsar_eval.results.results import Results

STEPS, SHAPE = 3, (2, 3, 3)


def network(name: str = "mine", steps: int = STEPS, seed: int = 0) -> Results:
    """A network of events at 0.5 and 1; a neuron of few fires in a step. It has no replayed
    scales.
    """
    rng = np.random.default_rng(seed)
    of = {
        "checkpoint": name,
        "layer": "lif",
        "layer_index": 5,
        "set": "x",
        "sample": 0,
        "class": "",
    }
    inputs = rng.poisson(1.0, (steps, 2, 8, 8)).astype(np.float32)
    arrays: dict[str, Any] = {
        f"{name}/image": inputs.mean(0),
        f"{name}/inputs": inputs,
        f"{name}/neurons": shown_neurons(int(np.prod(SHAPE))),
    }
    panels: list[dict[str, Any]] = []
    for scale in (0.5, 1.0):
        spikes = rng.random((steps, *SHAPE)) < 0.3
        arrays |= {
            f"{name}/{scale:g}/spikes": spikes,
            f"{name}/{scale:g}/map": firing_map(spikes),
            f"{name}/{scale:g}/maps": np.stack([firing_map(step[None]) for step in spikes]),
        }
        numbers = {"factor": scale, "threshold": scale, "rate": float(spikes.mean())}
        panels.append({**of, "setting": f"{scale:g}", "scale": scale, **numbers})
    lacking = {"setting": "ahsar", "scale": None, **dict.fromkeys(("factor", "threshold", "rate"))}
    return Results(RASTER, {"panel": [*panels, {**of, **lacking}]}, {}, arrays=arrays)


def spikes_of(one: Results) -> list[np.ndarray]:
    return [array for name, array in one.arrays.items() if name.endswith("/spikes")]


def rasters(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_xlabel() == "time step"]


def maps(figure: Any) -> list[Any]:
    return [
        image
        for axes in figure.axes
        for image in axes.get_images()
        if image.get_cmap().name == "magma"
    ]


def drawn_spikes(axes: Any) -> set[tuple[int, int]]:
    (lines,) = axes.collections
    return {(round(float(s[0][0])) - 1, round(float(s[:, 1].mean()))) for s in lines.get_segments()}


def read(file: Path) -> list[np.ndarray]:
    with Image.open(file) as gif:
        frames = []
        for i in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB"), dtype=int))
        return frames


def test_a_frame_for_each_step_two_a_second_without_end(tmp_path):
    one = network()
    written = one.save(tmp_path / "spikes.gif")
    assert written == [tmp_path / "spikes.gif", tmp_path / "spikes.arrays.npz"]
    with Image.open(written[0]) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (STEPS, 0)  # type: ignore[attr-defined]
        for i in range(STEPS):
            gif.seek(i)
            assert gif.info["duration"] == 500
    one.save(tmp_path / "still.png")
    with np.load(written[1]) as found, np.load(tmp_path / "still.arrays.npz") as still:
        assert sorted(found) == sorted(still)
        assert all(
            np.array_equal(found[name], still[name], equal_nan=True)
            for name in still
            if found[name].dtype.kind != "U"
        )


def test_the_same_results_are_the_same_bytes(tmp_path):
    first, second = (network(steps=1).save(tmp_path / f"{i}.gif")[0].read_bytes() for i in range(2))
    assert first == second


def test_pixels_of_a_raster_change_where_the_step_has_spikes_and_nowhere_else(tmp_path):
    one = network()
    frames = read(one.save(tmp_path / "spikes.gif")[0])
    figure = next(figures(one))
    figure.draw_without_rendering()
    scale, height = 120 / figure.dpi, len(frames[0])
    for axes, spikes in zip(rasters(figure), spikes_of(one), strict=True):
        for step in range(1, STEPS):
            changed = np.argwhere((frames[step] != frames[step - 1]).any(-1))
            low, high = axes.get_window_extent().get_points() * scale
            inside = [
                (x, height - y)
                for y, x in changed
                if low[0] < x < high[0] and low[1] < height - y < high[1]
            ]
            assert bool(inside) == bool(spikes[step].any())
            data = axes.transData.inverted().transform(np.array(inside) / scale)
            assert {round(x) for x in data[:, 0]} == {step + 1}, "one column"
            hit = {int(np.clip(round(y), 0, 17)) for y in data[:, 1]}
            fired = set(np.flatnonzero(spikes[step]).tolist())
            assert fired <= hit, "every spike is seen"
            near = {n + d for n in fired for d in (-1, 0, 1)}
            assert hit <= near, "lines end within a neuron's room, but for a pixel"


def test_rasters_show_the_spikes_up_to_the_step_and_maps_those_of_it():
    one = network()
    limits = set()
    for i, figure in enumerate(figures(one)):
        for axes, image, spikes in zip(rasters(figure), maps(figure), spikes_of(one), strict=True):
            until = np.nonzero(spikes[: i + 1].reshape(i + 1, -1))
            assert drawn_spikes(axes) == set(zip(*(part.tolist() for part in until), strict=True))
            assert axes.get_xlim() == (0.4, STEPS + 0.6)
            assert np.array_equal(np.asarray(image.get_array()), spikes[i].mean(0))
            assert f"rate {spikes[i].mean():.3f}" in image.axes.get_xlabel()
            limits.add(image.get_clim())
        assert figure.get_suptitle() == f"step {i + 1} of 3"
    highest = max(float(step.mean(0).max()) for spikes in spikes_of(one) for step in spikes)
    assert limits == {(0.0, highest)}, "one colour scale for all steps"
    assert i == STEPS - 1


def test_the_input_is_that_of_the_step_and_its_full_colour_that_of_all():
    one = network()
    inputs = one.arrays["mine/inputs"]
    for i, figure in enumerate(figures(one)):
        (axes,) = [axes for axes in figure.axes if axes.get_label() == "input"]
        off, on = np.sqrt(inputs[i] / inputs.max())
        shown = np.stack([1 - off, 1 - np.maximum(off, on), 1 - on], axis=-1)
        assert np.allclose(np.asarray(axes.get_images()[0].get_array()), shown)


def test_a_network_of_fewer_steps_stays_at_its_last(tmp_path):
    both = network("long", steps=2) + network("short", steps=1, seed=1)
    first, last = figures(both)
    assert len(read(save_animation(both, tmp_path / "x.gif")[0])) == 2
    for a, b in zip(rasters(first)[2:], rasters(last)[2:], strict=True):
        assert drawn_spikes(a) == drawn_spikes(b)
    assert drawn_spikes(rasters(first)[0]) < drawn_spikes(rasters(last)[0])


def test_the_results_themselves_stay_as_they_are():
    one = network()
    before = {name: array.copy() for name, array in one.arrays.items()}
    list(figures(one))
    assert list(one.arrays) == list(before)
    assert all(np.array_equal(one.arrays[name], before[name]) for name in before)


def test_a_rare_colour_becomes_the_nearest_of_the_frequent_ones():
    frequent = np.repeat(np.arange(256, dtype=np.int32) << 16, 2)  # reds 0 to 255, twice each
    rare = np.array([(7 << 16) + 2], dtype=np.int32)
    (picture,) = _in_shared_colours([np.concatenate([frequent, rare])[None]])
    found = np.asarray(picture.convert("RGB"))[0]
    assert found[:-1, 0].tolist() == np.repeat(np.arange(256), 2).tolist()
    assert found[-1].tolist() == [7, 0, 0]


# Where there is no animation


def test_other_results_have_no_animation(tmp_path):
    scores = Results(OOD, {"set": []}, {})
    for write in (scores.save, lambda out: plot(scores, out=out)):
        with pytest.raises(UsageError, match=r"is a GIF, and results of ood have no animation"):
            write(tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no raster to draw"):
        save_animation(Results(RASTER, {"panel": []}, {}), tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


# What the evaluation gives it


def test_inputs_of_pictures_and_frames_are_those_of_each_step():
    frames = np.arange(2 * 2 * 3 * 3, dtype=np.float32).reshape(2, 2, 3, 3)
    assert inputs_by_step(frames) is frames
    assert inputs_by_step(frames[:1]).shape == (1, 2, 3, 3), "an image, the same at every step"


def test_a_row_of_channels_is_shown_over_time_as_far_as_the_step():
    frames = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32).reshape(2, 1, 1, 3)  # [T, C, 1, W]
    off, on = inputs_by_step(frames).transpose(1, 0, 2, 3)
    assert not off.any()
    assert on[0].tolist() == [[1, 0], [2, 0], [3, 0]], "channels over time"
    assert on[1].tolist() == [[1, 4], [2, 5], [3, 6]]
