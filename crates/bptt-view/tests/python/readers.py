"""pandas, pyarrow and TensorBoard read what bptt wrote, with the values of its own JSON.

Usage: readers.py BPTT, the command's path. Needs what requirements.txt names.
"""

import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import pandas
import pyarrow.parquet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

BPTT = str(pathlib.Path(sys.argv[1]).resolve())
COLUMNS = ["layer", "direction", "parameter", "gate", "k", "t", "lag", "norm", "log10_norm", "share", "state"]
STATES = {"v": "value", "0": "zero", "u": "underflow", "c": "cut", "m": "masked", "r": "remainder"}


def bptt(folder, line):
    run = subprocess.run([BPTT, *line.split()], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def rows_of(ledger):
    """The ledger's JSON as {(layer, direction, parameter, gate, k, t): (norm, share, state)}."""
    rows = {}
    for entry in ledger["entries"]:
        place = (entry["layer"], entry["direction"], entry["parameter"])
        if "state" not in entry:  # one number a loss: the readout's at step k, the initial state's at none
            for k, (norm, share) in enumerate(zip(entry["norm"], entry["share"])):
                rows[(*place, None, k, k if entry["layer"] is None else None)] = (norm, share, None)
            continue
        steps = len(entry["state"])
        row = lambda rows, k: rows[k] or [None] * steps  # a step without a loss has no row
        for k, letters in enumerate(entry["state"]):
            for t, letter in enumerate(letters or "m" * steps):
                if letter == ".":
                    continue
                rows[(*place, None, k, t)] = (row(entry["norm"], k)[t], row(entry["share"], k)[t], STATES[letter])
                for gate, norms in entry.get("gate_norm", {}).items():
                    rows[(*place, gate, k, t)] = (row(norms, k)[t], None, STATES[letter])
    return rows


def none(value):
    return None if value is None or value is pandas.NA or value != value else value


def check_table(table, rows):
    assert list(table.columns) == COLUMNS, list(table.columns)
    assert len(table) == len(rows), (len(table), len(rows))
    for row in table.itertuples(index=False):
        key = (none(row.layer), none(row.direction), row.parameter, none(row.gate), row.k, none(row.t))
        norm, share, state = rows[key]
        assert (none(row.norm), none(row.share)) == (norm, share), (key, row, norm, share)
        assert state is None or row.state == state, (key, row, state)
        if norm:
            assert math.isclose(row.log10_norm, math.log10(norm), abs_tol=1e-12), (key, row)
        if none(row.t) is not None:
            assert row.lag == abs(row.k - row.t)


def check_tables(folder):
    read = "trace run --gates --steps 12 --burn-in 2 --detach-every 8"
    rows = rows_of(json.loads(bptt(folder, f"{read} --json")))
    for name in ["ledger.parquet", "ledger.csv"]:
        bptt(folder, f"{read} --out {name}")
    check_table(pandas.read_parquet(folder / "ledger.parquet"), rows)
    check_table(pandas.read_csv(folder / "ledger.csv"), rows)
    table = pyarrow.parquet.read_table(folder / "ledger.parquet")
    assert table.schema.metadata[b"schema"] == b"bptt.entries/1"
    types = {field.name: str(field.type) for field in table.schema}
    assert types["k"] == types["t"] == "int64" and types["norm"] == "double" and types["state"] == "string", types
    check_table(table.to_pandas(), rows)
    bptt(folder, "plot run --kind profile --out profile.parquet")
    profile = pandas.read_parquet(folder / "profile.parquet")
    ledger = json.loads(bptt(folder, "trace run --json"))
    quantiles = next(e for e in ledger["entries"] if e["parameter"] == "weight_hh")["log10_profile"]
    medians = [-math.inf if q[2] is None else q[2] for q in quantiles]
    assert profile["log10_q50"].tolist() == medians
    print(f"{len(rows)} rows read by pandas {pandas.__version__} and pyarrow {pyarrow.__version__}")


def check_events(folder):
    metrics = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    of = lambda event, key: {m["step"]: m[key] for m in metrics if m["event"] == event}
    events = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    expected = {
        "train/loss_bits": of("step", "loss_bits"),
        "grad/norm_preclip": of("step", "gradient_norm"),
        "held_out/loss_bits": of("evaluation", "held_out_bits"),
        "gradflow/l0/horizon": of("trace", "horizon"),
        "gradflow/l0/decay": of("trace", "decay_per_step"),
    }
    single = lambda value: struct.unpack("f", struct.pack("f", value))[0]
    assert set(expected) <= set(events.Tags()["scalars"]), events.Tags()
    for tag, values in expected.items():
        read = {event.step: event.value for event in events.Scalars(tag)}
        assert read == {step: single(value) for step, value in values.items()}, tag
    assert events.Tags()["images"] == ["gradflow/l0/heatmap"]
    images = events.Images("gradflow/l0/heatmap")
    assert [image.step for image in images] == list(of("trace", "horizon"))
    for image in images:
        png = image.encoded_image_string
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", png[16:24]) == (image.width, image.height) == (252, 252)
        assert zlib.crc32(png[12:29]) == struct.unpack(">I", png[29:33])[0]
    print(f"{sum(map(len, expected.values()))} numbers and {len(images)} images read by TensorBoard")


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    bptt(folder, "train --generate cue_sentences --level word --sentences 300 --cell lstm --layers 2 --hidden 8 --steps 12 --window 12 "
         "--batch 10 --trace-every 4 --evaluate-every 6 --quiet --out run --tensorboard tb")
    check_tables(folder)
    check_events(folder)
