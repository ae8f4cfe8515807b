"""What adapting at test time does to accuracy and rates, over every corruption and severity.

    python benchmarks/test_time.py CKPT --data NAME --out DIR [--ways channel:8,channel:128:3]

A way is MODES:N, MODES:N:SEEDS or MODES:N:SEEDS:class: N samples, or "online"; all of one class. One
row for each shift, severity, way, number N of samples that adapt, and seed of these. All of them are
judged on the same samples of the test split; those that adapt are drawn from others of it, without
their labels. A run that was ended goes on where it was. `python benchmarks/test_time.py --table
DIR…` prints mean corruption errors with paired intervals over images.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ahsar_eval as ae
from ahsar_eval.data import SHIFTS, DataOptions, open_set
from ahsar_eval.data.shifts import EVENT_SHIFTS
from ahsar_eval.data.split import limited, split_of
from ahsar_eval.networks.checkpoints import set_points_of
from ahsar_eval.process import progress
from ahsar_eval.recording.adaptation import Adaptation, Adapter, channels_of
from ahsar_eval.recording.recorder import prepared

RESERVE = 512  # samples that those which adapt are drawn from
ENDS = (0.025, 0.975)
BENCHMARK = ("noise", "blur", "weather", "digital")
SEVERITIES = (1, 2, 3, 4, 5)


def conditions(data: str, severities: tuple[int, ...]) -> list[tuple[str | None, int]]:
    """Clean samples, and the corruptions of the benchmark, or all shifts of events."""
    known = [name for name, shift in SHIFTS.own.items() if shift.family in BENCHMARK]
    if data.startswith(("n-mnist", "digits-dvs")):
        known = list(EVENT_SHIFTS.own)
    return [(None, 0), *((name, severity) for severity in severities for name in known)]


def measured(options: Any, shift: str | None, severity: int) -> list[dict[str, Any]]:
    """Rows of one condition: `correct` lists the judged samples that were right."""
    runner = ae.load(options.checkpoint, no_cache=True)
    points = set_points_of(runner.checkpoint)
    source = limited(open_set(options.data, "test"), options.judged + options.reserve)
    split = split_of(source, runner.view, shift, severity, 0, DataOptions())
    mixed = np.random.default_rng(0).permutation(len(split))
    judged, reserve = np.sort(mixed[: options.judged]), mixed[options.judged :]
    x = split.tensors(np.arange(len(split)))
    labels = split.labels[judged]
    rows = []

    def batches(members: Any) -> list[tuple[torch.Tensor, int]]:
        return [(x[:, members[i : i + 64]], int(members[i])) for i in range(0, len(members), 64)]

    def drawn(number: int, seed: int, kind: str = "") -> Any:
        """Which samples of the reserve adapt; of one class, where the kind is "class"."""
        order = np.random.default_rng(seed).permutation(reserve)
        if kind == "class":
            order = order[split.labels[order] == seed % 10]
        return order[:number]

    def judge(adapter: Any, session: Any) -> tuple[list[int], float]:
        right, rates = [], []
        for some, first in batches(judged):
            with adapter.counting(some.shape[1]) as taken:
                right.append(session.forward(some, first).mean(0).argmax(1).cpu().numpy())
            rates += [np.mean([c.sum() / (p * c.size) for c, p in taken[0].values()])] * some.shape[
                1
            ]
        return (np.concatenate(right) == labels).astype(int).tolist(), float(np.mean(rates))

    def online(adapter: Any, session: Any, order: Any) -> tuple[list[int], float]:
        right, rates = np.zeros(len(x[0]), int), []
        for i in range(0, len(order), 32):
            members = order[i : i + 32]
            with adapter.counting(len(members)) as taken:
                logits = session.forward(x[:, members], int(members[0]))
            right[members] = logits.mean(0).argmax(1).cpu().numpy() == split.labels[members]
            rates += [np.mean([c.sum() / (p * c.size) for c, p in taken[0].values()])] * len(
                members
            )
            adapter.after([(x[:, members], int(members[0]))], taken)
        return right[judged].tolist(), float(np.mean(rates))

    def all_ways(session: Any) -> list[dict[str, Any]]:
        layers = channels_of(session)
        for way, number, seed, *kind in options.asked:
            modes = tuple(way.split("+"))
            adaptation = None if way == "none" else Adaptation(modes, points)
            with Adapter(session, adaptation, layers) as adapter:
                if number == "online":
                    order = np.random.default_rng(seed).permutation(len(split))
                    right, rate = online(adapter, session, order)
                else:
                    if adaptation is not None:
                        adapter.episode(batches(np.sort(drawn(int(number), seed, *kind))))
                    right, rate = judge(adapter, session)
                facts = {} if adaptation is None else adapter.facts()
            rows.append(
                {
                    "checkpoint": runner.checkpoint.name,
                    "shift": shift or "clean",
                    "severity": severity,
                    "way": way,
                    "n": "-".join([number, *kind]),
                    "seed": seed,
                    "accuracy": float(np.mean(right)),
                    "rate": rate,
                    "effort": facts.get("effort"),
                    "at_bound": facts.get("at_bound"),
                    "correct": "".join(map(str, right)),
                }
            )
        return rows

    with prepared(runner.network, split) as session:
        return session.run(partial(all_ways, session))


def run(options: argparse.Namespace) -> None:
    """Every condition, each written when it is done."""
    options.asked = [("none", "0", 0)]
    for text in options.ways.split(","):
        way, number, *seeds = text.split(":")
        many = int(seeds[0]) if seeds else options.seeds
        options.asked += [(way, number, seed, *seeds[1:]) for seed in range(many)]
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    severities = tuple(map(int, filter(None, options.severities.split(","))))
    for shift, severity in progress(conditions(options.data, severities), "conditions"):
        target = folder / f"{options.checkpoint}.{shift or 'clean'}.{severity}.json"
        if not target.exists():
            target.write_text(json.dumps(measured(options, shift, severity)))


def table(folders: list[str]) -> None:
    """Markdown: errors by way and N, on clean samples beside those without, over all conditions, and
    what is left of theirs; paired intervals over images (1000 replicates, seed 0).
    """
    rows = [
        row
        for folder in folders
        for file in sorted(Path(folder).glob("*.json"))
        for row in json.loads(file.read_text())
    ]
    print(
        "| checkpoint | way | N | clean error, difference | error, shifted | of that without |",
        end="",
    )
    print(" against batchnorm | mean rate | effort |\n" + "|---" * 9 + "|")
    for name in dict.fromkeys(row["checkpoint"] for row in rows):
        own = [row for row in rows if row["checkpoint"] == name]
        size = len(own[0]["correct"])
        picks = np.random.default_rng(0).integers(0, size, (1000, size))
        for way, number in dict.fromkeys((row["way"], row["n"]) for row in own):
            some = [row for row in own if (row["way"], row["n"]) == (way, number)]
            clean, none = wrong(some, True), wrong(beside(own, some, "none", "0"), True)
            cells = [told(clean - none, picks, "+.3f") if clean.size else ""]
            error, base = wrong(some, False), wrong(beside(own, some, "none", "0"), False)
            shifted = [row for row in some if row["shift"] != "clean"]
            if error.size:
                ratio = error[picks].mean(1) / base[picks].mean(1)
                low, high = np.quantile(ratio, ENDS)
                cells.append(told(error, picks, ".3f"))
                cells.append(f"{error.mean() / base.mean():.3f} ({low:.3f}–{high:.3f})")
                peer = wrong(beside(own, some, "batchnorm", number), False)
                both = peer.size and way not in ("none", "batchnorm")
                cells.append(told(error - peer, picks, "+.3f") if both else "")
                cells.append(f"{np.mean([row['rate'] for row in shifted]):.3f}")
                efforts = [row["effort"] for row in shifted if row["effort"] is not None]
                cells.append(f"{np.mean(efforts):.3f}" if efforts else "")
            print(f"| {name} | {way} | {number} | " + " | ".join(cells) + " |")


def beside(own: list[Any], some: list[Any], way: str, number: str) -> list[Any]:
    """Of each row in `some` that with another way in the same condition, where there is one."""
    held = {
        (row["shift"], row["severity"], row["seed"]): row
        for row in own
        if (row["way"], row["n"]) == (way, number)
    }
    found = [
        held.get((row["shift"], row["severity"], seed))
        for row in some
        for seed in ([row["seed"]] if way != "none" else [0])
    ]
    return [row for row in found if row is not None] if None not in found else []


def wrong(rows: list[Any], clean: bool) -> Any:
    """Fraction of the rows, clean or shifted ones, in which each sample is wrong, [samples]."""
    held = [row["correct"] for row in rows if (row["shift"] == "clean") == clean]
    return np.mean([[c == "0" for c in each] for each in held], axis=0) if held else np.empty(0)


def told(values: Any, picks: Any, form: str) -> str:
    """A mean over samples with its interval."""
    low, high = np.quantile(values[picks].mean(1), ENDS)
    return f"{values.mean():{form}} ({low:{form}}–{high:{form}})".replace("+-", "-")


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--data", default="cifar10-mini")
    parser.add_argument("--out", default="test-time")
    parser.add_argument("--ways", default="layer:128,channel:128,batchnorm:128")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--judged", type=int, default=500)
    parser.add_argument("--reserve", type=int, default=RESERVE)
    parser.add_argument("--severities", default="3,5,1,4,2")
    parser.add_argument("--table", nargs="+", metavar="DIR")
    options = parser.parse_args()
    if options.table:
        table(options.table)
    else:
        run(options)


if __name__ == "__main__":
    main()
