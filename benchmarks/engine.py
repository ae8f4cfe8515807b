"""The compiled path: recording with it against the bare SpikingJelly forward, against the
convolutions alone, and the whole job.

    python benchmarks/engine.py growth         # time and peak memory against N, T, number of OOD
    sets and width, each point in a process python benchmarks/engine.py convolutions   # one
    convolution by every way tried: time, and error against float64

Recording counts spikes and synaptic operations as well; the bare forward only makes logits.
"""

import argparse
import functools
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from networks import SHAPE, images, network, trained
from pairs import Ratio, compare
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.data import Batch, ImageSet, Split, split_of
from ahsar_eval.energy.conventions import totals
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.networks import SpikingNet, hooked
from ahsar_eval.ood import predictive_entropy, separation
from ahsar_eval.process import freed_memory_kept
from ahsar_eval.recording import Recording, record
from ahsar_eval.recording.engine import Convolution
from ahsar_eval.recording.execution import Compiled
from ahsar_eval.recording.execution import compare as compare_paths
from ahsar_eval.recording.graph import Graph, discover
from ahsar_eval.recording.layout import channels_last
from ahsar_eval.recording.tally import Tally

BATCH = 32
JOB_BATCH = 64  # of a whole job, on both sides: what commands take unless told otherwise
SETS = 6  # one that is known, five that are not


def engine(pairs: int) -> Iterator[Ratio]:
    """Recording by the compiled path against the bare forward, over backbones, widths, T and
    precisions, and the distance to the limit.
    """
    with freed_memory_kept():  # for both sides: what that alone gives is in docs/performance.md
        for backbone, width, timesteps in itertools.product(
            ("vgg13", "resnet18"), (1.0, 0.25), (4, 6, 10)
        ):
            fewer = max(5, pairs // 3) if width == 1 else max(5, pairs // 2)
            net = network(backbone, width, "m", timesteps=timesteps).eval()
            name = f"{backbone} width {width:g}, T = {timesteps}"
            yield compare(
                f"recording / bare forward, {name}", recorded(net, "fp32"), bare(net), fewer
            )
            if timesteps == 6:
                yield compare(
                    f"recording in bf16 / bare forward, {name}",
                    recorded(net, "bf16"),
                    bare(net),
                    fewer,
                )
                yield compare(
                    f"recording / dense convolutions alone, {name}",
                    recorded(net, "fp32"),
                    convolutions_alone(net),
                    fewer,
                )


def bare(net: SpikingNet) -> Callable[[], object]:
    """SpikingJelly's forward of a batch, nothing counted."""
    inside, x = net.backbone, images(BATCH).expand(net.spec.timesteps, BATCH, *SHAPE)

    def run() -> Tensor:
        with torch.no_grad():
            functional.reset_net(inside)
            return inside(x)

    return run


def recorded(net: SpikingNet, precision: str) -> Callable[[], object]:
    """A batch recorded by the compiled path."""
    x = images(BATCH)
    batch = Batch(x, torch.zeros(BATCH, dtype=torch.int64), torch.arange(BATCH))
    with torch.no_grad(), channels_last(net.backbone):
        graph = discover(net, x[:, :2])
        fast = Compiled(net, graph, precision)
        some = Batch(x[:, :16], batch.y[:16], batch.index[:16])

        def alone(of: Graph) -> Recording:
            checked = Tally(net, of, 16, trace=range(16))
            with hooked(checked.hooks()):
                checked.run(some, "bench")
            return checked.recording(some.y.numpy())

        found = compare_paths(fast, graph, alone)
        print(
            f"  {precision}: {found.sentence()}; by events {len(fast.by_events)} of "
            f"{len(fast.convolutions)} convolutions",
            flush=True,
        )
        tally = Tally(net, graph, BATCH, trace=(), device="cpu")

    def run() -> None:
        with ExitStack() as stack:  # set once for a whole set; here for every batch
            stack.enter_context(torch.no_grad())
            stack.enter_context(channels_last(net.backbone))
            stack.enter_context(hooked(tally.hooks()))
            stack.enter_context(fast.running())
            tally.run(batch, "bench")

    return run


def convolutions_alone(net: SpikingNet) -> Callable[[], object]:
    """The same convolutions on the same inputs, dense, channels last, and nothing else."""
    calls: list[tuple[nn.Conv2d, Tensor]] = []
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: calls.append((module, inputs[0])))
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
    ]
    bare(net)()
    for handle in handles:
        handle.remove()
    ready = [
        (
            x.flatten(0, 1).contiguous(memory_format=torch.channels_last),
            m.weight.detach().contiguous(memory_format=torch.channels_last),
            m,
        )
        for m, x in calls
    ]

    def run() -> None:
        with torch.no_grad():
            for x, weight, module in ready:
                F.conv2d(x, weight, None, module.stride, module.padding)  # type: ignore[arg-type]

    return run


