"""Writes bf16/*.json: weight gradients in bf16 of PyTorch's modules and of JAX scans on a CPU.

    pip install torch==2.15.* jax==0.10.* numpy
    python crates/bptt/tests/bf16.py                # the files that the tests read
    python crates/bptt/tests/bf16.py --large DIR    # the networks of the table in book/src/precision.md, into DIR

    BPTT_BF16_CASES=DIR cargo test -p bptt --test suite bf16 -- --ignored --nocapture       # that table

Each file has a network, either one whose steps all contribute the same or one that was trained here for a short time in f32,
then what it reads, what it should say, and the gradient of every weight. All weights are cast to bf16. The loss is taken in f32
of outputs in bf16. That of texts is the squared error of one-hot targets, because a cross-entropy in f32 has dL/dy of which one in
10,000 is rounded to another bf16 than the exact one, and over 1,000 steps this is seen in the sums. Numbers in bf16 are written as four hexadecimal digits, numbers in f32 as eight.

The files come from PyTorch 2.15.0 and JAX 0.10.2 on an Intel Xeon with AMX. On another processor products add up in another order,
and single results are rounded the other way.
"""

import json
import os
import pathlib
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy
import torch

BF16 = torch.bfloat16
TEXT = "a gradient of many steps is a sum of what each step has given and a sum of few digits forgets what came first "
ALPHABET = sorted(set(TEXT))


def module(kind, inputs, hidden, output, **options):
    if kind == "lstm_projected":
        return torch.nn.LSTM(inputs, hidden, proj_size=output, **options)
    if kind in ("rnn", "rnn_relu"):
        return torch.nn.RNN(inputs, hidden, nonlinearity="relu" if kind == "rnn_relu" else "tanh", **options)
    return {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](inputs, hidden, **options)


