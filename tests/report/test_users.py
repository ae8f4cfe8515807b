"""What users bring to a page: sets without labels, names of every kind, networks without spikes or
energy, many networks and scores; and what is said of them.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import ahsar_eval as ae
from ahsar_eval.data import DataOptions, SampleSet, open_split
from ahsar_eval.data.given import as_set
from ahsar_eval.report.charts import round_steps
from ahsar_eval.report.page import Report
from ahsar_eval.report.run import Found
from ahsar_eval.report.verb import report as report_of
from ahsar_eval.report.verdict import sentence_of
from ahsar_eval.report.views import _named, at


def images(name: str, side: int = 4, labels: bool = True, scale: float = 1.0) -> SampleSet:
    """40 noisy images of three classes."""
    draws = np.random.default_rng(len(name)).random((40, 1, side, side), dtype=np.float32)
    return as_set((draws * scale, np.arange(40) % 3 if labels else -np.ones(40, int)), name)


def spiking(name: str = "mine", inputs: int = 16, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    first = layer.Linear(inputs, 12, step_mode="m")
    net = nn.Sequential(
        layer.Flatten(step_mode="m"),
        first,
        neuron.LIFNode(step_mode="m"),
        layer.Linear(12, 3, step_mode="m"),
    )
    first.weight.data *= 6
    return ae.wrap(net, timesteps=3, classes=3, name=name)


class Dense(nn.Module):
    """A network without a spike; [T, N, 1, 4, 4] to [T, N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(x.flatten(2))
        return out


def page(networks: Any, known: Any, others: Any, **how: Any) -> Report:
    made = report_of(networks, known, others, **{"replicates": 100, "traces": 1, **how})
    assert made.html
    return made


def banners(made: Report, kind: str) -> list[str]:
    return [one["text"] for one in made.facts["banners"] if one["kind"] == kind]


# --- what has no page otherwise


def test_a_shift_of_a_set_without_labels_has_a_page() -> None:
    made = page(spiking(inputs=64), images("known", 8, labels=False), ["known:contrast:3"])
    assert made.facts["verdict"] == "known has no labels to judge by."
    assert "95 % intervals: a bootstrap of 100 replicates (seed 0), by" in made.facts["methods"]


def test_names_may_begin_with_other_names_and_a_dot() -> None:
    far = [images(name, labels=False) for name in ("a", "a.b")]
    made = page(spiking("_net.v1 <b>"), images("known.set"), far)
    for name, energy in made.facts["networks"][0]["energy_pj"].items():
        assert at(made.facts, f"networks.0.energy_pj.{name}") == energy


def test_a_network_without_any_priced_operation_has_a_page() -> None:
    wrapped = ae.wrap(Dense(), timesteps=3, classes=3, name="dense")
    made = page(wrapped, images("known"), [images("far", labels=False)], profile="loihi")
    assert made.facts["energy"]["points"][0]["energy_pj"] == 0
    assert "dense has no layer that is known to spike." in made.html
    assert 'data-axis="layer"' not in made.html
    assert "no price for what is counted as mac of synapses" in banners(made, "not priced")[0]


@pytest.mark.parametrize("most", [0.0, 1.0, 5.99, 6.0, 7.3e-4, 9.999, 123456.0])
def test_every_axis_has_steps(most: float) -> None:
    steps = round_steps(most)
    assert steps[0] == 0
    assert len(steps) <= 6
    assert len(steps) >= 3 or most == 0
    assert max(steps) <= most


def test_lines_of_a_forest_keep_the_name_of_their_set() -> None:
    label = "cifar10-jpeg-vgg13-baseline (channel, continual)"
    line = _named("gaussian_noise", label)
    assert line.startswith("gaussian_noise · …")
    assert line.endswith("hannel, continual)")
    assert len(line) == len(_named("x" * 99, label)) == len(_named("x" * 99, "")) == 36
    assert _named("fog", "mine") == "fog · mine"


def test_spikes_that_something_else_asked_for_are_not_shown() -> None:
    net, how = ae.load("digits-vgg13-baseline"), {"options": DataOptions(limit=21)}
    for traces, shown in ((3, [0, 10, 20]), (0, []), (1, [0]), (3, [0, 10, 20])):
        made = page(net, "digits", "photo-patches", traces=traces, **how)
        assert [one["index"] for one in made.facts["spikes"][0]["samples"]] == shown


# --- what is said


def test_words_are_of_the_first_score() -> None:
    made = page(
        spiking(),
        images("known"),
        [images("far", labels=False, scale=0.3), images("further", labels=False)],
        score=("entropy", "max-logit", "energy"),
    )
    rows = [row for row in made.facts["ood"]["rows"] if row["score"] == "entropy"]
    worst = min(rows, key=lambda row: row["auroc"])
    said = f"AUROC on {worst['ood']}, the lowest of 2 sets, is {worst['auroc']:.3f}."
    assert made.facts["verdict"].endswith(said)
    for text in banners(made, "ties"):
        assert text.count("further under mine") <= 1


def verdict_of(*differences: dict[str, Any], replicates: int = 100) -> str:
    """The verdict of two networks, were these their differences in accuracy on the ID set."""
    both = [spiking("a"), spiking("b", seed=1)]
    found = page(both, images("known"), [images("far", labels=False)]).found
    same = {"kind": "id", "metric": "accuracy", "label": "b"}
    request = found.request.__class__(**{**vars(found.request), "replicates": replicates})
    told = [{**same, **one} for one in differences]
    return sentence_of(Found(**{**vars(found), "request": request, "comparison": told}))


@pytest.mark.parametrize(
    ("difference", "p", "holm", "said"),
    [
        (0.1, 0.5, 1.0, ", which chance alone may explain;"),
        (0.1, 0.02, 0.04, ", a difference beyond chance for b;"),
        (0.5, 2 / 101, 0.3, ", which these replicates are too few to call a difference or chance;"),
        (0.0, 1.0, 1.0, " for b;"),
    ],
)
def test_chance_is_named_where_it_was_tested(
    difference: float, p: float, holm: float, said: str
) -> None:
    told = verdict_of({"difference": difference, "p_value": p, "p_holm": holm})
    assert said in told
    assert told.count("chance") == said.count("chance")


def test_too_few_replicates_are_said() -> None:
    nets = [spiking(str(i), seed=i) for i in range(4)]
    known, far = images("known"), [images("far", labels=False)]
    (said,) = banners(page(nets, known, far), "few replicates")
    assert "below 0.02, " in said
    assert "over 6 lines; --bootstrap 300 would do" in said
    assert banners(page(nets, known, far, replicates=300), "few replicates") == []
    without = page(nets, known, far, intervals=False)
    assert banners(without, "few replicates") == []
    assert "replicates gives no p-value" not in without.html


def test_networks_that_share_what_is_not_counted_are_named_together() -> None:
    made = page([spiking("a"), spiking("b", seed=1)], images("known"), [images("far")])
    (said,) = banners(made, "chance level")
    assert said.startswith("a and b may be no better than a guess (0.333) on known")
    (said,) = banners(made, "not priced")
    assert said.endswith("the energy of a and b leaves it out.")


def test_methods_say_what_was_done_and_nothing_else() -> None:
    one = page(spiking(inputs=64), images("known", 8), ["known:contrast:3", images("far", 8)])
    told = one.facts["methods"]
    assert "on known (n = 40), 1 shift of it (contrast) and far. Out-of" in told
    assert "DeLong for the AUROC of sets with images of their own, Wilson for accuracy" in told
    assert "Differences" not in told
    assert "adapted" not in told
    two = page([spiking("a", 64), spiking("b", 64, 1)], images("known", 8), ["known:contrast:3"])
    assert "on known (n = 40) and 1 shift of it (contrast). Out-of" in two.facts["methods"]
    assert "DeLong" not in two.facts["methods"]
    assert "Differences in accuracy and AUROC are paired" in two.facts["methods"]


def test_methods_say_how_networks_adapted(report: Report) -> None:
    assert (
        "on digits (n = 48), 2 shifts of it (contrast, gaussian_blur) and photo-patches. Networks "
        "also adapted at test time (channel), to 12 unlabelled samples of each set, which no "
        "network is evaluated on. Out-of"
    ) in report.facts["methods"]


# --- corrupted copies in files


def test_stored_copies_stand_beside_the_shift_of_the_same_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = open_split("digits", (1, 16, 16), options=DataOptions(limit=30)).source
    copies = replace(source, name="cifar10-c", identity="stored", copies_of="digits")
    monkeypatch.setattr("ahsar_eval.data.array_files.cifar_c", lambda *_: copies)
    made = page(
        ae.load("digits-vgg13-baseline"),
        "digits",
        ["cifar10-c:fog:3", "digits:fog:3"],
        options=DataOptions(limit=30),
        require=["energy(cifar10-c:fog:3)<=1J"],
    )
    assert [one["shift"] for one in made.facts["sets"]] == ["cifar10-c:fog", "fog"]
    assert made.passed
    heat = made.html.partition('<table class="heat accuracy_ood">')[2].partition("</table>")[0]
    assert heat.count("<tr><th") == 3  # the heading and two shifts
    for i in range(2):
        assert f'href="#d-0-{i}"' in heat
        assert f'data-v="ood.rows.{i}.accuracy_ood"' in heat
    sets = [one["ood"] for one in made.facts["calibration"]]
    assert sets == ["digits", "cifar10-c:fog:3", "digits:fog:3"]
