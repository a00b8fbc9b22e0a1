"""How far popular training pipelines really backpropagate, measured on the libraries themselves.

    python scripts/reach.py [--only skrl torchrl] [--base VENV] [--write ../../book/src/reach.md]

Installs the pinned packages of each library in a temporary virtual environment, runs `reach/NAME_.py` there (the library's own
training step on a tiny synthetic environment or series), and prints a table in Markdown. PyTorch is installed once, in an
environment that the others read; `--base` names one that exists in its place. Needs the network, an hour of a small machine
and 15 GB of disk for that time. CI does not run it. With `--write`, the table replaces that of the page.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import bptt

BASE = ["torch==2.15.0", "numpy==2.4.6", "keras==3.15.1", "jax==0.10.2", "flax==0.12.8"]
LIBRARIES = {
    "sb3_contrib_": ["sb3-contrib==2.9.2"],
    "skrl_": ["skrl==2.1.1", "gymnasium==1.4.0"],
    "torchrl_": ["torchrl==0.14.1", "gymnasium==1.4.0"],
    "tianshou_": ["tianshou==2.0.1"],
    "nnx_ppo_": ["nnx-ppo==0.3.0"],
    "neuralforecast_": ["neuralforecast==3.3.0"],
    "darts_": ["darts==0.48.1", "pytorch-lightning==2.6.6"],
    "gluonts_": ["gluonts[torch]==0.17.0"],
    "pytorch_forecasting_": ["pytorch-forecasting==1.8.0"],
    "fastai_": ["fastai==2.8.12"],
    "keras_jax_": [],
    "keras_torch_": [],
    "neurogym_": ["neurogym==2.2.0"],
    "snntorch_": ["snntorch==1.0.0"],
}
COLUMNS = {
    "library": "library, version",
    "start": "start state of a sequence",
    "longest": "longest lag",
    "nearest": "nearest lag",
    "crosses": "crosses ids",
    "padding": "weight of padding",
    "note": "setting",
}
BEGIN, END = "<!-- table of scripts/reach.py -->", "<!-- end of the table -->"


def environment(folder: Path, packages: list[str], base: Path | None) -> Path:
    """Its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    if base is not None:
        site = subprocess.check_output(
            [base / "bin" / "python", "-c", "import site; print(site.getsitepackages()[0])"], text=True
        )
        (next(folder.glob("lib/python*/site-packages")) / "base.pth").write_text(site)
    if packages:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", *packages], check=True)
    return python


def rows_of(python: Path, script: Path, folder: Path, packages: Path) -> tuple[list[dict[str, str]], int, list[str]]:
    """What the script measures, with a row that says so if it fails; how many trainings were watched, and the alarms."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{packages}{os.pathsep}{script.parent}",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [python, script], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    rows = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("ROW ")]
    if done.returncode != 0:
        print(done.stdout[-4000:], file=sys.stderr)
        rows.append({"library": script.stem, "start": f"failed: {done.stdout.strip().splitlines()[-1][:200]}"})
    lines = done.stdout.splitlines()
    return rows, lines.count("WATCHED"), [f"{rows[0]['library']}: {line[6:]}" for line in lines if line.startswith("ALARM ")]


def table(rows: list[dict[str, str]]) -> str:
    lines = [f"| {' | '.join(COLUMNS.values())} |", f"|{' --- |' * len(COLUMNS)}"]
    for row in rows:
        lines.append("| " + " | ".join((row.get(key) or "–").replace("|", "\\|") for key in COLUMNS) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of scripts")
    parser.add_argument("--base", type=Path, help="a virtual environment with " + ", ".join(BASE))
    parser.add_argument("--write", type=Path, help="a page whose table is replaced")
    args = parser.parse_args()
    rows, watched, alarms = [], 0, []
    with tempfile.TemporaryDirectory(prefix="reach") as name:
        folder = Path(name)
        packages = folder / "packages"
        packages.mkdir()
        (packages / "bptt").symlink_to(Path(bptt.__file__).parent)
        base = args.base
        if base is None:
            print("installing PyTorch", file=sys.stderr, flush=True)
            environment(base := folder / "base", BASE, None)
        for script, needed in LIBRARIES.items():
            if args.only and not any(part in script for part in args.only):
                continue
            print(f"{script.rstrip('_')}: {' '.join(needed)}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as own:
                python = environment(Path(own) / "venv", needed, base)
                found, count, named = rows_of(python, Path(__file__).parent / "reach" / f"{script}.py", Path(own), packages)
                rows, watched, alarms = rows + found, watched + count, alarms + named
    text = f"{table(rows)}\n\n{watched} trainings were watched. Alarms:\n\n" + "\n".join(
        f"- {alarm}" for alarm in alarms or ["none"]
    )
    print(text)
    if args.write:
        page = args.write.read_text()
        before, behind = page.split(BEGIN)[0], page.split(END)[1]
        args.write.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{behind}")


if __name__ == "__main__":
    main()
