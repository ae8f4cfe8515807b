"""What one layer fires on one sample: a record and arrays for each network and threshold scale."""

from dataclasses import replace

import numpy as np
import pytest

from ahsar_eval.data import open_split
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.evaluation.raster import evaluation, plan
from ahsar_eval.evaluation.requests import RasterRequest
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results


@pytest.fixture
def asked(few_digits):
    return RasterRequest(f"npz:{few_digits}", layer="5", scales=(0.5, 1.0, None), sample=7)


def run(asked: RasterRequest, runners: list[Runner]) -> Results:
    return evaluation(asked, [plan(asked, runner) for runner in runners])


def test_a_panel_is_what_the_recording_of_the_sample_says(make_tiny, asked):
    regulated = Runner(replace(make_tiny(regulated=True), name="tiny"))
    found = run(replace(asked, layer="0"), [regulated])
    rows = found.records["panel"]
    assert [(row["setting"], row["scale"]) for row in rows] == [
        *(("0.5", 0.5), ("1", 1.0)),
        ("ahsar", None),
    ]
    split = open_split(asked.data_name, regulated.view)
    for row in rows:
        recording, trace = regulated.at_scale(row["scale"]).traced(split, 7)
        layer = recording.layers[0].name
        assert (row["layer"], row["layer_index"]) == (layer, 0)
        assert (row["set"], row["sample"]) == (split.name, 7)
        spikes = found.arrays[f"tiny/{row['setting']}/spikes"]
        assert np.array_equal(spikes, trace.spikes[layer])
        assert row["rate"] == spikes.mean()
        assert row["threshold"] == recording.thresholds[layer]
        assert row["factor"] == row["threshold"]  # every base threshold is 1
        assert found.arrays[f"tiny/{row['setting']}/map"].shape == spikes.shape[2:]
        maps = found.arrays[f"tiny/{row['setting']}/maps"]
        assert np.array_equal(maps, spikes.mean(axis=1)), "of each step, the mean of its channels"
    assert rows[2]["factor"] == 0.75  # of the first layer
    assert np.array_equal(found.arrays["tiny/image"], trace.image.mean(axis=0))
    assert np.array_equal(found.arrays["tiny/inputs"], trace.image)
    assert len(found.arrays["tiny/neurons"]) == min(160, rows[0]["neurons"])
    assert found.facts["checkpoints"][0]["name"] == "tiny"


def test_a_network_without_a_controller_keeps_the_place_of_the_setting_it_lacks(make_tiny, asked):
    runner = Runner(replace(make_tiny(), name="plain"))
    found = run(asked, [runner])
    assert [row["rate"] is None for row in found.records["panel"]] == [False, False, True]
    assert not any("ahsar" in name for name in found.arrays)
    with pytest.raises(UsageError, match="plain has no controller and so no replayed scales"):
        run(replace(asked, scales=(None,)), [runner])
    with pytest.raises(DataError, match=r"sample 40 is not in npz:.* samples 0 to 39"):
        run(replace(asked, sample=40), [runner])


def test_results_of_networks_add_up_and_are_shown(make_tiny, asked, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    pair = [
        Runner(replace(make_tiny(regulated=regulated), name=name))
        for name, regulated in (("plain", False), ("regulated", True))
    ]
    whole = run(asked, pair)
    one, other = (run(asked, [runner]) for runner in pair)
    both = one + other
    assert both.records == whole.records
    assert both.arrays.keys() == whole.arrays.keys()
    text = whole.to("table")
    assert "Layer 5 on sample 7 of npz:" in text
    assert max(map(len, text.splitlines()[1:])) <= 80  # the title has the path of the set
    frame = whole.frame
    assert set(frame.metric) == {"factor", "threshold", "rate"}
    assert len(whole.save(tmp_path)) == 4
    assert "regulated · layer 5 (features.lif3_2)" in [
        text.get_text() for text in whole.plot().texts
    ]


def test_scales_that_print_alike_are_told_apart(make_tiny, asked):
    found = run(replace(asked, scales=(0.1234567, 0.1234568)), [Runner(make_tiny())])
    settings = [row["setting"] for row in found.records["panel"]]
    assert settings == ["0.1234567", "0.1234568"]
