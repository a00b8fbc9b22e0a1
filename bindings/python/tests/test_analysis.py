"""What the numpy level has beside ledgers, against NumPy's own numbers and definitions."""

from __future__ import annotations

import numpy as np
import pytest

import bptt

I, H, T, B = 3, 4, 12, 2


def numbers(seed: float, *shape: int) -> np.ndarray:
    return np.random.default_rng(int(10 * seed)).normal(size=shape) * 0.6


def rnn(**more: np.ndarray) -> bptt.Network:
    weights = {"weight_ih_l0": numbers(0.1, H, I), "weight_hh_l0": numbers(0.5, H, H), "bias_ih_l0": numbers(0.9, H)}
    return bptt.Network("rnn", {**weights, **more})


def head() -> dict[str, np.ndarray]:
    return {"head.weight": numbers(1.3, 5, H), "head.bias": numbers(1.9, 5)}


X = numbers(2.3, T, B, I)
CLASSES = np.arange(T * B).reshape(T, B) % 5


def states(network: bptt.Network) -> np.ndarray:
    w = network.weights
    h, found = np.zeros((B, H)), []
    for x in X:
        h = np.tanh(x @ w["weight_ih_l0"].T + h @ w["weight_hh_l0"].T + w["bias_ih_l0"])
        found.append(h)
    return np.array(found)


def test_spectra_are_numpys() -> None:
    network = rnn()
    (spectrum,) = network.spectra()
    w_hh = network.weights["weight_hh_l0"]
    assert np.allclose(spectrum.singular_values, np.linalg.svd(w_hh)[1], atol=1e-12)
    moduli = np.sort(np.abs(np.linalg.eigvals(w_hh)))[::-1]
    assert np.allclose(np.abs(spectrum.eigenvalues), moduli, atol=1e-9)
    assert (spectrum.sigma_limit, spectrum.spectral_radius) == (1.0, pytest.approx(moduli[0]))
    assert spectrum.implication == ("open" if spectrum.sigma_max > 1 else "vanishing")


def test_jacobians_and_exponents() -> None:
    network = rnn()
    scan = network.scan(X)
    h, w_hh = states(network), network.weights["weight_hh_l0"]
    assert np.allclose(scan.output, h, atol=1e-14)
    expected = (1 - h[5, 1] ** 2)[:, None] * w_hh
    assert np.allclose(scan.jacobian(5, 1), expected, atol=1e-14)
    found = scan.lyapunov()
    assert found.by_sequence.shape == (B, H) and found.steps == T * B
    # Their sum is the mean of ln |det J|.
    dets = [np.mean([np.linalg.slogdet(scan.jacobian(t, b))[1] for t in range(T)]) for b in range(B)]
    assert np.allclose(found.by_sequence.sum(axis=1), dets, atol=1e-9)
    assert np.allclose(found.exponents, found.by_sequence.mean(axis=0))
    # Two sequences: Student's t of one degree of freedom.
    assert found.standard_error is not None
    half = 12.706 * np.abs(found.by_sequence[0] - found.by_sequence[1]) / 2
    assert np.allclose(found.interval, [found.exponents - half, found.exponents + half])
    with pytest.raises(bptt.BpttError, match="warm_up"):
        scan.lyapunov(warm_up=T)


