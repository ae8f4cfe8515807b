"""Figure 4: the same neurons and one colour scale in all panels, numbers in each, and files that
can be opened.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ahsar_eval.errors import OutputError
from ahsar_eval.plots import (
    RasterPanel,
    RasterRow,
    firing_map,
    raster_figure,
    save_raster,
    shown_neurons,
)
from ahsar_eval.plots.raster import MOST_NEURONS

SHAPE = (6, 5, 5)
STEPS = 4


def shown(one: RasterRow) -> list[RasterPanel]:
    return [panel for panel in one.panels if panel is not None]


def row(
    name: str = "mine",
    *,
    shape: tuple[int, ...] = SHAPE,
    rates: tuple[float, ...] = (0.9, 0.5, 0.1),
    channels: int = 1,
) -> RasterRow:
    rng = np.random.default_rng(len(name))
    settings: list[float | None] = [0.25, 1.0, None]
    panels = [
        RasterPanel(
            scale,
            0.8 if scale is None else scale,
            0.8 if scale is None else scale,
            rng.random((STEPS, *shape)) < rate,
        )
        for scale, rate in zip(settings, rates, strict=False)
    ]
    image = rng.random((channels, 16, 16)).astype(np.float32)
    return RasterRow(name, "layer 5 (lif)", "digits sample 0, label 7", image, panels)


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
    made = raster_figure([row("first"), row("second", rates=(0.3, 0.2, 0.1))])
    yield made
    plt.close(made)


def test_one_raster_and_one_map_for_each_panel(figure):
    assert len(rasters(figure)) == len(drawn_maps(figure)) == 6


def test_all_maps_of_the_figure_share_one_colour_scale(figure):
    limits = {image.get_clim() for image in drawn_maps(figure)}
    highest = max(float(image.get_array().max()) for image in drawn_maps(figure))
    assert limits == {(0.0, highest)}


def test_maps_show_the_firing_rates(figure):
    expected = [
        firing_map(panel.spikes)
        for one in (row("first"), row("second", rates=(0.3, 0.2, 0.1)))
        for panel in shown(one)
    ]
    for image, rate in zip(drawn_maps(figure), expected, strict=True):
        assert np.array_equal(np.asarray(image.get_array()), rate)


def test_rasters_show_every_spike_of_the_shown_neurons_and_share_their_limits():
    one = row()
    made = raster_figure([one])
    for axes, panel in zip(rasters(made), shown(one), strict=True):
        flat = panel.spikes.reshape(STEPS, -1)
        (lines,) = axes.collections
        drawn = {
            (round(float(s[0][0])) - 1, round(float(s[:, 1].mean()))) for s in lines.get_segments()
        }
        assert drawn == set(zip(*(found.tolist() for found in np.nonzero(flat)), strict=True))
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in rasters(made)}) == 1
    plt.close(made)


def test_a_large_layer_shows_the_same_drawn_neurons_in_every_panel():
    shape = (8, 10, 10)
    one = row(shape=shape)
    made = raster_figure([one])
    chosen = shown_neurons(800)
    for axes, panel in zip(rasters(made), shown(one), strict=True):
        flat = panel.spikes.reshape(STEPS, -1)[:, chosen]
        (lines,) = axes.collections
        drawn = {
            (round(float(s[0][0])) - 1, round(float(s[:, 1].mean()))) for s in lines.get_segments()
        }
        assert drawn == set(zip(*(found.tolist() for found in np.nonzero(flat)), strict=True))
    assert rasters(made)[0].get_ylabel() == f"neuron ({MOST_NEURONS} of 800)"
    plt.close(made)


def test_rate_and_threshold_stand_in_every_panel():
    one = row()
    made = raster_figure([one])
    labels = [image.axes.get_xlabel() for image in drawn_maps(made)]
    for label, panel in zip(labels, shown(one), strict=True):
        assert f"rate {panel.spikes.mean():.3f}" in label
        assert f"= {panel.threshold:.3f}" in label
    titles = [axes.get_title() for axes in rasters(made)]
    assert [title.split(" = ")[1] for title in titles] == ["0.25", "1", "0.800"]
    assert "AHSAR" in titles[2]
    assert "AHSAR" not in titles[0] + titles[1]
    plt.close(made)


def test_a_row_with_fewer_panels_leaves_the_rest_empty():
    made = raster_figure([row("first"), row("second", rates=(0.5,))])
    assert len(drawn_maps(made)) == 4
    plt.close(made)


def test_a_silent_layer_can_be_drawn():
    made = raster_figure([row(rates=(0.0, 0.0, 0.0))])
    assert {image.get_clim() for image in drawn_maps(made)} == {(0.0, 1.0)}
    plt.close(made)


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml"), (".PNG", b"\x89PNG")],
)
def test_files_by_suffix_with_the_arrays_beside(suffix, start, tmp_path):
    one = row()
    written = save_raster([one], tmp_path / f"figure{suffix}")
    assert written == [tmp_path / f"figure{suffix}", tmp_path / "figure.arrays.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["figure.arrays.npz", f"figure{suffix}"]
    )
    content = written[0].read_bytes()
    assert content.startswith(start)
    assert len(content) > 5_000
    with np.load(written[1], allow_pickle=False) as arrays:
        assert np.array_equal(arrays["image_0"], one.image)
        assert np.array_equal(arrays["neurons_0"], shown_neurons(150))
        assert (str(arrays["checkpoint_0"]), str(arrays["layer_0"])) == ("mine", "layer 5 (lif)")
        for place, panel in enumerate(shown(one)):
            assert np.array_equal(arrays[f"spikes_0_{place}"], panel.spikes)
            assert np.array_equal(arrays[f"map_0_{place}"], firing_map(panel.spikes))
            assert float(arrays[f"rate_0_{place}"]) == panel.rate
            assert float(arrays[f"threshold_0_{place}"]) == panel.threshold
        assert [float(arrays[f"scale_0_{place}"]) for place in range(2)] == [0.25, 1.0]
        assert np.isnan(float(arrays["scale_0_2"]))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_grey_event_and_colour_inputs_are_drawn(channels, tmp_path):
    assert save_raster([row(channels=channels)], tmp_path / "figure.png")[0].stat().st_size > 5_000


def test_a_place_that_cannot_be_written_is_refused_and_closes_the_figure(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    before = plt.get_fignums()
    with pytest.raises(OutputError, match="cannot write"):
        save_raster([row()], tmp_path / "file" / "figure.png")
    assert plt.get_fignums() == before


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
    one = row("regulated")
    other = replace(row("baseline"), panels=[None, *shown(row("baseline"))[1:]])
    made = raster_figure([one, other])
    assert len(rasters(made)) == 5, "three panels and two"
    lines = [axes.get_position().x0 for axes in rasters(made)]
    assert lines[3] == pytest.approx(lines[1], abs=0.02), "the second panel stands under the second"
