"""Figure 4: the same neurons and one colour scale in all panels, numbers in each, and files that
can be opened.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_layout import check_apart

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.evaluation.raster import MOST_NEURONS, RASTER, firing_map, shown_neurons
from ahsar_eval.plots import drawn, plot
from ahsar_eval.plots.pictures import SheetRow, save_sheet
from ahsar_eval.plots.style import TALLEST_IN, Drawn
from ahsar_eval.results.results import Results

SHAPE = (6, 5, 5)
STEPS = 4


def network(
    name: str = "mine",
    *,
    shape: tuple[int, ...] = SHAPE,
    rates: tuple[float | None, ...] = (0.9, 0.5, 0.1),
    channels: int = 1,
) -> Results:
    """A network at 0.25, at 1 and at its replayed scales; a rate of None is a setting it lacks."""
    rng = np.random.default_rng(len(name))
    of = {"checkpoint": name, "layer": "lif", "layer_index": 5, "set": "digits", "sample": 0}
    arrays: dict[str, Any] = {}
    panels: list[dict[str, Any]] = []
    for (setting, scale), rate in zip(
        [("0.25", 0.25), ("1", 1.0), ("ahsar", None)], rates, strict=False
    ):
        numbers: dict[str, Any] = dict.fromkeys(("factor", "threshold", "rate"))
        if rate is not None:
            spikes = rng.random((STEPS, *shape)) < rate
            arrays[f"{name}/{setting}/spikes"] = spikes
            arrays[f"{name}/{setting}/map"] = firing_map(spikes)
            numbers |= {"rate": float(spikes.mean())}
            numbers |= dict.fromkeys(("factor", "threshold"), 0.8 if scale is None else scale)
        panels.append({**of, "class": "7", "setting": setting, "scale": scale, **numbers})
    arrays[f"{name}/image"] = rng.random((channels, 16, 16)).astype(np.float32)
    arrays[f"{name}/neurons"] = shown_neurons(int(np.prod(shape)))
    return Results(RASTER, {"panel": panels}, {}, arrays=arrays)


def spikes_of(one: Results) -> list[np.ndarray]:
    return [array for name, array in one.arrays.items() if name.endswith("/spikes")]


def figure_of(*networks: Results) -> Any:
    whole = networks[0]
    for one in networks[1:]:
        whole = whole + one
    return plot(whole)


def drawn_maps(figure):
    return [
        image
        for axes in figure.axes
        for image in axes.get_images()
        if image.get_cmap().name == "magma"
    ]


def rasters(figure):
    return [axes for axes in figure.axes if axes.get_xlabel() == "time step"]


@pytest.fixture
def figure():
    return figure_of(network("first"), network("second", rates=(0.3, 0.2, 0.1)))


def test_one_raster_and_one_map_for_each_panel(figure):
    assert len(rasters(figure)) == len(drawn_maps(figure)) == 6


def test_all_maps_of_the_figure_share_one_colour_scale(figure):
    limits = {image.get_clim() for image in drawn_maps(figure)}
    highest = max(float(image.get_array().max()) for image in drawn_maps(figure))
    assert limits == {(0.0, highest)}


def test_maps_show_the_firing_rates(figure):
    expected = [
        firing_map(spikes)
        for one in (network("first"), network("second", rates=(0.3, 0.2, 0.1)))
        for spikes in spikes_of(one)
    ]
    for image, rate in zip(drawn_maps(figure), expected, strict=True):
        assert np.array_equal(np.asarray(image.get_array()), rate)


def drawn_spikes(axes) -> set[tuple[int, int]]:
    (lines,) = axes.collections
    return {(round(float(s[0][0])) - 1, round(float(s[:, 1].mean()))) for s in lines.get_segments()}


def test_rasters_show_every_spike_of_the_shown_neurons_and_share_their_limits():
    one = network()
    made = figure_of(one)
    for axes, spikes in zip(rasters(made), spikes_of(one), strict=True):
        expected = np.nonzero(spikes.reshape(STEPS, -1))
        assert drawn_spikes(axes) == set(zip(*(found.tolist() for found in expected), strict=True))
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in rasters(made)}) == 1


def test_a_large_layer_shows_the_same_drawn_neurons_in_every_panel():
    one = network(shape=(8, 10, 10))
    made = figure_of(one)
    chosen = shown_neurons(800)
    for axes, spikes in zip(rasters(made), spikes_of(one), strict=True):
        expected = np.nonzero(spikes.reshape(STEPS, -1)[:, chosen])
        assert drawn_spikes(axes) == set(zip(*(found.tolist() for found in expected), strict=True))
    assert rasters(made)[0].get_ylabel() == f"neuron ({MOST_NEURONS} of 800)"


def test_rate_and_threshold_stand_in_every_panel():
    one = network()
    made = figure_of(one)
    labels = [image.axes.get_xlabel() for image in drawn_maps(made)]
    for label, row in zip(labels, one.records["panel"], strict=True):
        assert f"rate {row['rate']:.3f}" in label
        assert f"= {row['threshold']:.3f}" in label
    titles = [axes.get_title() for axes in rasters(made)]
    assert [title.split(" = ")[1] for title in titles] == ["0.25", "1", "0.800"]
    assert "AHSAR" in titles[2]
    assert "AHSAR" not in titles[0] + titles[1]


def test_the_title_says_what_is_seen_and_a_dollar_is_a_dollar():
    texts = figure_of(network("cost $x_1$ of")).texts
    said = [text.get_text() for text in texts]
    assert said == ["input: digits, sample 0, label 7", "cost $x_1$ of · layer 5 (lif)"]
    assert not any(text.get_parse_math() for text in texts)


def test_a_row_with_fewer_panels_leaves_the_rest_empty():
    assert len(drawn_maps(figure_of(network("first"), network("second", rates=(0.5,))))) == 4


def test_maps_stand_under_their_rasters_and_texts_apart(figure):
    figure.draw_without_rendering()
    maps = [image.axes for image in drawn_maps(figure)]
    for upper, lower in zip(rasters(figure), maps, strict=True):
        assert lower.bbox.intervalx == pytest.approx(upper.bbox.intervalx, abs=0.5)
        assert lower.bbox.y1 < upper.bbox.y0
    check_apart(figure)


def test_a_network_without_a_controller_has_no_empty_column():
    alone, other = network("alone", rates=(0.9, 0.5, None)), network("other", rates=(0.9, 0.5))
    for made in (figure_of(alone), figure_of(other)):
        made.draw_without_rendering()
        assert len(rasters(made)) == 2
        assert not any("controller" in text.get_text() for text in made.texts)
        (bar,) = [axes for axes in made.axes if axes.get_ylabel() == "spikes per step"]
        gap = bar.bbox.x0 - rasters(made)[-1].bbox.x1
        assert 0 < gap < 0.2 * made.dpi, "the colours stand beside the last column"


def test_an_input_that_networks_share_is_drawn_once_on_a_page():
    def inputs(made):
        return sum(axes.get_label() == "input" for axes in made.axes)

    one, other = network("first"), network("other")  # names of one length have one input
    assert inputs(figure_of(one, other)) == 1
    assert inputs(figure_of(one, network("another"))) == 2
    ((_, pages, _),) = drawn(one + other + network("third"), "raster")
    assert [inputs(page) for page in pages] == [1, 1]
    assert all(page.get_size_inches()[1] <= TALLEST_IN for page in pages)


def test_a_silent_layer_can_be_drawn():
    made = figure_of(network(rates=(0.0, 0.0, 0.0)))
    assert {image.get_clim() for image in drawn_maps(made)} == {(0.0, 1.0)}


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml"), (".PNG", b"\x89PNG")],
)
def test_files_by_suffix_with_the_arrays_beside(suffix, start, tmp_path):
    one = network()
    plot(one, out=tmp_path / f"figure{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["figure.arrays.npz", f"figure{suffix}"]
    )
    content = (tmp_path / f"figure{suffix}").read_bytes()
    assert content.startswith(start)
    assert len(content) > 5_000
    with np.load(tmp_path / "figure.arrays.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["image_0"], one.arrays["mine/image"])
        assert np.array_equal(arrays["neurons_0"], shown_neurons(150))
        assert (str(arrays["checkpoint_0"]), str(arrays["layer_0"])) == ("mine", "layer 5 (lif)")
        for j, (row, spikes) in enumerate(zip(one.records["panel"], spikes_of(one), strict=True)):
            assert np.array_equal(arrays[f"spikes_0_{j}"], spikes)
            assert np.array_equal(arrays[f"map_0_{j}"], firing_map(spikes))
            assert float(arrays[f"rate_0_{j}"]) == row["rate"]
            assert float(arrays[f"threshold_0_{j}"]) == row["threshold"]
        assert [float(arrays[f"scale_0_{j}"]) for j in range(2)] == [0.25, 1.0]
        assert np.isnan(float(arrays["scale_0_2"]))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_grey_event_and_colour_inputs_are_drawn(channels):
    one = network(channels=channels)
    (image,) = [axes for axes in figure_of(one).axes if axes.get_label() == "input"]
    (drawn,) = image.get_images()
    given = one.arrays["mine/image"]
    shown = np.asarray(drawn.get_array())
    if channels == 2:
        off, on = np.sqrt(given / given.max())
        expected = np.stack([1 - off, 1 - np.maximum(off, on), 1 - on], axis=-1)
        assert np.allclose(shown, np.clip(expected, 0, 1)), "white is none, red ON, blue OFF"
    else:
        assert np.array_equal(shown, given[0] if channels == 1 else given.transpose(1, 2, 0))


def test_a_place_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot write"):
        plot(network(), out=tmp_path / "file" / "figure.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_to_draw_is_refused():
    with pytest.raises(DataError, match="there is no raster to draw"):
        drawn(Results(RASTER, {"panel": []}, {}), "raster")


def test_firing_map_of_a_convolution_is_the_mean_over_time_and_channels():
    spikes = np.zeros((4, 2, 3, 3), dtype=bool)
    spikes[:, 0, 1, 2] = True
    spikes[0, 1, 0, 0] = True
    expected = np.zeros((3, 3))
    expected[1, 2], expected[0, 0] = 4 / 8, 1 / 8
    assert np.array_equal(firing_map(spikes), expected)


def test_firing_map_of_a_linear_layer_is_a_near_square_sheet():
    spikes = np.zeros((2, 7), dtype=bool)
    spikes[0, 3] = spikes[:, 6] = True
    found = firing_map(spikes)
    assert found.shape == (3, 3)
    assert np.array_equal(found.reshape(-1)[:7], [0, 0, 0, 0.5, 0, 0, 1])
    assert np.isnan(found.reshape(-1)[7:]).all()


def test_firing_map_of_one_neuron():
    assert firing_map(np.ones((3, 1), dtype=bool)).tolist() == [[1.0]]


@pytest.mark.parametrize("neurons", [1, MOST_NEURONS - 1, MOST_NEURONS, MOST_NEURONS + 1, 100_000])
def test_shown_neurons_are_distinct_ascending_and_always_the_same(neurons):
    chosen = shown_neurons(neurons)
    assert len(chosen) == min(neurons, MOST_NEURONS)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < neurons
    assert np.array_equal(chosen, shown_neurons(neurons))


def test_shown_neurons_reach_every_column_and_channel_of_a_layer():
    places = np.stack(np.unravel_index(shown_neurons(16 * 16 * 16), (16, 16, 16)))
    assert [len(np.unique(axis)) for axis in places] == [16, 16, 16]


def test_a_setting_a_network_lacks_keeps_its_place():
    one, other = network("regulated"), network("baseline", rates=(None, 0.5, 0.1))
    made = figure_of(one, other)
    assert len(rasters(made)) == 5, "three panels and two"
    made.draw_without_rendering()
    lefts = [axes.get_position().x0 for axes in rasters(made)]
    assert lefts[3] == pytest.approx(lefts[1], abs=1e-9), "the second panel stands under the second"
    assert "trained without\na controller" in [text.get_text() for text in made.texts]
    ((_, _, arrays),) = drawn(one + other, "raster")
    assert "spikes_1_0" not in arrays
    assert {"spikes_1_1", "map_1_2", "image_1", "neurons_1"} <= set(arrays)


# --- sheets


@pytest.mark.parametrize(("rows", "columns", "blocks"), [(6, 8, 1), (26, 6, 2), (1, 64, 1)])
def test_a_sheet_fits_a_page_and_shows_every_row(rows, columns, blocks, tmp_path, monkeypatch):
    made = []
    save = Drawn.save

    def kept(one, path):
        made.append(one)
        return save(one, path)

    monkeypatch.setattr(Drawn, "save", kept)
    pictures = np.random.default_rng(0).random((columns, 1, 8, 8)).astype(np.float32)
    sheet = [SheetRow(f"a_shift_{i}", pictures, np.ones(columns)) for i in range(rows)]
    captions = [f"class {j}" for j in range(columns)]
    save_sheet(sheet, tmp_path / "x.png", title="a title", captions=captions)
    ((figure,),) = [one.pages for one in made]
    width, height = figure.get_size_inches()
    assert height <= TALLEST_IN
    assert width <= 8 or columns > 8
    assert len(figure.axes) == rows * columns
    sides = {round(axes.get_window_extent().width / figure.dpi, 3) for axes in figure.axes}
    assert len(sides) == 1
    assert min(sides) > 0.3
    assert [text.get_text() for text in figure.texts[:-1]] == [row.label for row in sheet]
    lefts = {round(text.get_position()[0], 6) for text in figure.texts[:-1]}
    assert len(lefts) == blocks
    assert sum(bool(axes.get_title()) for axes in figure.axes) == blocks * columns
    check_apart(figure)


def test_names_of_rows_are_cut_to_their_room(tmp_path):
    rows = [SheetRow("a" * 90, np.zeros((6, 3, 4, 8), np.float32), np.ones(6, np.float32))] * 3
    path = save_sheet(rows, tmp_path / "x.svg", title="t")
    assert "…" in path.read_text()