def test_targets_give_the_losses_of_the_head() -> None:
    network = rnn(**head())
    scan = network.scan(X)
    y = states(network) @ head()["head.weight"].T + head()["head.bias"]
    assert np.allclose(scan.predictions, y, atol=1e-13)
    log_softmax = y - np.log(np.exp(y).sum(axis=2, keepdims=True))
    losses = -np.take_along_axis(log_softmax, CLASSES[:, :, None], 2)[:, :, 0]
    assert np.allclose(scan.losses(CLASSES), losses, atol=1e-13)
    numeric = numbers(3.1, T, B, 5)
    assert np.allclose(scan.losses(numeric), ((y - numeric) ** 2).sum(axis=2), atol=1e-13)
    mask = np.zeros((T, B), bool)
    mask[-1] = True
    assert np.count_nonzero(scan.losses(CLASSES, mask=mask)) == B
    # The head's own gradient, and the same as with gradients at h.
    by_y = np.exp(log_softmax) - np.eye(5)[CLASSES]
    gradient = scan.gradient(targets=CLASSES)
    assert np.allclose(gradient["head.weight"], np.einsum("tbv,tbh->vh", by_y, states(network)), atol=1e-12)
    by_h = scan.gradient(by_y @ head()["head.weight"])
    assert np.allclose(gradient["weight_hh_l0"], by_h["weight_hh_l0"], atol=1e-12)
    mean = scan.gradient(targets=CLASSES, reduction="mean")
    assert np.allclose(mean["weight_hh_l0"], by_h["weight_hh_l0"] / (T * B), atol=1e-13)
    by_sequence = scan.gradient(targets=CLASSES, reduction="sum_per_sequence")
    assert np.allclose(by_sequence["weight_hh_l0"], by_h["weight_hh_l0"] / B, atol=1e-13)
    mean = scan.gradient(targets=CLASSES, reduction="mean_per_sequence")
    assert np.allclose(mean["weight_hh_l0"], by_h["weight_hh_l0"] / (T * B), atol=1e-13)
    of_targets = scan.ledger(targets=CLASSES)
    of_seeds = scan.ledger(by_y @ head()["head.weight"])
    assert np.allclose(of_targets.norms(), of_seeds.norms(), atol=1e-12, equal_nan=True)
    assert "head.weight" in of_targets.per_loss, list(of_targets.per_loss)
    single = network.scan(X, precision="f32").ledger(targets=CLASSES)
    assert np.allclose(single.norms(), of_targets.norms(), rtol=1e-3, equal_nan=True)


def test_windows() -> None:
    network = rnn(**head())
    scan = network.scan(X)
    curve = scan.truncation(targets=CLASSES, windows=[1, 3, T])
    assert curve.windows.tolist() == [1, 3, T] and curve.bias[-1] == pytest.approx(0, abs=1e-12)
    assert curve.bias[0] > curve.bias[1] > 0 and curve.cosine[-1] == pytest.approx(1)
    # A window of one step: the gradient with the state detached before every step.
    detached = network.scan(X, detach_every=1).gradient(targets=CLASSES)
    whole = scan.gradient(targets=CLASSES)
    flat = lambda gradient: np.concatenate([gradient[name].ravel() for name in sorted(gradient)])
    bias = np.linalg.norm(flat(detached) - flat(whole)) / np.linalg.norm(flat(whole))
    assert curve.bias[0] == pytest.approx(bias, rel=1e-9)
    found = scan.smallest_window(targets=CLASSES, bias=curve.bias[1] * 1.0001)
    assert found.window <= 3 and found.bias <= curve.bias[1] * 1.0001


def test_saturation_and_diagnosis() -> None:
    network = rnn(**head())
    scan = network.scan(X)
    (gate,) = scan.saturation()
    h = states(network)
    assert gate.saturated == pytest.approx(((h < -0.95).mean(), (h > 0.95).mean()))
    diagnosis = scan.diagnosis(targets=CLASSES)
    assert diagnosis.sentence and diagnosis.numbers["steps"] == T and diagnosis.sentence in str(diagnosis)
    assert scan.diagnosis(targets=CLASSES, lag=6).numbers["lag"] == {"nearest": 6, "farthest": 6}


def test_what_does_not_belong_together_is_refused() -> None:
    scan = rnn(**head()).scan(X)
    with pytest.raises(ValueError, match="either grad_output or targets"):
        scan.ledger()
    with pytest.raises(ValueError, match="they belong to targets"):
        scan.ledger(np.ones((T, B, H)), mask=np.ones((T, B)))
    with pytest.raises(bptt.ShapeError, match="present: expected 12"):
        scan.ledger(np.ones((T, B, H)), present=np.ones(T + 1, bool))
    with pytest.raises(ValueError, match="reduction: average is not possible"):
        scan.ledger(targets=CLASSES, reduction="average")
    with pytest.raises(bptt.ShapeError, match="targets: expected integers"):
        scan.ledger(targets=np.ones((T, B)))
    with pytest.raises(bptt.BpttError):
        scan.ledger(targets=np.full((T, B), 7))
    with pytest.raises(bptt.BpttError, match="readout|head"):
        rnn().scan(X).ledger(targets=CLASSES)


