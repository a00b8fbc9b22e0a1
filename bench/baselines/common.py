"""Shared by the baselines: the protocol of the driver, the cases, the checks.

It is to be imported before any library: it reads --threads and sets the limits that NumPy, PyTorch and JAX
look at while they load.
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import resource
import sys
import time
import traceback
from pathlib import Path


def _limit_threads():
    """Take --threads, and keep this process and every library in it to that many cores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-threads:])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC"):  # NPROC is XLA's
        os.environ[name] = str(threads)
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    return threads


def _flush_denormals():
    """Make zero of what decays below 1e-38, as XLA does: far contributions would take ten times the time.

    NumPy has no call for it. The setting belongs to a thread, and those it starts later inherit it.
    """
    if platform.machine() == "x86_64":
        libm, environment = ctypes.CDLL("libm.so.6"), (ctypes.c_uint32 * 8)()
        libm.fegetenv(environment)
        environment[7] |= 0x8040  # MXCSR: flush to zero, denormals are zero
        libm.fesetenv(environment)


def _keep_memory():
    """Let malloc keep what is freed, as the allocators do that are recommended for these libraries.

    Given back to the system and taken anew, page by page, the large arrays of every pass would cost autograd
    and XLA up to a third of their time.
    """
    libc = ctypes.CDLL("libc.so.6")
    for option, value in ((-1, -1), (-4, 0), (-8, 1)):  # M_TRIM_THRESHOLD: never; M_MMAP_MAX; M_ARENA_MAX
        libc.mallopt(option, value)


def _limit_memory():
    """Fail with more than 8 GB, before the machine does: some forms keep a matrix for every pair of steps."""
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))


THREADS = _limit_threads()
_limit_memory()
_flush_denormals()
_keep_memory()

import numpy as np  # noqa: E402  (its BLAS reads the limits and starts its threads while it loads)

PARAMS = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hy", "b_y")  # what is trained
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class Impossible(Exception):
    """This form cannot do this case; the message says why."""


class Case:
    """A case of the protocol: its sizes, and its arrays as attributes (`ids`, `w_ih`, …)."""

    def __init__(self, folder):
        folder = Path(folder)
        sizes = json.loads((folder / "case.json").read_text())
        self.kind, self.cell = sizes["kind"], sizes["cell"]
        self.B, self.T, self.H, self.V = (sizes[axis] for axis in "BTHV")
        self.G = GATES[self.cell]
        for file in folder.glob("*.npy"):
            setattr(self, file.stem, np.load(file))

    def one_hot(self):
        """The input as dense rows, (T, B, V)."""
        return np.eye(self.V, dtype=np.float32)[self.ids]


def norm(array):
    """The Frobenius norm, summed in float64."""
    return float(np.linalg.norm(np.asarray(array, dtype=np.float64)))


def train_check(loss, grads):
    """The check of a training pass: the loss, and the norm of every gradient (by name)."""
    return {"loss": float(loss)} | {name: norm(grad) for name, grad in grads.items()}


def itemize_check(w_ih, w_hh, bias):
    """The check of three (T, T) arrays [k, t] of norms; what is above their diagonals does not count."""
    norms = [np.tril(np.asarray(array, dtype=np.float64)) for array in (w_ih, w_hh, bias)]
    T = len(norms[0])
    probes = [(T - 1, T - 1), (T - 1, T - 2), (T - 1, max(0, T - 9)), (T // 2, T // 4), (1, 0)]
    sums = {name: float(array.sum()) for name, array in zip(("w_ih", "w_hh", "bias"), norms)}
    return sums | {"probes": [[k, t, *(float(array[k, t]) for array in norms)] for k, t in probes]}


class Baseline:
    """Answers the driver with the forms of one library, {kind: {name of the form: its class}}.

    A form is made from a case. Its `run()` does the job and returns the result, and `check(result)` gives the
    numbers that the driver compares.
    """

    def __init__(self, name, version, forms):
        self.hello = {"name": name, "version": version, "forms": {kind: list(forms[kind]) for kind in forms}}
        self.forms = forms
        self.form = self.result = None
        # Stdout belongs to the protocol; what a library prints goes to stderr.
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def serve(self):
        self.say(self.hello)
        for line in sys.stdin:
            ask = json.loads(line)
            if ask["op"] == "quit":
                break
            self.say({"prepare": self.prepare, "time": self.time}[ask["op"]](ask))

    def say(self, answer):
        self.out.write(json.dumps(answer, allow_nan=False) + "\n")
        self.out.flush()

    def prepare(self, ask):
        self.form = self.result = None
        gc.collect()
        try:
            case = Case(ask["folder"])
            self.form = self.forms[case.kind][ask["form"]](case)
            self.result = self.form.run()
            return {"ok": True, "check": self.form.check(self.result)}
        except Impossible as why:
            return {"ok": False, "why": str(why)}
        except Exception as error:
            traceback.print_exc()
            return {"ok": False, "why": f"{type(error).__name__}: {error}"}

    def time(self, ask):
        seconds = []
        for _ in range(ask["repeats"]):
            self.result = None
            start = time.perf_counter()
            self.result = self.form.run()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
