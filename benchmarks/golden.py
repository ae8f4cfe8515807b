"""What the commands print and write, kept, and compared with what another checkout makes.

    python benchmarks/golden.py record CHECKOUT FOLDER [--only SUBSTRING] [--jobs 2]
    python benchmarks/golden.py compare BEFORE AFTER [--renamed renames.json]

`record` runs each of COMMANDS as `python -m ahsar_eval` of CHECKOUT, on one thread, and keeps exit
code, both outputs and the files written: of figures the names, of arrays a digest.

`compare` exits with 1 where a number, a one-word value or an exit code differs, and where a JSON
key, a CSV column or a file is gone. JSON and CSV are compared value by value, to the bit; of texts,
and of sentences in JSON, the numbers are. Words and layout that differ are told, and are no
failure. renames.json holds {"old": "new"}: what keys and columns of BEFORE are called in AFTER.
"""

import argparse
import csv
import difflib
import hashlib
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

# `name: words`, or `name after other: words` for one that runs in the folder of the other, after
# it; bad-… are refused. An indented line continues the one above. WORDS stand for $A, $B, …
COMMANDS = """
ood-demo: ood $D --ood photo-patches --ood digits:rotation --out o --figures o --figure-format png
energy-demo: energy --out o
raster-demo: raster --layer 1 --out o/figure4.png
ood-tour: ood $B $A digits-resnet18-baseline $R $D --ood photo-patches
  --ood digits:gaussian_noise:5 --ood digits:impulse_noise:5 --ood digits:blur:5
  --ood digits:contrast:5 --ood digits:rotation --ood digits:inversion:3
  --out o --figures o --figure-format png
compare-tour: compare $B $A $D --ood photo-patches --ood digits:rotation --out o
ood-tour-events: ood digits-dvs-vgg13-baseline $E --id digits-dvs --ood digits-dvs:event_drop:3
  --ood digits-dvs:occlusion:3 --out o
show-tour: data show photo-patches:all --sample 150 --out o/shifts.png
energy-tour: energy $B $A digits-resnet18-baseline $R --out o
energy-tour-shift: energy $B $A --shift contrast --scales 0.6:1.4:0.2
  --explain neurobench:spikingjelly --out o --figures o --figure-format png
ood-every-score: ood $A $D --ood photo-patches --score all --format json $Q
ood-odin: ood $A $D --ood photo-patches --score odin,gen --detail --out o $Q
ood-detail: ood $A $D --ood digits:contrast --score entropy,energy --detail --by class
  --by severity --out o --figures o --figure-format svg $Q
ood-csv: ood $A $D --ood digits:fog:2 --no-replay --tpr 0.9 --format csv $Q
ood-markdown: ood $A $D --ood photo-patches --scale 0.8 --format markdown --seed 3 $Q
ood-latex: ood $B $A $D --ood photo-patches --score entropy,scp --format latex $Q
ood-baseline: ood $B $A --id npz:$I/own.npz --ood npz:$I/own.npz:all --baseline $B --detail --out o
  --bootstrap 100
ood-reference: ood $A $D --ood photo-patches --engine reference --batch-size 100 --format json $Q
ood-bf16: ood $R $D --ood photo-patches --precision bf16 --format json $Q
ood-own-sets: ood $A --id npz:$I/own.npz --ood folder:$I/pictures --ood npz:$I/own.npz:rotation:2
  --fit digits --score entropy,mahalanobis,knn --format json --out o $Q
ood-events: ood $E --id digits-dvs --ood digits-dvs:polarity_flip --ood digits-dvs:time_jitter:4
  --score entropy,max-logit --format json --figures o $Q
ood-own-network: ood $I/own.pt --model own_net:small --timesteps 3 --mean 0.3 --std 0.3 $D
  --ood photo-patches --format json $Q
ood-nir: ood $I/own.nir --timesteps 4 $D --ood photo-patches --format json $Q
energy-nir: energy $I/own.nir --timesteps 4 --data digits --format json
inspect-nir: inspect $I/own.nir --format json
compare-json: compare $B $A $D --ood photo-patches --score entropy,energy --format json $Q
compare-csv: compare $B,digits-resnet18-baseline $A,$R $D --by severity --ood digits:rotation
  --metric all --format csv --out o $Q
compare-latex: compare $B $A $D --ood photo-patches --no-replay --format latex $Q
compare-markdown: compare $B $A $D --ood digits:blur:3 --by class --format markdown $Q
energy-json: energy $A --data digits:contrast:5 --format json
energy-csv: energy $A $R --convention all --format csv --scale 1.2
energy-everything: energy $A --profile 45nm-fp32 --profile loihi --profile $I/own.toml
  --convention all --explain --shift contrast --shift fog:3 --scales 0.8:1.2:0.2 --detail
  --out o --figures o --figure-format svg
energy-choices: energy $R --memory --first-layer every-step --macs effective --shift contrast:3
  --average-pooling effective --batch-norm counted --detail --out o
energy-markdown: energy --profile 45nm-int8 --profile truenorth --no-replay --format markdown
energy-latex: energy --memory --engine reference --format latex
energy-events: energy $E --shift event_drop --convention neurobench --detail --format json
sweep-demo: sweep $A --scales 0.6:1.4:0.2 --ood photo-patches --out o --figures o $Q
sweep-csv: sweep $B $A --scales 0.5,1,2 --on validation --profile loihi --detail --format csv $Q
sweep-trained: sweep --train --data digits --width 0.125 --epochs 1 --samples 512 --timesteps 2 $S
  --scales 0.5,1 --format json --out o --figures o $Q
raster-layers: raster $A --layer features.lif3_1 --sample 7 --scales 0.5,1,ahsar
  --data digits:rotation:3 --out o/raster.pdf
raster-events: raster $E --layer 2 --sample 30 --out o/raster.svg
inspect-json: inspect $A --format json
inspect-table: inspect $R
list: data list
info-digits: data info digits --role train
info-photo-patches: data info photo-patches
info-npz: data info npz:$I/own.npz
info-folder: data info folder:$I/pictures
prepare: data prepare digits
show-events: data show digits-dvs:event_drop --samples 4 --out o/sheet.pdf
train: train --width 0.125 --epochs 2 --timesteps 4 $S --method ahsar --out o/a.pt
inspect-trained after train: inspect o/a.pt --format json
ood-trained after train: ood o/a.pt $D --ood photo-patches --detail --format json $Q
train-frozen after train: train --width 0.125 --epochs 1 $S --method frozen:o/a.pt --out o/f.pt
train-rate: train --backbone resnet18 --width 0.125 --epochs 1 --timesteps 2 $S --paradigm rate
  --sensing surrogate --controller beta=0.2 --augment crop --samples 512 --out o/r.pt
train-events: train --data digits-dvs --width 0.125 --epochs 1 --timesteps 4 $S --step-mode s
  --samples 256 --method ahsar-no-dh --precision bf16 --out o/e.pt
train-own: train --backbone own_net:small --epochs 1 --timesteps 3 $S --method ahsar --out o/own.pt
energy-own after train-own: energy o/own.pt --model own_net:small --detail --out o
study-run: study run $I/study.toml --out run --workers 0 --verbose
study-show after study-run: study show $I/study.toml --out run
study-table after study-run: study table run --bootstrap 100 --out o --figures o
study-json after study-run: study table run --bootstrap 100 --format json
help: --help
bad-set: ood $A --id nothing --ood photo-patches
bad-shift: ood $A $D --ood digits:nothing
bad-checkpoint: energy nothing
bad-negative-scale: ood $A $D --ood photo-patches --scale -1
bad-unpriced-memory: energy $A --profile loihi --memory
"""
WORDS = {"A": "digits-vgg13-ahsar", "B": "digits-vgg13-baseline", "E": "digits-dvs-vgg13-ahsar"}
WORDS |= {"R": "digits-resnet18-ahsar", "D": "--id digits", "I": "../inputs"}
WORDS |= {"Q": "--bootstrap 200", "S": "--batch-size 32 --learning-rate 5e-3"}
FILES = {
    "own_net.py": """
from spikingjelly.activation_based import layer, neuron
from torch import nn
def small():
    parts = [layer.Conv2d(1, 8, 3, stride=2, padding=1), neuron.LIFNode(v_threshold=0.1)]
    parts += [layer.Flatten(), layer.Linear(512, 32), neuron.IFNode(v_threshold=0.1)]
    parts += [layer.Linear(32, 10)]
    for part in parts:
        part.step_mode = "m"
    return nn.Sequential(*parts)
""",
    "own.toml": """
name = "own"
unit = "pJ"
number_format = "fp32"
node = "none"
includes = "synapses"
obtained = "measured"
source = "none"
mac_pj = 3.0
ac_pj = 0.5
""",
    "study.toml": """
name = "own"
training = {width = 0.125, epochs = 2, batch_size = 32, learning_rate = 5e-3, samples = 512}
data.digits.ood = ["photo-patches", "digits:contrast:3"]
[grid]
data = ["digits"]
method = ["baseline", "ahsar", "fixed:0.8", "frozen:ahsar"]
seed = [0, 1]
""",
}
# Of a run, not of its result: when, where, how long, by which command, code and versions (`key`:
# of a cell of a study). A checkpoint holds when it was trained, so its SHA-256 is always new.
IGNORED = {"time", "command", "processor", "seconds", "code", "code_of_cells", "versions", "key"}
IGNORED |= {"sha256"}
SCRUBBED = (
    (r"(?m)^[ %]*(command|time|versions|processor): .*\n", ""),
    (r"\b[0-9a-f]{16,}\b", "DIGEST"),
    (r"\.py:\d+", ".py"),
    (r"(?m)\b[\d.]+ (s|min|h)$", "DURATION"),
    (r"(?m)^\d\d:\d\d:\d\d\b", "CLOCK"),
)
NUMBER = re.compile(r"(?:(?<![^\s(|$])[-−+])?(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")


