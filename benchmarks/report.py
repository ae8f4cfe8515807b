"""What the page of `report` costs beyond the passes that it is made of: two networks, 19 corruptions
at five severities, in one run without a cache.

python benchmarks/report.py [--id SET] [--limit N] [--shifts K] [--threads T]

The recordings alone are the seconds inside the passes of that same run, so neither a busy machine
nor the cache decides the ratio.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import ahsar_eval as ae
from ahsar_eval.data import DataOptions
from ahsar_eval.evaluation.ood import CORRUPTIONS
from ahsar_eval.recording import runner
from ahsar_eval.report.verb import report

PAIR = ("cifar10-jpeg-vgg13-baseline", "cifar10-jpeg-vgg13-ahsar")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--id", default="cifar10-mini")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--shifts", type=int, default=19)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    passes: list[float] = []
    made = runner.record

    def timed(*arguments: Any, **settings: Any) -> Any:
        start = time.perf_counter()
        found = made(*arguments, **settings)
        passes.append(time.perf_counter() - start)
        return found

    runner.record = timed
    shifts = [f"{asked.id}:{name}" for name in CORRUPTIONS["19 corruptions"][: asked.shifts]]
    networks = [ae.load(name, no_cache=True, threads=asked.threads) for name in PAIR]
    start = time.perf_counter()
    page = report(networks, asked.id, shifts, options=DataOptions(limit=asked.limit))
    with tempfile.TemporaryDirectory() as folder:
        file, _ = page.save(Path(folder) / "report.html")
        size = file.stat().st_size / 1e6
    whole, alone = time.perf_counter() - start, sum(passes)
    print(f"{len(passes)} passes over {asked.limit} images: {alone:.1f} s of {whole:.1f} s")
    print(f"report / its recordings: {whole / alone:.3f}; the page has {size:.2f} MB")


if __name__ == "__main__":
    main()
