#!/usr/bin/env bash
# Gradients over many steps in JAX on a CPU.
#
# Expected: f32 goes down to 2^-149: below 2^-126, the smallest normal number, precision is lost bit by bit, as IEEE 754 says and
#           as NumPy and PyTorch compute on the same processor. A gradient that halves at each step is zero from step 150 on.
# Actual:   XLA sets its threads to flush denormal numbers to zero. The gradient is exactly zero from step 127 on, with and
#           without jit; an array that holds a denormal number shows it until the first operation on it. In f64 likewise from
#           step 1023 instead of 1075 on. "The gradient is zero" then says nothing about whether a path leads to that step.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir jax==0.10.2 jaxlib==0.10.2 numpy==2.3.5
JAX_PLATFORMS=cpu JAX_ENABLE_X64=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import numpy

print("jax", jax.__version__, "numpy", numpy.__version__)


def gradients(dtype, steps):
    """dh_T/dh_0 of h_t = h_{t-1} / 2: by JAX, by JAX with jit, and by NumPy's product of the factors."""

    def last(h):
        return jax.lax.scan(lambda h, _: (h * dtype(0.5), None), h, length=steps)[0]

    by_hand = dtype(1)
    for _ in range(steps):
        by_hand = by_hand * dtype(0.5)
    return [dtype(jax.grad(last)(dtype(1))), dtype(jax.jit(jax.grad(last))(dtype(1))), by_hand]


as_described = True
for dtype, normal, smallest in ((numpy.float32, 126, 149), (numpy.float64, 1022, 1074)):
    for steps in (normal, normal + 1, smallest, smallest + 1):
        found = gradients(dtype, steps)
        print(f"{dtype.__name__} {steps:5} steps: jax {found[0]!s:24} jit {found[1]!s:24} numpy {found[2]!s}")
        flushed = 0 if steps > normal else 2.0**-steps
        as_described &= found == [flushed, flushed, 2.0**-steps if steps <= smallest else 0]
held = jax.numpy.asarray(numpy.float32(1e-40))
print("an array of 1e-40:", numpy.asarray(held), " times 2:", numpy.asarray(held * 2))
as_described &= numpy.asarray(held) == numpy.float32(1e-40) and numpy.asarray(held * 2) == 0
sys.exit(0 if as_described else "the behavior has changed")
PYTHON
