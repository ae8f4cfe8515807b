"""The wheel works outside a clone: shipped checkpoints, sets and studies travel in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_wheel_carries_the_checkpoints_and_finds_them(tmp_path):
    pytest.importorskip(
        "hatchling", reason="the wheel is built with hatchling, which is not installed"
    )
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    for checkpoint in (ROOT / "checkpoints").glob("*.pt"):
        for file in (checkpoint.name, f"{checkpoint.stem}.setpoints.json"):
            assert f"ahsar_eval/_checkpoints/{file}" in names
    assert {
        "ahsar_eval/py.typed",
        *(f"ahsar_eval/report/{one}" for one in ("page.html", "page.css", "page.js", "cite.bib")),
        "ahsar_eval/_sets/cifar10-mini.txz",
        "ahsar_eval/_sets/n-mnist-mini.txz",
        "ahsar_eval/_sets/README.md",
        "ahsar_eval/_studies/digits.toml",
        "ahsar_eval/study/paper/table1_accuracy_id.csv",
        "ahsar_eval/study/cells.toml",
        "ahsar_eval/study/columns.toml",
        "ahsar_eval/study/tables.toml",
    } <= set(names)
    assert not [name for name in names if name.startswith("tests/")], (
        "the tests travel in the wheel"
    )
    script = (
        "import ahsar_eval.networks.checkpoints as c; print(c.__file__); "
        "ckpt = c.load_checkpoint('digits-resnet18-baseline'); "
        "print(ckpt.method, c.set_points_of(ckpt).data['n'])"
    )
    script += "; import ahsar_eval.study.grid as s; print(s.find_study('smoke'))"
    script += "; import ahsar_eval.data as d; print(len(d.open_set('cifar10-mini')), len(d.open_set('n-mnist-mini')))"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    place, method, known, study, images, recordings = ran.stdout.split()
    assert (images, recordings, known) == ("1000", "100", "180")
    assert Path(place).is_relative_to(tmp_path), (
        f"the clone's package was imported, not the wheel's: {place}"
    )
    assert Path(study).is_relative_to(tmp_path), (
        f"the clone's study was found, not the wheel's: {study}"
    )
    assert method == "baseline"