def test_tasks() -> None:
    names = [task.name for task in bptt.tasks()]
    assert "adding" in names and len(names) == len(set(names))
    batch = bptt.task_batch("adding", 10, 3)
    assert batch.inputs.shape == (10, 3, 2) and batch.mask is not None and batch.mask[-1].all()
    # Two numbers are marked with 1; the target is 0.5 and a quarter of their sum.
    marked = batch.inputs[:, :, 0] * (batch.inputs[:, :, 1] == 1)
    assert np.allclose(0.5 + marked.sum(axis=0) / 4, batch.targets[-1, :, 0])
    again = bptt.task_batch("adding", 10, 3)
    assert np.array_equal(batch.inputs, again.inputs)
    with pytest.raises(bptt.BpttError, match="nonsense"):
        bptt.task_batch("nonsense")


def test_training_learns_and_repeats() -> None:
    settings = dict(task="adding", length=6, cell="gru", hidden=8, steps=60, batch=8, evaluate_every=30, trace_every=20)
    done: list[float] = []
    training = bptt.train(**settings, progress=done.append)
    assert training.ending == "finished" and len(training.updates["loss"]) == 60
    assert training.updates["loss"][-10:].mean() < training.updates["loss"][:10].mean()
    assert training.evaluations["update"].tolist() == [30, 60] and len(training.ledgers["horizon"]) >= 3
    again = bptt.train(**settings, progress=False)
    assert np.array_equal(training.updates["loss"], again.updates["loss"])
    batch = bptt.task_batch("adding", 6, 4)
    ledger = training.network.scan(batch.inputs).ledger(targets=batch.targets, mask=batch.mask)
    assert max(ledger.balance.values()) < 1e-10
    with pytest.raises(bptt.BpttError, match="hiden"):
        bptt.train(task="adding", hiden=3)
    with pytest.raises(ValueError, match="either task or text"):
        bptt.train(hidden=3)


def test_a_text_is_learned(tmp_path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("ab" * 2000)
    training = bptt.train(text=text, hidden=8, steps=80, batch=4, window=8, learning_rate=0.02, trace_every=0)
    assert training.symbols == ["a", "b"] and training.updates["loss"][-1] < 0.1


def test_a_report_is_one_file(tmp_path) -> None:
    scan = rnn(**head()).scan(X[:, :1])
    ledger = scan.ledger(targets=CLASSES[:, :1])
    page = tmp_path / "report.html"
    ledger.report(page, title="An own title", symbols=[f"s{t}" for t in range(T)], unit="nats")
    html = page.read_text()
    assert "An own title" in html and '"s11"' in html
    with pytest.raises(ValueError, match="symbols: expected 12"):
        ledger.report(page, symbols=["a"])
    with pytest.raises(ValueError, match="unit: hours"):
        ledger.report(page, unit="hours")


def test_figures() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scan = rnn(**head()).scan(X)
    ledger = scan.ledger(targets=CLASSES)
    ax = ledger.plot("rainbow")
    # Bars add up to the norms of the losses behind each step.
    tops = np.nansum(ledger.norms(), axis=0)
    areas = [area for area in ax.collections if len(area.get_paths()) == 1]
    assert max(area.get_paths()[0].vertices[:, 1].max() for area in areas) == pytest.approx(tops.max())
    curve = scan.truncation(targets=CLASSES)
    assert curve.plot().get_lines()[0].get_ydata() == pytest.approx(np.maximum(curve.bias, 1e-16))
    spectrum = rnn().spectra()[0]
    assert spectrum.plot().get_lines()[0].get_ydata() == pytest.approx(spectrum.singular_values)
    training = bptt.train(task="adding", length=6, hidden=4, steps=10, batch=2, trace_every=5)
    assert len(training.plot().get_lines()[0].get_xdata()) == 10
    assert training.plot("horizon").get_ylabel() == "horizon"
    with pytest.raises(ValueError, match="what: luck"):
        training.plot("luck")
    plt.close("all")
