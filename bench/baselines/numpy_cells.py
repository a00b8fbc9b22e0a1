"""Recurrent layers in NumPy: forward passes and local derivatives, into buffers made once.

A one-hot input is a row of W_ih^T. Every gate's gradient is dh (or, in an LSTM, dc) times something that does
not depend on it, its local derivative. Made for several steps at once, these leave little to a reverse loop.
"""

import common  # first: it limits the threads of what loads after it

import numpy as np

CACHED = 2**15  # this many numbers of every gate are still in the cache when they are used again


def finish_sigmoids(gates):
    """σ(2a) from tanh(a). The weights of these gates are halved, so that one tanh serves all gates."""
    gates *= 0.5
    gates += 0.5


def slopes(gates, out):
    """σ' = σ − σ²."""
    np.multiply(gates, gates, out=out)
    np.subtract(gates, out, out=out)


class Layer:
    """The weights of a case and what a forward pass leaves behind. `h[t]` is the state before step t."""

    def __init__(self, case):
        self.T, self.B, self.H, self.V = case.T, case.B, case.H, case.V
        self.w_ih, self.w_hh, self.b_ih, self.b_hh = case.w_ih, case.w_hh, case.b_ih, case.b_hh
        self.ids = case.ids
        self.gates = self.buffer(case.G)
        self.h = np.zeros((self.T + 1, self.B, self.H), np.float32)
        self.product = np.empty((self.B, case.G * self.H), np.float32)
        steps = max(1, CACHED // (self.B * self.H))
        starts = range(0, self.T, steps)
        self.chunks = [slice(start, min(start + steps, self.T)) for start in starts]

    def buffer(self, gates=1):
        return np.empty((self.T, self.B, gates * self.H), np.float32)

    def steps(self, table):
        """t and the pre-activations, which begin as rows of the table W_ih^T + bias, step by step."""
        table = np.ascontiguousarray(table)
        for chunk in self.chunks:
            np.take(table, self.ids[chunk], axis=0, out=self.gates[chunk], mode="clip")
            for t in range(chunk.start, chunk.stop):
                yield t, self.gates[t]


class Rnn(Layer):
    """da = dh ∘ local."""

    def __init__(self, case):
        super().__init__(case)
        self.local = self.buffer()

    def forward(self):
        h, w_hh_t = self.h, np.ascontiguousarray(self.w_hh.T)
        for t, a in self.steps(self.w_ih.T + (self.b_ih + self.b_hh)):
            a += np.matmul(h[t], w_hh_t, out=self.product)
            np.tanh(a, out=h[t + 1])

    def derive(self, steps):
        h, local = self.h[1:][steps], self.local[steps]
        np.multiply(h, h, out=local)
        np.subtract(1, local, out=local)


class Lstm(Layer):
    """dc += dh ∘ dc_dh, then da_i, da_f, da_g = dc ∘ local and da_o = dh ∘ local, then dc ← dc ∘ f."""

    def __init__(self, case):
        super().__init__(case)
        H = self.H
        self.c = np.zeros_like(self.h)
        self.tanh_c, self.dc_dh, self.local = self.buffer(), self.buffer(), self.buffer(4)
        self.i, self.f, self.g, self.o = np.split(self.gates, 4, axis=2)
        self.i_f = self.gates[:, :, : 2 * H]
        self.ig = np.empty((self.B, H), np.float32)
        self.halves = np.repeat(np.float32([0.5, 0.5, 1, 0.5]), H)

    def forward(self):
        h, c, tanh_c = self.h, self.c, self.tanh_c
        i, f, g, o = self.i, self.f, self.g, self.o
        w_hh_t = np.ascontiguousarray(self.w_hh.T) * self.halves
        for t, a in self.steps((self.w_ih.T + (self.b_ih + self.b_hh)) * self.halves):
            a += np.matmul(h[t], w_hh_t, out=self.product)
            np.tanh(a, out=a)
            finish_sigmoids(self.i_f[t])
            finish_sigmoids(o[t])
            np.multiply(f[t], c[t], out=c[t + 1])
            c[t + 1] += np.multiply(i[t], g[t], out=self.ig)
            np.tanh(c[t + 1], out=tanh_c[t])
            np.multiply(o[t], tanh_c[t], out=h[t + 1])

    def derive(self, steps):
        i, g, o = self.i[steps], self.g[steps], self.o[steps]
        tanh_c, dc_dh = self.tanh_c[steps], self.dc_dh[steps]
        local_i, local_f, local_g, local_o = np.split(self.local[steps], 4, axis=2)
        slopes(self.i_f[steps], self.local[steps][:, :, : 2 * self.H])
        local_i *= g
        local_f *= self.c[steps]
        np.multiply(g, g, out=local_g)
        np.subtract(1, local_g, out=local_g)
        local_g *= i
        slopes(o, local_o)
        local_o *= tanh_c
        np.multiply(self.h[1:][steps], tanh_c, out=dc_dh)
        np.subtract(o, dc_dh, out=dc_dh)


class Gru(Layer):
    """[da_n, da_r, da_z, da_n ∘ r] = dh ∘ local; the first three at the input side, the last at the other."""

    def __init__(self, case):
        super().__init__(case)
        H = self.H
        self.q, self.local = self.buffer(), self.buffer(4)
        self.r, self.z, self.n = np.split(self.gates, 3, axis=2)
        self.r_z = self.gates[:, :, : 2 * H]
        self.rq = np.empty((self.B, H), np.float32)
        self.halves = np.repeat(np.float32([0.5, 0.5, 1]), H)

    def forward(self):
        H, h, q, r, z, n = self.H, self.h, self.q, self.r, self.z, self.n
        w_hh_t, b_hn = np.ascontiguousarray(self.w_hh.T) * self.halves, self.b_hh[2 * H :]
        bias = self.b_ih + np.concatenate([self.b_hh[: 2 * H], np.zeros(H, np.float32)])
        product_rz, product_n = self.product[:, : 2 * H], self.product[:, 2 * H :]
        for t, _ in self.steps((self.w_ih.T + bias) * self.halves):
            np.matmul(h[t], w_hh_t, out=self.product)
            r_z = self.r_z[t]
            r_z += product_rz
            np.tanh(r_z, out=r_z)
            finish_sigmoids(r_z)
            np.add(product_n, b_hn, out=q[t])
            n[t] += np.multiply(r[t], q[t], out=self.rq)
            np.tanh(n[t], out=n[t])
            np.subtract(h[t], n[t], out=h[t + 1])
            h[t + 1] *= z[t]
            h[t + 1] += n[t]

    def derive(self, steps):
        r, z, n = self.r[steps], self.z[steps], self.n[steps]
        local_n, local_r, local_z, local_hn = np.split(self.local[steps], 4, axis=2)
        np.subtract(1, z, out=local_n)
        np.multiply(n, n, out=local_hn)
        np.subtract(1, local_hn, out=local_hn)
        local_n *= local_hn
        np.multiply(local_n, r, out=local_hn)
        np.subtract(1, r, out=local_r)
        local_r *= local_hn
        local_r *= self.q[steps]
        slopes(z, local_z)
        local_z *= np.subtract(self.h[:-1][steps], n)


LAYERS = {"rnn": Rnn, "lstm": Lstm, "gru": Gru}
