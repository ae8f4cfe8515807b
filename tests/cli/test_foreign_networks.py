"""Networks and weights of the user's own on the command line: what is found of them is said, and
can be given.
"""

import json

import numpy as np
import pytest
import torch

SOURCE = """
import torch
from torch import nn

class Spike(nn.Module):
    def forward(self, x):
        v, out = 0, []
        for step in x.unbind(1):
            v = 0.5 * v + step
            s = (v > 1).float()
            v = v * (1 - s)
            out.append(s)
        return torch.stack(out, 1)

def net():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Flatten(2), nn.Linear(64, 64), Spike(), nn.Linear(64, 3))
    made[1].weight.data *= 5
    return made
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a batch-first network, its weights as parallel training saves them, and two
    sets.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch_first_net.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import batch_first_net  # type: ignore[import-not-found]

    state = batch_first_net.net().state_dict()
    ema = {name: x + 1 for name, x in state.items()}
    torch.save({"model": {f"module.{n}": x for n, x in state.items()}, "epoch": 3}, "one.pt")
    torch.save({"model": state, "ema": ema}, "two.pt")
    draw = np.random.default_rng(0)
    np.savez("d.npz", x=draw.random((30, 8, 8)).astype(np.float32), y=np.arange(30) % 3)
    np.savez("o.npz", x=draw.random((20, 8, 8)).astype(np.float32))
    return batch_first_net


ASKED = "--model batch_first_net:net --timesteps 4 --classes 3 --no-cache --bootstrap 100"
SETS = ("--id", "npz:d.npz", "--ood", "npz:o.npz", "--format", "json")


def test_a_network_that_takes_samples_first_is_evaluated_and_said(own, command):
    done = command("ood", "one.pt", *ASKED.split(), *SETS)
    assert done.code == 0
    assert "called as [N, T, C, H, W] → [N, T, K] (--calls NT/NT)" in " ".join(done.err.split())
    assert "one.pt: the names of its tensors are read without 'module.'" in done.err
    x = torch.as_tensor(np.load("d.npz")["x"])[:, None]
    with torch.no_grad():
        logits = own.net()(x[:, None].expand(-1, 4, -1, -1, -1)).mean(1)
    row = json.loads(done.out)["id"][0]
    right = (logits.argmax(-1).numpy() == np.load("d.npz")["y"]).mean()
    assert row["accuracy"] == pytest.approx(right)
    p = torch.softmax(logits.double(), -1)
    assert row["mean_score"] == pytest.approx(float(-(p * p.log()).sum(-1).mean()), rel=1e-5)


def test_a_convention_that_is_not_the_networks_is_refused(own, command):
    refused = command("ood", "one.pt", *ASKED.split(), *SETS, "--calls", "TN")
    assert refused.code == 2
    assert "a sample's output depends on those beside it" in refused.err
    refused = command("ood", "digits-vgg13-ahsar", "--ood", "photo-patches", "--calls", "NT")
    assert refused.code == 2
    assert "--calls is for networks of your own" in refused.err


def test_a_key_chooses_among_weights(own, command):
    refused = command("energy", "two.pt", *ASKED.split()[:-2], "--data", "npz:d.npz")
    assert refused.code == 2
    assert "several weights that fit the network, under 'model' and 'ema'" in refused.err
    chosen = command("inspect", "two.pt", "--model", "batch_first_net:net", "--key", "ema")
    assert chosen.code == 0
    listed = command("inspect", "two.pt")
    assert "under model" in listed.out
    assert "under ema" in listed.out
    assert "1.weight" in listed.out
