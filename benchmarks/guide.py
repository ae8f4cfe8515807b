"""Run the commands of the guide again and put what they print, and draw, where it was.

A block below a command whose output is a table becomes what that command prints at 100 columns. Of
a block that begins with another table than the first, that table alone is shown. The pictures are
those of the commands that `FIGURES` names. What `demo` prints stands in the README.

python benchmarks/guide.py [COMMAND...]    (commands such as ood or energy; default: all)
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAIR = "cifar10-jpeg-vgg13-baseline cifar10-jpeg-vgg13-ahsar"
SHIFTS = "contrast fog gaussian_noise defocus_blur snow pixelate".split()
# Name in docs → the arguments that draw it, and the file that they leave in FOLDER.
FIGURES = {
    "figure4": (
        "raster cifar10-jpeg-vgg13-ahsar --data cifar10-mini --layer 1 --out FOLDER/figure4.png",
        "figure4.png",
    ),
    "severity": (
        "ood --id cifar10-mini --ood photo-patches --ood cifar10-mini:fog --figures FOLDER "
        "--figure-format png",
        "severity.png",
    ),
    "test_time": (
        "ood cifar10-jpeg-vgg13-baseline --id cifar10-mini "
        + " ".join(f"--ood cifar10-mini:{shift}" for shift in SHIFTS)
        + " --adapt channel --figures FOLDER --figure-format png",
        "test_time.png",
    ),
    "sheet": ("data show cifar10-mini:snow --out FOLDER/sheet.png", "sheet.png"),
    "energy_layers": (
        f"energy {PAIR} --data cifar10-mini --shift contrast --scales 0.5:1.5:0.1 "
        "--figures FOLDER --figure-format png",
        "energy_layers.png",
    ),
    "threshold_sweep": (
        f"sweep {PAIR} --data cifar10-mini --ood photo-patches --limit 300 --scales 0.1:2:0.1 "
        "--figures FOLDER --figure-format png",
        "threshold_sweep.png",
    ),
}


def printed(arguments: str) -> str:
    call = "from ahsar_eval.cli.main import main; main()"
    words = [sys.executable, "-c", call, *shlex.split(arguments)]
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"ahsar-eval {arguments}: {done.stderr}")
    return done.stdout.rstrip("\n")


def shown(output: str, before: str) -> str:
    """`output`, or the table of it whose title begins as `before` does."""
    start = " ".join(before.split()[:4])
    titled = re.search(rf"^{re.escape(start)}", output, re.M)
    if titled is None or titled.start() == 0:
        return output
    return output[titled.start() :].partition("\n\nProfile ")[0]


def main(wanted: list[str]) -> None:
    def again(found: re.Match[str]) -> str:
        arguments, before = found[1], found[2]
        if "───" not in before or (wanted and arguments.split()[0] not in wanted):
            return found[0]
        print(f"ahsar-eval {arguments}")
        return f"    ahsar-eval {arguments}\n\n```\n{shown(printed(arguments), before)}\n```"

    block = r"^    ahsar-eval ([^#\n]*)\n\n```\n(.*?)\n```"
    for page in sorted((ROOT / "docs" / "guide").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(block, again, text, flags=re.M | re.S), encoding="utf-8")
    if not wanted or "demo" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            print("ahsar-eval demo")
            said = printed(f"demo --out {folder}/demo.html")
        readme, block = ROOT / "README.md", r"(<!-- demo -->\n).*?(<!-- /demo -->)"
        text = readme.read_text(encoding="utf-8")
        text = re.sub(block, rf"\1```\n{said}\n```\n\2", text, flags=re.S)
        readme.write_text(text, encoding="utf-8")
    for name, (arguments, file) in FIGURES.items():
        if not wanted or arguments.split()[0] in wanted:
            with tempfile.TemporaryDirectory() as folder:
                print(f"ahsar-eval {arguments}")
                printed(arguments.replace("FOLDER", folder))
                shutil.copy(Path(folder) / file, ROOT / "docs" / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
