"""How long a ledger takes beside the ways to the same norms in PyTorch, and what `watch` adds to a training.

    python scripts/speed.py [--steps 256] [--batch 8] [--hidden 256] [--rounds 3]

Ways: `bptt.torch.ledger` in f32 with error estimates and without; a step as a function, its vjps for all losses together
(`torch.func`); a copy of the weights for each step, several losses at a time (`is_grads_batched`) and one after another. All
give ||dL_k/dW_ih||, ||dL_k/dW_hh|| and ||dL_k/db|| of every step t; they are compared before they are timed. The ways take
turns; the table has medians.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time

import torch
from torch import nn

import bptt
import bptt.torch

FEATURES = 64


def step(weights, x, state):
    """One step of an LSTM."""
    w_ih, w_hh, b = weights
    h, c = state
    i, f, g, o = (x @ w_ih.T + h @ w_hh.T + b).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


def weights_of(lstm):
    return [lstm.weight_ih_l0.detach(), lstm.weight_hh_l0.detach(), (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()]


def by_function(lstm, x, seeds, chunk=64):
    """At each step the vjps of the losses behind it, `chunk` of them together."""
    steps, batch = x.shape[:2]
    weights = weights_of(lstm)
    states = [(torch.zeros(batch, lstm.hidden_size),) * 2]
    for t in range(steps):
        states.append(step(weights, x[t], states[-1]))
    norms = torch.zeros(3, steps, steps)
    adjoints = [torch.zeros(0, batch, lstm.hidden_size)] * 2
    for t in reversed(range(steps)):
        # The rows of losses t, t + 1, ...
        adjoints = [torch.cat([new, old]) for new, old in zip((seeds[t][None], torch.zeros_like(seeds[t])[None]), adjoints)]
        _, vjp = torch.func.vjp(lambda w, s: step(w, x[t], s), weights, states[t])
        found = []
        for first in range(0, steps - t, chunk):
            rows = tuple(part[first : first + chunk] for part in adjoints)
            by_weights, by_state = torch.func.vmap(vjp)(rows)
            for which, gradient in enumerate(by_weights):
                norms[which, t + first : t + first + chunk, t] = gradient.flatten(1).norm(dim=1)
            found.append(by_state)
        adjoints = [torch.cat(parts) for parts in zip(*found)]
    return norms


def with_copies(lstm, x):
    """Outputs of a scan that has its own weights at each step."""
    copies = [[w.clone().requires_grad_() for w in weights_of(lstm)] for _ in range(len(x))]
    state, outputs = (torch.zeros(x.shape[1], lstm.hidden_size),) * 2, []
    for own, part in zip(copies, x):
        state = step(own, part, state)
        outputs.append(state[0])
    return copies, outputs


def by_copies(lstm, x, seeds, together=1):
    """Backward passes of single losses, or of some together."""
    copies, outputs = with_copies(lstm, x)
    steps = len(x)
    losses = torch.stack([(output * seed).sum() for output, seed in zip(outputs, seeds)])
    norms = torch.zeros(3, steps, steps)
    for first in range(0, steps, together):
        count = min(together, steps - first)
        reached = [w for own in copies[: first + count] for w in own]
        if together == 1:
            gradients = torch.autograd.grad(losses[first], reached, retain_graph=True)
            gradients = [gradient[None] for gradient in gradients]
        else:
            rows = torch.eye(steps)[first : first + count]
            gradients = torch.autograd.grad(losses, reached, rows, retain_graph=True, is_grads_batched=True)
        for n, gradient in enumerate(gradients):
            norms[n % 3, first : first + count, n // 3] = gradient.flatten(1).norm(dim=1)
    return norms


def by_ledger(lstm, x, seeds, estimates=True):
    options = {"precision": "f32", "estimate_errors": estimates, "inputs": False, "progress": False}
    ledger = bptt.torch.ledger(lstm, x, grad_output=seeds, **options)
    return torch.stack([torch.from_numpy(ledger.norms(name)) for name in ("weight_ih_l0", "weight_hh_l0", "bias_l0")])


def compare(args) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(FEATURES, args.hidden)
    x, seeds = torch.randn(args.steps, args.batch, FEATURES), torch.randn(args.steps, args.batch, args.hidden)
    ways = {
        "bptt.torch.ledger, f32": lambda: by_ledger(lstm, x, seeds),
        "bptt.torch.ledger, f32, no estimates": lambda: by_ledger(lstm, x, seeds, False),
        "torch.func, 64 losses together": lambda: by_function(lstm, x, seeds),
        "torch.func, 16 losses together": lambda: by_function(lstm, x, seeds, 16),
        "copies, 8 losses together": lambda: by_copies(lstm, x, seeds, 8),
        "copies, one loss after another": lambda: by_copies(lstm, x, seeds),
    }
    ways = {name: way for name, way in ways.items() if args.ways in name or way is next(iter(ways.values()))}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    first = None
    for turn in range(args.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            norms = torch.nan_to_num(way())
            seconds[name].append(time.perf_counter() - started)
            first = norms if first is None else first
            error = ((norms - first).abs() / first.clamp(min=1e-30))[first > 1e-6 * first.max()].max()
            assert error < 1e-2, f"{name}: {error}"
            print(f"turn {turn}: {name}: {seconds[name][-1]:.2f} s, within {error:.1e}", flush=True)
    own = statistics.median(seconds["bptt.torch.ledger, f32"])
    print(f"\nLSTM, B {args.batch}, T {args.steps}, H {args.hidden}, I {FEATURES}, f32, {torch.get_num_threads()} threads")
    print("\n| way | seconds | of the ledger's |\n| --- | ---: | ---: |")
    for name, times in seconds.items():
        print(f"| {name} | {statistics.median(times):.2f} | {statistics.median(times) / own:.1f} |")


def overhead(args) -> None:
    """Trainings with and without `watch`, by turns."""

    def train(watched: bool) -> float:
        torch.manual_seed(0)
        model = nn.ModuleDict({"core": nn.LSTM(FEATURES, args.hidden), "head": nn.Linear(args.hidden, 10)})
        optimizer = torch.optim.Adam(model.parameters())
        x, y = torch.randn(100, 32, FEATURES), torch.randint(0, 10, (100, 32))

        def updates() -> None:
            for _ in range(args.updates):
                optimizer.zero_grad()
                out = model["head"](model["core"](x)[0])
                nn.functional.cross_entropy(out.flatten(0, 1), y.flatten()).backward()
                optimizer.step()

        started = time.perf_counter()
        if watched:
            with bptt.torch.watch(model, every=100, out=io.StringIO()):
                updates()
        else:
            updates()
        return time.perf_counter() - started

    ratios = []
    for _ in range(args.rounds):
        plain, watched = train(False), train(True)
        ratios.append(watched / plain)
        print(f"{args.updates} updates: {plain:.1f} s, with watch(every=100) {watched:.1f} s: {ratios[-1]:.3f}", flush=True)
    print(f"median {statistics.median(ratios):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("steps", 256), ("batch", 8), ("hidden", 256), ("rounds", 3), ("updates", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", choices=["ledger", "watch"])
    parser.add_argument("--ways", default="", help="only ways with this text in their names")
    args = parser.parse_args()
    print(f"bptt {bptt.__version__}, torch {torch.__version__}", flush=True)
    if args.only != "watch":
        compare(args)
    if args.only != "ledger":
        overhead(args)


if __name__ == "__main__":
    main()