def write_inputs(folder: Path) -> None:
    """Sets, networks and settings that commands name with $I, the same each time."""
    import torch
    from PIL import Image
    from sklearn.datasets import load_digits

    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    images, labels = load_digits(return_X_y=True)
    pixels = (images[:120].reshape(-1, 8, 8) * 15).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    np.savez(folder / "own.npz", x=pixels, y=labels[:120])
    drawn = np.random.default_rng(0)
    for number in range(24):
        place = folder / "pictures" / f"kind{number % 3}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        squares = drawn.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(squares.repeat(6, 0).repeat(6, 1)).save(place)
    torch.manual_seed(0)
    sys.path.insert(0, str(folder))
    torch.save(importlib.import_module("own_net").small().state_dict(), folder / "own.pt")
    if importlib.util.find_spec("nir"):
        write_nir(folder / "own.nir", drawn)


def write_nir(path: Path, drawn: np.random.Generator) -> None:
    """A network with two layers of integrate-and-fire neurons for digits."""
    import nir

    def weights(*shape: int) -> Any:
        return drawn.normal(0, 0.4, shape).astype(np.float32)

    def spikes(*shape: int) -> Any:
        ones = np.ones(shape, np.float32)
        return nir.IF(r=ones, v_threshold=0.5 * ones, v_reset=0 * ones)

    nodes = {
        "input": nir.Input(np.array((1, 16, 16))),
        "conv": nir.Conv2d((16, 16), weights(4, 1, 3, 3), 2, 1, 1, 1, weights(4)),
        "if1": spikes(4, 8, 8),
        "flat": nir.Flatten({"input": np.array((4, 8, 8))}, 0, -1),
        "fc": nir.Affine(weights(10, 256), weights(10)),
        "if2": spikes(10),
        "output": nir.Output(np.array([10])),
    }
    names = list(nodes)
    nir.write(path, nir.NIRGraph(nodes, list(itertools.pairwise(names))))