# The whole job


def sets(count: int, number: int = SETS) -> list[Split]:
    """The photographs, and the same under five kinds of noise: sets in memory, so that nothing but
    the evaluation is timed.
    """
    clean, drawn = images(count)[0], torch.Generator().manual_seed(1)
    made = []
    for place in range(number):
        shown = (
            clean
            if place == 0
            else (clean + 0.1 * place * torch.randn(clean.shape, generator=drawn)).clamp(0, 1)
        )
        labels = np.zeros(count, dtype=np.int64)
        name = f"set{place}"
        made.append(
            split_of(
                ImageSet(
                    name,
                    "all",
                    labels,
                    (),
                    name,
                    name,
                    lambda at, shown=shown: list(shown[at]),
                    SHAPE,
                ),
                SHAPE,
            )
        )
    return made


def whole_job(pairs: int) -> Iterator[Ratio]:
    """ID and five OOD sets, entropy, AUROC and FPR@95TPR, and SynOps: against SpikingJelly with
    NeuroBench and pytorch-ood.
    """
    for backbone, width, count in (
        ("vgg13", 1.0, 256),
        ("resnet18", 1.0, 192),
        ("vgg13", 0.25, 512),
        ("resnet18", 0.25, 512),
    ):
        splits = sets(count)
        net = (network(backbone, width, "m") if width == 1 else trained(backbone)).eval()
        with channels_last(
            net.backbone
        ):  # as `record` lays weights; networks of chance answer to rounding (docs/engine.md)
            ours, theirs = evaluated(net, splits), by_other_tools(net, splits)
        apart = max(
            abs(auroc - their_auroc)
            for (auroc, _), (their_auroc, _) in zip(ours[0], theirs[0], strict=True)
        )
        print(
            f"  AUROCs differ by up to {apart:.4f}, operations by "
            f"{abs(ours[1] / theirs[1] - 1):.1e} of them",
            flush=True,
        )
        if apart > 0.001 or abs(ours[1] / theirs[1] - 1) > 1e-3:
            raise SystemExit(f"{ours} here, {theirs} there: not the same job")
        both = (
            functools.partial(evaluated, net, splits),
            functools.partial(by_other_tools, net, splits),
        )
        name = f"{backbone} width {width:g}, T = {net.spec.timesteps}, {count} images per set"
        yield compare(f"whole job / script of other tools, {name}", *both, pairs, 0)


def evaluated(net: SpikingNet, splits: list[Split]) -> tuple[list[tuple[float, float]], float]:
    """(AUROC, FPR@95TPR) of each OOD set, and multiply-accumulates and accumulates of the ID set as
    NeuroBench counts them.
    """
    with freed_memory_kept():  # as `ahsar-eval` does
        recordings = [record(net, split, batch_size=JOB_BATCH) for split in splits]
    estimate(recordings[0], profile_of("45nm-fp32"), checkpoint="bench")
    counted = totals(recordings[0], "neurobench", JOB_BATCH)
    known, *others = (predictive_entropy(recording.logits) for recording in recordings)
    found = [separation(known, other) for other in others]
    return [(one.auroc, one.fpr_at_tpr) for one in found], float(
        counted["macs_total"] + counted["acs_total"]
    )


