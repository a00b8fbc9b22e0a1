"""Networks, scans and ledgers on arrays, without PyTorch."""

from __future__ import annotations

import copy
import json
import pickle
import signal
import threading
import time

import numpy as np
import pytest

import bptt


def weights(inputs: int = 2, hidden: int = 3, gates: int = 4, layers: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for layer in range(layers):
        found[f"weight_ih_l{layer}"] = rng.normal(size=(gates * hidden, inputs if layer == 0 else hidden)) / 2
        found[f"weight_hh_l{layer}"] = rng.normal(size=(gates * hidden, hidden)) / 2
        found[f"bias_ih_l{layer}"] = rng.normal(size=gates * hidden) / 2
    return found


def ledger(steps: int = 5, **options: object) -> bptt.Ledger:
    rng = np.random.default_rng(1)
    scan = bptt.Network("lstm", weights()).scan(rng.normal(size=(steps, 2, 2)))
    return scan.ledger(rng.normal(size=(steps, 2, 3)), **options)


def test_components_are_those_of_finite_differences() -> None:
    """A scalar tanh network, by hand: h_t = tanh(w h_{t-1} + u x_t + b), L = h_2."""
    w, u, b = 0.7, 0.5, 0.1
    x = [0.3, -0.2, 0.9]
    h = [0.0]
    for value in x:
        h.append(np.tanh(w * h[-1] + u * value + b))
    network = bptt.Network(
        "rnn", {"weight_ih_l0": [[u]], "weight_hh_l0": [[w]], "bias_ih_l0": [b], "bias_hh_l0": [0.0]}
    )
    scan = network.scan(np.reshape(x, (3, 1, 1)))
    np.testing.assert_allclose(scan.output[:, 0, 0], h[1:], rtol=1e-15)
    found = scan.ledger(np.reshape([0.0, 0.0, 1.0], (3, 1, 1)), present=[False, False, True])
    slopes = [1 - value**2 for value in h[1:]]
    carried = [w * slopes[2] * w * slopes[1] * slopes[0], w * slopes[2] * slopes[1], slopes[2]]
    np.testing.assert_allclose(found.norms("weight_hh_l0")[2], np.abs(np.multiply(carried, h[:3])), rtol=1e-14)
    np.testing.assert_allclose(found.norms("bias_hh_l0")[2], carried, rtol=1e-14)
    assert np.isnan(found.norms()[0]).all() and found.loss_steps.tolist() == [2]
    total = scan.gradient(np.reshape([0.0, 0.0, 1.0], (3, 1, 1)))
    np.testing.assert_allclose(total["bias_ih_l0"], [[sum(carried)]], rtol=1e-14)
    np.testing.assert_allclose(np.nansum(found.shares()), 1.0, rtol=1e-7)  # kept in f32


def test_names_and_frames() -> None:
    found = ledger(gates=True, sequences=True)
    assert found.parameters == ["weight_ih_l0", "weight_hh_l0", "bias_l0", "input_l0"]
    np.testing.assert_array_equal(found.norms("bias_ih_l0"), found.norms("bias_l0"))
    with pytest.raises(KeyError, match="weight_hh_l1; expected one of weight_ih_l0"):
        found.norms("weight_hh_l1")
    gates = found.gate_norms("weight_hh_l0")
    assert list(gates) == ["i", "f", "g", "o"]
    np.testing.assert_allclose(sum(norms**2 for norms in gates.values()), found.norms() ** 2, rtol=1e-12)
    assert found.sequence_norms(1).shape == (5, 5)
    for package in ("pandas", "polars", "xarray"):
        pytest.importorskip(package)
    table = found.to_pandas()
    assert list(table.columns) == list(found.to_polars().columns)
    assert len(table) == 4 * 15
    row = table[(table.parameter == "weight_hh") & (table.loss_step == 4) & (table.past_step == 1)].iloc[0]
    assert row.norm == found.norms()[4, 1] and row.lag == 3 and row.state == "value"
    array = found.to_xarray()
    assert array.norm.dims == ("layer", "direction", "parameter", "loss_step", "past_step")
    assert float(array.norm.sel(layer=0, direction="forward", parameter="weight_hh", loss_step=4, past_step=1)) == row.norm
    document = json.loads(found.to_json())
    assert document["schema"] == "bptt.ledger/2" and document["provenance"]["cell"] == "lstm"


def test_displays() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    found = ledger(40)
    text = repr(found)
    assert text.startswith("Ledger of 40 losses over 40 steps") and "99 %" in text and text.count("\n") < 24
    html = found._repr_html_()
    assert "data:image/svg+xml" in html and len(html) < 300_000 and "http" not in html.replace("http://www.w3.org", "")
    for kind in ("heatmap", "shares", "profile"):
        assert found.plot(kind).get_title() == "weight_hh_l0"
    with pytest.raises(ValueError, match="kind: pie is not possible"):
        found.plot("pie")
    assert len(ledger(700)._repr_html_()) < 300_000


def test_copies_and_pickles_are_the_same() -> None:
    found = ledger()
    again = pickle.loads(pickle.dumps(found))
    for name in found.parameters:
        np.testing.assert_array_equal(again.norms(name), found.norms(name))
    assert again.provenance == found.provenance
    assert copy.copy(found) is found and copy.deepcopy(found) is found


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: bptt.Network("lstn", weights()), bptt.UnknownCellError, "lstn"),
        (lambda: bptt.Network("gru", weights()), bptt.ShapeError, r"weight_hh_l0: expected \(12, 4\), given \(12, 3\)"),
        (lambda: bptt.Network("lstm", {**weights(), "weight_raw_l0": np.zeros((1, 1))}), bptt.ShapeError, "weight_raw_l0 is no"),
        (lambda: bptt.Network("lstm", {"weight_ih_l0": np.zeros((12, 2))}), bptt.ShapeError, "weight_hh_l0 is missing"),
        (lambda: bptt.Network("lstm", weights()).scan(np.zeros((5, 2))), bptt.ShapeError, r"\(T, B, I\)"),
        (lambda: bptt.Network("lstm", weights()).scan(np.zeros((5, 2, 3))), bptt.ShapeError, "input"),
        (lambda: bptt.Network("lstm", weights()).scan(np.full((5, 2, 2), np.nan)).ledger(np.ones((5, 2, 3))), bptt.NotFiniteError, "not finite"),
        (lambda: ledger(tolerance=2.0), bptt.BpttError, "tolerance"),
        (lambda: bptt.open("/nowhere/m.pt"), bptt.FileError, "/nowhere/m.pt"),
    ],
)
def test_errors_are_named(make, kind, text) -> None:
    with pytest.raises(kind, match=text):
        make()


def test_files_are_opened(tmp_path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, **{f"encoder.{name}": array for name, array in weights().items()}, **{"encoder.bias_hh_l0": np.zeros(12)})
    network = bptt.open(path)
    assert network.cell == "lstm"
    np.testing.assert_array_equal(network.weights["weight_hh_l0"], weights()["weight_hh_l0"])


def test_progress_and_control_c() -> None:
    rng = np.random.default_rng(1)
    hidden = 128
    scan = bptt.Network("lstm", weights(hidden=hidden)).scan(rng.normal(size=(1500, 4, 2)))
    seeds = rng.normal(size=(1500, 4, hidden))
    seen: list[float] = []

    def stop(done: float) -> None:
        seen.append(done)
        if len(seen) == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        scan.ledger(seeds, progress=stop)
    assert all(0 <= done <= 1 for done in seen)
    sent = []

    def send() -> None:
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(0.3, send)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        scan.ledger(seeds, progress=False)
    assert time.monotonic() - sent[0] < 0.5