Group = list[tuple[str, list[str]]]


def commands(only: str) -> list[Group]:
    """Names and words, those together that run one after another in one folder."""
    groups: dict[str, Group] = {}
    place: dict[str, str] = {}
    for line in COMMANDS.replace("\n  ", " ").strip().splitlines():
        head, _, words = line.partition(": ")
        name, _, other = head.partition(" after ")
        place[name] = place.get(other, name)
        asked = shlex.split(Template(words).substitute(WORDS))
        groups.setdefault(place[name], []).append((name, asked))
    nir = importlib.util.find_spec("nir") is not None
    wanted = {place[name] for name in place if only in name and (nir or not name.endswith("-nir"))}
    return [group for name, group in groups.items() if name in wanted]


def record(checkout: Path, folder: Path, only: str, jobs: int) -> None:
    """Run the commands, `jobs` at once, and keep what they make below `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary).resolve()
        inputs = work / "inputs"
        inputs.mkdir()
        write_inputs(inputs)
        environment = {
            **os.environ,
            "PYTHONPATH": f"{checkout}{os.pathsep}{inputs}",
            # Loops are compiled anew: numba's cache does not see a change of a loop that one calls.
            "NUMBA_CACHE_DIR": str(work / "loops"),
            "AHSAR_EVAL_DATA": str(work / "data"),
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }
        asked = [sys.executable, "-c", "import ahsar_eval; print(ahsar_eval.__file__)"]
        found = subprocess.check_output(asked, cwd=work, env=environment, text=True)
        if not Path(found).is_relative_to(checkout):
            sys.exit(f"{found.strip()} would run, which is not of {checkout}")

        def run(group: Group) -> None:
            here = work / group[0][0]
            here.mkdir()
            own = environment | {"AHSAR_EVAL_CACHE": str(work / "cache" / here.name)}
            for name, words in group:
                run_one(words, here, own, folder / name, {work: "WORK", checkout: "CHECKOUT"})

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(run, commands(only)))


def run_one(
    words: list[str],
    here: Path,
    environment: Mapping[str, str],
    target: Path,
    places: Mapping[Path, str],
) -> None:
    """Run a command in `here` and keep in `target` what it makes; texts name no `places`."""
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    begun = time.perf_counter()
    asked = [sys.executable, "-m", "ahsar_eval", *words]
    done = subprocess.run(asked, cwd=here, env=environment, capture_output=True, encoding="utf-8")
    seconds = round(time.perf_counter() - begun, 1)
    expected = 2 if target.name.startswith("bad-") else 0
    doubt = "" if done.returncode == expected else f"  expected {expected}: {done.stderr[-200:]}"
    print(f"{target.name:20} exit code {done.returncode} {seconds:6} s{doubt}", flush=True)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    form = words[words.index("--format") + 1] if "--format" in words else "table"
    form = form if done.returncode == 0 and form in ("json", "csv") else "txt"
    (target / f"stdout.{form}").write_text(without(places, done.stdout), encoding="utf-8")
    (target / "stderr.txt").write_text(without(places, done.stderr), encoding="utf-8")
    files = {
        path.relative_to(here).as_posix(): keep(path, target / path.relative_to(here), places)
        for path in sorted(here.rglob("*"))
        if path.is_file()
        and before.get(path) != path.stat().st_mtime_ns
        and "cells" not in path.parts  # of a study, by key; `study table` tells what is in them
    }
    facts = {"command": words, "exit_code": done.returncode, "seconds": seconds, "files": files}
    (target / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def without(places: Mapping[Path, str], text: str) -> str:
    """The text with folders of this run under names that are always the same."""
    for place, said in places.items():
        text = text.replace(str(place), said)
    return text


def said_of(array: NDArray[Any]) -> str:
    """A single value as it is; of more, type, shape and digest."""
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return f"{array.dtype}{list(array.shape)}:{digest}" if array.ndim else repr(array.item())


def keep(path: Path, copy: Path, places: Mapping[Path, str]) -> Any:
    """Copy a file that `compare` reads; of arrays and figures, what is told of them."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: said_of(array) for name, array in arrays.items()}
    if path.suffix in (".json", ".csv", ".md", ".tex"):
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(without(places, path.read_text(encoding="utf-8")), encoding="utf-8")
    return "written"