def by_other_tools(net: SpikingNet, splits: list[Split]) -> tuple[list[tuple[float, float]], float]:
    """The same by SpikingJelly's forward, NeuroBench's SynapticOperations on the ID set, and
    pytorch-ood's metrics.
    """
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import TorchModel
    from pytorch_ood.metrics import OODMetrics

    inside, steps = net.backbone, net.spec.timesteps
    entropies, operations = [], 0.0
    with torch.no_grad():
        for place, split in enumerate(splits):
            model = TorchModel(inside)
            if place == 0:
                model.register_hooks()
            found = []
            for batch in split.batches(JOB_BATCH):
                functional.reset_net(inside)
                x = ((batch.x - net.mean) / net.std).expand(steps, *batch.x.shape[1:])
                logits = model(x)
                if place == 0:
                    counted = SynapticOperations()(model, logits, (x[0], None))
                    operations += (counted["Effective_MACs"] + counted["Effective_ACs"]) * len(
                        batch.y
                    )
                    model.reset_hooks()
                log = logits.mean(0).double().log_softmax(-1)
                found.append(-(log.exp() * log).sum(-1))
            if place == 0:
                model.cleanup_hooks()
            entropies.append(torch.cat(found))
    answers = []
    for other in entropies[1:]:
        metrics = OODMetrics()
        metrics.update(
            torch.cat([entropies[0], other]),
            torch.cat([torch.ones(len(entropies[0])), -torch.ones(len(other))]),
        )
        measured = metrics.compute()
        answers.append((float(measured["AUROC"]), float(measured["FPR95TPR"])))
    return answers, operations


# One convolution

LAYERS = (
    (64, 64, 32),
    (128, 128, 16),
    (256, 256, 8),
    (512, 512, 4),
    (16, 16, 32),
    (32, 32, 16),
)  # inputs, outputs, side
RATES = (0.05, 0.1, 0.2, 0.3, 0.5)
FRAMES = 96
Way = Callable[[Tensor, Tensor], Callable[[], Tensor]]