def adding(steps, batch):
    """Two numbers are marked; the output of the last step is their sum."""
    x = torch.zeros(steps, batch, 2)
    x[:, :, 0] = torch.rand(steps, batch)
    for b in range(batch):
        x[torch.randint(steps // 2, ()), b, 1] = 1
        x[steps // 2 + torch.randint(steps // 2, ()), b, 1] = 1
    target = torch.zeros(steps, batch, 1)
    target[-1, :, 0] = (x[:, :, 0] * x[:, :, 1]).sum(0)
    return x.to(BF16).float(), target, [steps - 1]


def text(steps, batch):
    """The next character."""
    ids = torch.tensor([ALPHABET.index(c) for c in TEXT * (2 + (steps + 1) // len(TEXT))])
    first = torch.randint(len(TEXT), (batch,))
    ids = torch.stack([ids[f : f + steps + 1] for f in first], 1)
    return ids[:-1], ids[1:], list(range(steps))


def copying(steps, batch):
    """Four symbols at the beginning come again at the end, after a signal."""
    symbols = torch.randint(1, 6, (4, batch))
    ids, target = torch.zeros(steps, batch, dtype=torch.long), torch.zeros(steps, batch, dtype=torch.long)
    ids[:4], ids[steps - 5], target[steps - 4 :] = symbols, 6, symbols
    return ids, target, list(range(steps - 4, steps))


# Draws a batch; input features, outputs.
TASKS = {"adding": (adding, 2, 1), "text": (text, len(ALPHABET), len(ALPHABET)), "copying": (copying, 7, 7)}


def numbers(x, features):
    return x if x.dtype.is_floating_point else torch.nn.functional.one_hot(x, features).float()


def loss_of(y, target, with_loss):
    """The mean over steps with a loss and sequences, of y in f32: squared error where the target has numbers."""
    y, target = y[with_loss], target[with_loss]
    if target.dtype.is_floating_point:
        return ((y - target) ** 2).sum() / y[..., 0].numel()
    return torch.nn.functional.cross_entropy(y.flatten(0, 1), target.flatten())


def train(task, kind, hidden, output, steps, updates):
    draw, inputs, outputs = TASKS[task]
    cell, head = module(kind, inputs, hidden, output), torch.nn.Linear(output, outputs)
    parameters = [*cell.parameters(), *head.parameters()]
    adam = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(updates):
        x, target, with_loss = draw(steps, 16)
        loss = loss_of(head(cell(numbers(x, inputs))[0]), target, with_loss)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
    print(f"{task} {kind}: loss {loss.item():.3f} after {updates} updates of {steps} steps", flush=True)
    return cell, head


def hexadecimal(tensor):
    numbers = numpy.asarray(tensor.detach().float().numpy()).reshape(-1).view(numpy.uint32)
    if tensor.dtype == torch.float32:
        return "".join(f"{v:08x}" for v in numbers)
    return "".join(f"{v >> 16:04x}" for v in numbers)


def of_jax(cell, head, x, target, with_loss, inside, relu):
    """The gradient of `h = act(x @ W_ih.T + b_ih + h @ W_hh.T + b_hh)` in a scan."""
    bf16 = jnp.bfloat16
    params = {name: jnp.asarray(p.detach().float().numpy()) for name, p in cell.named_parameters()}
    w, b = (jnp.asarray(p.detach().float().numpy(), bf16) for p in (head.weight, head.bias))
    x = jnp.asarray(x.float().numpy(), bf16)
    act = jax.nn.relu if relu else jnp.tanh

    def loss(params):
        cast = lambda params: {name: p.astype(bf16) for name, p in params.items()}
        outside = params if inside else cast(params)

        def step(h, x):
            p = cast(params) if inside else outside
            h = act(x @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h @ p["weight_hh_l0"].T + p["bias_hh_l0"])
            return h, h

        _, hs = jax.lax.scan(step, jnp.zeros((x.shape[1], w.shape[1]), bf16), x)
        y = (hs @ w.T + b).astype(jnp.float32)[jnp.array(with_loss)]
        right = jnp.asarray(target[with_loss].numpy())
        if right.dtype == jnp.float32:
            return ((y - right) ** 2).sum() / y[..., 0].size
        return -jnp.take_along_axis(jax.nn.log_softmax(y), right[..., None], -1).mean()

    gradient = jax.jit(jax.grad(loss))(params)
    # Gradients of weights that were cast outside are bf16 numbers.
    kept = torch.float32 if inside else BF16
    return {name: hexadecimal(torch.tensor(numpy.array(g)).to(kept)) for name, g in gradient.items()}


def write(folder, name, kind, cell, head, x, target, with_loss, squared=False):
    ids = target
    if squared:
        target = numbers(target, head.out_features)
    cell, head = cell.to(BF16), head.to(BF16)
    numbers_of_x = numbers(x, cell.input_size).to(BF16)
    cell.zero_grad(), head.zero_grad()
    loss_of(head(cell(numbers_of_x)[0]).float(), target, with_loss).backward()
    gradients = {"pytorch": {name: hexadecimal(p.grad) for name, p in cell.named_parameters()}}
    if kind in ("rnn", "rnn_relu") and cell.num_layers == 1:
        for framework, inside in [("jax_cast_outside", False), ("jax_cast_inside", True)]:
            of = of_jax(cell, head, numbers_of_x, target, with_loss, inside, kind == "rnn_relu")
            gradients[framework] = of
    is_dense = x.dtype.is_floating_point
    case = {
        "made_by": f"PyTorch {torch.__version__.split('+')[0]}, JAX {jax.__version__}",
        "cell": kind,
        "steps": x.shape[0],
        "batch": x.shape[1],
        "inputs": cell.input_size,
        "hidden": cell.hidden_size,
        "output": cell.proj_size or cell.hidden_size,
        "layers": cell.num_layers,
        "bidirectional": cell.bidirectional,
        "outputs": head.out_features,
        "weights": {name: hexadecimal(p) for name, p in cell.named_parameters()},
        "head": [hexadecimal(head.weight), hexadecimal(head.bias)],
        "x": hexadecimal(x.to(BF16)) if is_dense else x.flatten().tolist(),
        "target": hexadecimal(target.float()) if is_dense else ids.flatten().tolist(),
        "squared": is_dense or squared,
        "first_loss": with_loss[0],
        "gradients": gradients,
    }
    (folder / f"{name}.json").write_text(json.dumps(case, indent=0) + "\n")


def constant(folder, kind, steps=1000):
    """All weights zero but W_ih, which is one (and half of W_hr); the gradient with respect to every h is one."""
    hidden = 2 if kind == "lstm_projected" else 1
    cell, head = module(kind, 1, hidden, 1).to(BF16), torch.nn.Linear(1, 1).to(BF16)
    with torch.no_grad():
        for p in [*cell.parameters(), *head.parameters()]:
            p.zero_()
        cell.weight_ih_l0.fill_(1)
        head.weight.fill_(1)
        if hidden == 2:
            cell.weight_hr_l0.fill_(1)
    x = torch.ones(steps, 1, 1)
    y = head(cell(x.to(BF16))[0]).detach().float()
    # The mean over the steps of (y - target)^2 has the derivative 2 (y - target) / steps.
    write(folder, f"constant_{kind}", kind, cell, head, x, y - steps / 2, list(range(steps)))


def main():
    torch.set_num_threads(1)
    large = sys.argv[1:2] == ["--large"]
    folder = pathlib.Path(sys.argv[2]) if large else pathlib.Path(__file__).parent / "bf16"
    folder.mkdir(exist_ok=True)
    for kind in ["rnn_relu", "gru", "lstm", "lstm_projected"]:
        constant(folder, kind)
    for kind in ["rnn", "gru", "lstm", "lstm_projected"]:
        torch.manual_seed(7)
        cell, head = module(kind, 7, 8, 4, num_layers=2, bidirectional=True), torch.nn.Linear(16, 7)
        if kind == "lstm_projected":
            head = torch.nn.Linear(8, 7)
        if not large:
            write(folder, f"layers_{kind}", kind, cell, head, *copying(12, 4))
    # Task, cell, hidden, output, steps of training, updates; steps and sequences of the gradient.
    small = [
        ("adding", "rnn", 16, 16, 30, 300, 50, 4),
        ("text", "gru", 16, 16, 40, 150, 64, 4),
        ("copying", "lstm", 16, 16, 20, 150, 40, 4),
        ("text", "lstm_projected", 16, 8, 40, 150, 64, 4),
    ]
    kinds = ["rnn", "gru", "lstm", "lstm_projected"]
    of_table = [("adding", 16, 50, 300, 50, 16), ("text", 64, 50, 150, 1024, 4), ("copying", 32, 30, 200, 200, 8)]
    of_table = [
        (task, kind, hidden, hidden // 2 if kind == "lstm_projected" else hidden, *rest)
        for task, hidden, *rest in of_table
        for kind in kinds
    ]
    for i, (task, kind, hidden, output, trained, updates, steps, batch) in enumerate(of_table if large else small):
        torch.manual_seed(i)
        cell, head = train(task, kind, hidden, output, trained, updates)
        write(folder, f"{task}_{kind}", kind, cell, head, *TASKS[task][0](steps, batch), squared=task == "text")


main()