def leaves(value: Any, path: str, renamed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every value below `value` with its path; cells of a study, which lie by key, in an order."""
    if value and isinstance(value, dict):
        for name, inner in value.items():
            if name.partition(".")[0] not in IGNORED:
                yield from leaves(inner, f"{path}.{renamed.get(name, name)}", renamed)
    elif value and isinstance(value, list):
        if all(isinstance(one, dict) and "key" in one for one in value):
            value = sorted(value, key=lambda one: sorted(leaves(one, "", renamed)))
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{number}]", renamed)
    else:
        yield path, repr(value)


def values(path: Path, renamed: Mapping[str, str]) -> dict[str, str]:
    """The values of a JSON or CSV file by path."""
    with path.open(encoding="utf-8", newline="") as reader:
        read = json.load(reader) if path.suffix == ".json" else list(csv.DictReader(reader))
    return dict(leaves(read, "", renamed))


def numbers(text: str) -> Counter[str]:
    """The numbers in a text and how often each is there."""
    return Counter(NUMBER.findall(text))


def of_values(before: dict[str, str], after: dict[str, str]) -> Iterator[tuple[bool, str]]:
    """What differs between values, those of one key or column together, and whether it counts."""
    found: dict[tuple[bool, str, str], list[str]] = defaultdict(list)
    for path in before | after:
        old, new = before.get(path), after.get(path)
        same = re.sub(r"\[\d+\]", "[]", path).lstrip(".")
        if old is None or new is None:
            found[new is None, "is gone" if new is None else "is new", same].append(old or str(new))
        elif old != new:
            counts = " " not in old or " " not in new or numbers(old) != numbers(new)
            what = "differs" if counts else "is worded otherwise"
            found[counts, what, same].append(f"{path.lstrip('.')}: {old} → {new}")
    for (counts, what, same), told in found.items():
        yield counts, f"{same} {what} ({len(told)} values), first {told[0][:200]}"


def of_texts(before: str, after: str) -> Iterator[tuple[bool, str]]:
    """Numbers of a text that differ, and how many lines do."""
    for pattern, put in SCRUBBED:
        before, after = re.sub(pattern, put, before), re.sub(pattern, put, after)
    gone, new = numbers(before) - numbers(after), numbers(after) - numbers(before)
    if gone or new:
        told = (f"{total.total()} {dict(total.most_common(5))}" for total in (gone, new))
        yield True, "numbers differ: gone {}, new {}".format(*told)
    if before != after:
        lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0))[2:]
        yield False, f"layout differs: {sum(not line.startswith('@@') for line in lines)} lines"


def compare(before: Path, after: Path, renamed: Mapping[str, str]) -> bool:
    """Print what differs between two recorded folders; whether nothing that counts does."""
    files = sorted(p.relative_to(before) for p in before.rglob("*") if p.is_file())
    added = {p.relative_to(after) for p in after.rglob("*") if p.is_file()} - set(files)
    told = [(False, path, "is new") for path in sorted(added)]
    for path in files:
        old, new = before / path, after / path
        if not new.is_file():
            found: Iterator[tuple[bool, str]] = iter([(True, "is gone")])
        elif path.suffix in (".json", ".csv"):
            found = of_values(values(old, renamed), values(new, {}))
        else:
            found = of_texts(old.read_text(encoding="utf-8"), new.read_text(encoding="utf-8"))
        told += [(counts, path, text) for counts, text in found]
    for counts, path, text in told:
        print(f"{'FAILS ' if counts else 'told  '} {path}: {text}")
    wrong = sum(counts for counts, _, _ in told)
    print(f"{len(files)} files compared: {wrong} differences count, {len(told) - wrong} do not")
    return bool(files) and not wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    recording = actions.add_parser("record")
    recording.add_argument("checkout", type=Path)
    recording.add_argument("folder", type=Path)
    recording.add_argument(
        "--only", default="", help="commands whose name holds this, and those of their folder"
    )
    recording.add_argument("--jobs", type=int, default=1, help="commands at a time")
    comparing = actions.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--renamed", type=Path, help="JSON file: keys of BEFORE and of AFTER")
    given = parser.parse_args()
    if given.action == "record":
        record(given.checkout.resolve(), given.folder.resolve(), given.only, given.jobs)
    else:
        renamed = json.loads(given.renamed.read_text(encoding="utf-8")) if given.renamed else {}
        sys.exit(0 if compare(given.before, given.after, renamed) else 1)


if __name__ == "__main__":
    main()
