"""`make bench`: what the toolkit costs on top of SpikingJelly, as ratios taken in one run.

    python benchmarks/run.py [--pairs 30] [--threads 1] [--only NAME] [--width W] [--json FILE]

recording: one batch counted (logits, spike counts, rate maps, SynOps) against the bare SpikingJelly
forward of the same network and batch. energy: a set recorded and accounted for, and two peers'
counters, against the bare forward (benchmarks/energy_counters.py). engine: recording by the
compiled path against the bare forward, and against the convolutions alone (benchmarks/engine.py).
job: ID and five OOD sets, metrics and SynOps against SpikingJelly, NeuroBench and pytorch-ood.
training: one step with AHSAR attached against one without, and rate-based backpropagation against
BPTT (benchmarks/training_steps.py). start: `ahsar-eval --help` against the start of Python itself,
commands whose results are stored against `import torch`. separation: OOD metrics of 10 million
scores against scikit-learn, paired bootstrap against a NumPy loop (benchmarks/separation.py).
adapting: a stream whose thresholds move against the same pass with nothing that moves.
framing: frames of N-MNIST recordings against tonic's ToFrame (benchmarks/framing.py). corruptions:
the 19 of CIFAR-10-C against `imagecorruptions` (benchmarks/corruptions.py prints images per second
and peak memory).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from adapting import adapting
from corruptions import corruptions
from energy_counters import energy_counters
from engine import engine, whole_job
from framing import framing
from networks import TIMESTEPS, images, network
from pairs import HEADER, Ratio, compare
from separation import separation_bench
from spikingjelly.activation_based import functional
from torch import nn
from training_steps import training

from ahsar_eval.data import Batch
from ahsar_eval.networks import hooked
from ahsar_eval.recording.graph import discover
from ahsar_eval.recording.tally import Tally


def recording(pairs: int, widths: Sequence[float] = (1.0, 0.25)) -> Iterator[Ratio]:
    """Recording a batch of 32 against the bare forward."""
    x = images(32)
    batch = Batch(x, torch.zeros(32, dtype=torch.int64), torch.arange(32))
    for step_mode in ("m", "s"):
        for backbone in ("vgg13", "resnet18"):
            for width in widths:
                net = network(backbone, width, step_mode).eval()
                backbone_net = net.backbone
                with torch.no_grad():
                    tally = Tally(net, discover(net, x[:, :2]), 32, trace=(), device="cpu")
                    repeated = x.expand(TIMESTEPS, *x.shape[1:])

                    def bare(
                        backbone_net: nn.Module = backbone_net,
                        repeated: torch.Tensor = repeated,
                        mode: str = step_mode,
                    ) -> None:
                        functional.reset_net(backbone_net)
                        if mode == "m":
                            backbone_net(repeated)
                        else:
                            torch.stack([backbone_net(step) for step in repeated])

                    name = f"recording / bare forward, {backbone} width {width:g}, {step_mode}"

                    def ours(tally: Tally = tally) -> None:
                        with hooked(
                            tally.hooks()
                        ):  # hooks are set once for a whole set; here they count into every batch
                            tally.run(batch, "bench")

                    yield compare(name, ours, bare, pairs)


OF_THE_PAIR = ["digits-vgg13-baseline", "digits-vgg13-ahsar"]
SETS = ["--id", "digits", "--ood", "photo-patches", "--ood", "digits:rotation"]
STARTS = {
    "data list": ["data", "list"],
    "data info digits": ["data", "info", "digits"],
    "inspect": ["inspect", OF_THE_PAIR[1]],
    "ood, all stored": ["ood", *SETS],
    "compare, all stored": ["compare", *OF_THE_PAIR, *SETS],
    "energy, all stored": ["energy"],
}


def start(pairs: int) -> Iterator[Ratio]:
    """`ahsar-eval --help` against `python -c pass`, and commands whose results are stored against
    `import torch`.
    """
    program = str(Path(sys.executable).with_name("ahsar-eval"))

    def call(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    yield compare(
        "ahsar-eval --help / python -c pass",
        call(program, "--help"),
        call(sys.executable, "-c", "pass"),
        pairs,
    )
    for name, words in STARTS.items():
        call(program, *words)()
        yield compare(
            f"ahsar-eval {name} / import torch",
            call(program, *words),
            call(sys.executable, "-c", "import torch"),
            pairs,
        )


BENCHES: dict[str, Callable[..., Iterator[Ratio]]] = {
    "start": start,
    "recording": recording,
    "energy": energy_counters,
    "engine": engine,
    "job": lambda pairs: whole_job(max(3, pairs // 6)),
    "training": training,
    "framing": framing,
    "separation": lambda pairs: separation_bench(max(3, pairs // 10)),
    "adapting": adapting,
    "corruptions": lambda pairs: corruptions(max(3, pairs // 10)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=list(BENCHES), action="append")
    parser.add_argument(
        "--width",
        type=float,
        action="append",
        help="width of the recorded networks (default: 1 and 0.25)",
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {arguments.threads} "
        f"thread(s), T = {TIMESTEPS}, 32x32"
    )
    print(HEADER, flush=True)
    found = []
    for name in arguments.only or BENCHES:
        options = {"widths": arguments.width} if name == "recording" and arguments.width else {}
        for ratio in BENCHES[name](arguments.pairs, **options):
            print(ratio.line(), flush=True)
            found.append(asdict(ratio))
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {"threads": arguments.threads, "torch": torch.__version__, "ratios": found},
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