def dense(x: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    """PyTorch's, fp32."""
    return lambda: F.conv2d(x, weight, None, 1, 1)


def split_bf16(parts: int) -> Way:
    """Weights as a sum of so many bf16 tensors: products of spikes are exact, and PyTorch rounds
    each part's sum to bf16.
    """

    def way(x: Tensor, weight: Tensor) -> Callable[[], Tensor]:
        pieces, rest = [], weight
        for _ in range(parts):
            pieces.append(rest.bfloat16())
            rest = rest - pieces[-1].float()
        spikes = x.bfloat16()
        return lambda: functools.reduce(
            torch.add, [F.conv2d(spikes, piece, None, 1, 1).float() for piece in pieces]
        )

    return way


def split_int8(parts: int) -> Way:
    """Weights as so many digits of 7 bits, products in int32 by oneDNN's quantised convolution:
    exact integers, one call for each digit.
    """

    def way(x: Tensor, weight: Tensor) -> Callable[[], Tensor]:
        largest = weight.abs().amax((1, 2, 3)).double()
        unit = largest / (63 * 128 ** (parts - 1) + 1)
        rest = (weight.double() / unit[:, None, None, None]).round()
        spikes, geometry, calls = x.to(torch.uint8), ([1, 1], [1, 1], [1, 1], 1), []
        for place in reversed(range(parts)):
            digit = (rest / 128**place).round()
            rest = rest - digit * 128**place
            scales, zeros = (unit * 128**place).float(), torch.zeros(len(unit), dtype=torch.int64)
            packed = torch.ops.onednn.qconv_prepack(
                digit.to(torch.int8), scales, 1.0, 0, *geometry, list(x.shape)
            )
            calls.append((packed, scales, zeros))
        return lambda: functools.reduce(
            torch.add,
            [
                torch.ops.onednn.qconv_pointwise(
                    spikes, 1.0, 0, *call, None, *geometry, 1.0, 0, torch.float32, "none", [], ""
                )
                for call in calls
            ],
        )

    return way


def events(x: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    """Ours."""
    module = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=False)
    module.weight.data = weight
    made = Convolution(module, None)
    made.decide(0.0)

    def run() -> Tensor:
        made.forget()  # what it gave for the same tensor before
        return made(x)

    return run


WAYS: dict[str, Way] = {
    "fp32": dense,
    "bf16": split_bf16(1),
    "bf16 x 2": split_bf16(2),
    "bf16 x 3": split_bf16(3),
    "int8": split_int8(1),
    "int8 x 2": split_int8(2),
    "int8 x 3": split_int8(3),
}


def convolutions() -> None:
    """Milliseconds of CPU time, the best of seven calls, and the error relative to the largest
    output.
    """
    torch.set_num_threads(1)
    drawn = torch.Generator().manual_seed(0)
    print(
        f"3x3 convolutions of {FRAMES} frames, channels last; CPU ms, and the largest error "
        "against float64 over the largest output\n"
    )
    ways = list(WAYS)
    print(
        f"| layer | {' | '.join(ways)} | {' | '.join(f'events, {rate:g}' for rate in RATES)} |\n"
        f"|---|{'---|' * (len(ways) + len(RATES))}"
    )
    for inputs, outputs, side in LAYERS:
        weight = torch.randn(outputs, inputs, 3, 3, generator=drawn) / (3 * inputs**0.5)
        weight = weight.contiguous(memory_format=torch.channels_last)
        cells = []
        for rate, chosen in [
            *((0.2, way) for way in WAYS.values()),
            *((rate, events) for rate in RATES),
        ]:
            x = (
                (torch.rand(FRAMES, inputs, side, side, generator=drawn) < rate)
                .float()
                .contiguous(memory_format=torch.channels_last)
            )
            exact = F.conv2d(x.double(), weight.double(), None, 1, 1)
            with torch.no_grad():
                run = chosen(x, weight)
                error = float((run().double() - exact).abs().max() / exact.abs().max())
                cells.append(f"{min(_cpu_ms(run) for _ in range(7)):.1f} ({error:.0e})")
        print(f"| {inputs} to {outputs} at {side}x{side} | {' | '.join(cells)} |", flush=True)


def _cpu_ms(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return (time.process_time() - started) * 1e3


# Growth


def measure(
    backbone: str, width: float, timesteps: int, count: int, number: int
) -> tuple[float, float]:
    """Seconds to record and compare `number` sets of `count` images, and MB by which the process
    grows at most.
    """
    torch.set_num_threads(1)
    net = network(backbone, width, "m", timesteps=timesteps).eval()
    record(net, sets(64, 1)[0], batch_size=BATCH)  # loops are compiled, libraries loaded
    splits = sets(count, number)
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the peak starts from here: making the sets had one of its own
    before, started = _status("VmRSS"), time.perf_counter()
    evaluated(net, splits)
    seconds = time.perf_counter() - started
    return seconds, (_status("VmHWM") - before) / 1e3


def _status(name: str) -> float:
    """kB that Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1])


GROWTH: dict[str, list[tuple[str, tuple[str, float, int, int, int]]]] = {
    "images per set N": [
        (f"{count:,}", ("vgg13", 0.125, 2, count, 2))
        for count in (1000, 5000, 10_000, 20_000, 50_000)
    ],
    "time steps T": [(str(steps), ("vgg13", 0.25, steps, 128, 2)) for steps in (2, 4, 8, 16, 32)],
    "sets": [(str(number), ("vgg13", 0.25, 4, 256, number)) for number in (2, 4, 8, 16)],
    "width": [(f"{width:g}", ("vgg13", width, 4, 128, 2)) for width in (0.125, 0.25, 0.5, 1.0)],
}


def growth() -> None:
    """Print one table per axis."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for axis, points in GROWTH.items():
            print(f"\n| {axis} | seconds | peak memory added, MB |\n|---|---|---|")
            for label, point in points:
                seconds, peak = pool.apply(measure, point)
                print(f"| {label} | {seconds:.2f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["growth", "convolutions"])
    {"growth": growth, "convolutions": convolutions}[parser.parse_args().what]()
