"""One training step: with AHSAR against without, and rate-based backpropagation against BPTT; what
each keeps for the backward pass.

    python benchmarks/training_steps.py [--figure FILE.png] [--share]

prints the bytes saved for the backward pass and the peak memory of a step against T (VGG-13, width
0.25, 16x16 images, batch 32), each measured in a process of its own. --share prints instead what
part of a step is spent inside the controller, by its own clock.
"""

import argparse
import contextlib
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from networks import TIMESTEPS, images, network
from pairs import Ratio, compare
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.homeostasis import Ahsar
from ahsar_eval.networks import ModelSpec, SpikingNet, build
from ahsar_eval.training.loop import training_form

STEPS = (2, 4, 6, 10, 20)
KINDS = [(paradigm, mode) for paradigm in ("bptt", "rate") for mode in ("m", "s")]


def training(pairs: int) -> Iterator[Ratio]:
    """A training step of batch 128: AHSAR against none in both paradigms, then the paradigms
    against each other.
    """
    for paradigm in ("bptt", "rate"):
        for backbone, mode in (("vgg13", "m"), ("resnet18", "m"), ("vgg13", "s")):
            name = f"training step AHSAR / without, {backbone} width 0.25, {paradigm} {mode}"
            yield compare(
                name,
                training_step(backbone, mode, paradigm, regulated=True),
                training_step(backbone, mode, paradigm),
                pairs,
            )
    for backbone in ("vgg13", "resnet18"):
        for mode in ("m", "s"):
            name = f"training step rate / bptt, {backbone} width 0.25, {mode}"
            yield compare(
                name,
                training_step(backbone, mode, "rate"),
                training_step(backbone, mode, "bptt"),
                max(3, pairs // 3),
            )
        name = f"training step as trained / plain SpikingJelly, {backbone} width 0.25, bptt m"
        plain = training_step(backbone, "m", "bptt", plain=True)
        yield compare(name, training_step(backbone, "m", "bptt"), plain, max(3, pairs // 3))


def training_step(
    backbone: str, mode: str, paradigm: str, regulated: bool = False, plain: bool = False
) -> Callable[[], None]:
    """Forward, backward and Adam's step on one batch of 128, in the form it is trained in unless it
    is to be `plain`.
    """
    x, y = images(128), torch.from_numpy(np.arange(128) % 10)
    net = network(backbone, 0.25, mode, paradigm)
    form = contextlib.nullcontext() if plain else training_form(net)
    form.__enter__()  # for as long as the step is kept
    if regulated:
        Ahsar(net.backbone, timesteps=TIMESTEPS, units=net.units())
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=5e-4)

    def step(_form: object = form) -> None:
        net.reset()
        loss = F.cross_entropy(net(x).mean(0), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def share() -> None:
    """Milliseconds of a step, and of them those inside the controller's hooks: pairs of steps
    differ by more than that from run to run.
    """
    torch.set_num_threads(1)
    inside = [0.0]

    def timed(hook: Callable[..., None]) -> Callable[..., None]:
        def run(*inputs: object) -> None:
            started = time.perf_counter()
            hook(*inputs)
            inside[0] += time.perf_counter() - started

        return run

    for name in ("_before_forward", "_sense", "_after_forward"):
        setattr(Ahsar, name, timed(getattr(Ahsar, name)))
    print(
        "| VGG-13 or ResNet-18, width 0.25, batch 128 | step, ms | controller, ms | share |\n"
        "|---|---|---|---|"
    )
    for paradigm in ("bptt", "rate"):
        for backbone, mode in (("vgg13", "m"), ("resnet18", "m"), ("vgg13", "s")):
            step = training_step(backbone, mode, paradigm, regulated=True)
            step()
            inside[0], started = 0.0, time.perf_counter()
            for _ in range(5):
                step()
            whole = time.perf_counter() - started
            print(
                f"| {backbone}, {paradigm} {mode} | {whole / 5e-3:.0f} | {inside[0] / 5e-3:.1f} | "
                f"{inside[0] / whole:.2%} |",
                flush=True,
            )


def saved_bytes(net: SpikingNet, x: Tensor) -> int:
    """Bytes of the distinct storages that one forward keeps for the backward pass, parameters left
    out.
    """
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = net(x)
    size = sum(kept.values())  # while `logits` still holds them
    del logits
    return size


def measure(paradigm: str, mode: str, timesteps: int) -> tuple[float, float]:
    """MB saved for the backward pass, and MB by which the process grows at most in a
    training step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = build(
        ModelSpec(
            "vgg13",
            (1, 16, 16),
            10,
            width=0.25,
            paradigm=paradigm,
            step_mode=mode,
            timesteps=timesteps,
        )
    )
    x, y = torch.rand(1, 32, 1, 16, 16), torch.arange(32) % 10
    F.cross_entropy(net(x[:, :2]).mean(0), y[:2]).backward()  # type: ignore[no-untyped-call]  # libraries are loaded by now
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net.reset()
    F.cross_entropy(net(x).mean(0), y).backward()  # type: ignore[no-untyped-call]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    net.reset()
    return saved_bytes(net, x) / 1e6, grown * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--share", action="store_true")
    arguments = parser.parse_args()
    if arguments.share:
        share()
        return
    figure = arguments.figure
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = {(*kind, t): pool.apply(measure, (*kind, t)) for kind in KINDS for t in STEPS}
    for title, place in (("saved for the backward pass, MB", 0), ("peak of a step, MB", 1)):
        print(
            f"\n| {title} | {' | '.join(f'T = {t}' for t in STEPS)} |\n|---|{'---|' * len(STEPS)}"
        )
        for paradigm, mode in KINDS:
            print(
                f"| {paradigm}, {mode} | "
                f"{' | '.join(f'{found[paradigm, mode, t][place]:.1f}' for t in STEPS)} |"
            )
    if figure is not None:
        draw(found, figure)


def draw(found: dict[tuple[str, str, int], tuple[float, float]], file: Path) -> None:
    """Both quantities against T."""
    from matplotlib import pyplot

    drawing, panels = pyplot.subplots(1, 2, figsize=(7.0, 2.8), layout="constrained")
    for place, (panel, title) in enumerate(
        zip(panels, ("saved for the backward pass", "peak memory of a step"), strict=True)
    ):
        for paradigm, mode in KINDS:
            look = {
                "color": "#0072b2" if paradigm == "rate" else "#d55e00",
                "linestyle": "-" if mode == "m" else "--",
            }
            values = [found[paradigm, mode, t][place] for t in STEPS]
            panel.plot(
                STEPS,
                values,
                marker="o",
                markersize=4,
                label=f"{'BPTT' if paradigm == 'bptt' else 'rate-based'}, {mode}",
                **look,
            )
        panel.set(title=title, xlabel="time steps T", ylabel="MB", ylim=(0, None))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    drawing.savefig(file, dpi=200)


if __name__ == "__main__":
    main()
