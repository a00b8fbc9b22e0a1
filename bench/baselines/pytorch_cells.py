"""Recurrent layers in PyTorch: a step for autograd; and whole passes, written out, into buffers made once.

A one-hot input is a row of W_ih^T. Every gate's gradient is dh (or, in an LSTM, dc) times something that does
not depend on it, its local derivative. Made for several steps at once, these leave little to a reverse loop.
"""

import common  # noqa: F401  (first: it limits the threads of what loads after it)

import torch

CACHED = 2**15  # this many numbers of every gate are still in the cache when they are used again


class Layer:
    """The weights of a case and what a forward pass leaves behind. `h[t]` is the state before step t."""

    def __init__(self, case):
        self.T, self.B, self.H, self.V = case.T, case.B, case.H, case.V
        self.w_ih, self.w_hh = torch.from_numpy(case.w_ih), torch.from_numpy(case.w_hh)
        self.b_ih, self.b_hh = torch.from_numpy(case.b_ih), torch.from_numpy(case.b_hh)
        self.ids = torch.from_numpy(case.ids)
        self.gates = self.buffer(case.G)
        self.h = torch.zeros(self.T + 1, self.B, self.H)
        steps = max(1, CACHED // (self.B * self.H))
        starts = range(0, self.T, steps)
        self.chunks = [slice(start, min(start + steps, self.T)) for start in starts]

    def buffer(self, gates=1):
        return torch.empty(self.T, self.B, gates * self.H)

    def steps_after_look_up(self, bias):
        """The steps, in order, after W_ih x + bias was put where the recurrence makes the gates of it."""
        table = self.w_ih.t().contiguous() + bias
        for chunk in self.chunks:
            torch.index_select(table, 0, self.ids[chunk].flatten(), out=self.gates[chunk].flatten(0, 1))
            yield from self.steps[chunk]


class Rnn(Layer):
    """da = dh ∘ local."""

    def __init__(self, case):
        super().__init__(case)
        self.local = self.buffer()
        self.one = torch.ones(())
        self.steps = list(zip(self.gates, self.h, self.h[1:]))

    def forward(self):
        w_hh_t = self.w_hh.t().contiguous()
        for a, h_prev, h in self.steps_after_look_up(self.b_ih + self.b_hh):
            torch.tanh(a.addmm_(h_prev, w_hh_t), out=h)

    def derive(self, steps):
        h = self.h[1:][steps]
        torch.addcmul(self.one, h, h, value=-1, out=self.local[steps])


class Lstm(Layer):
    """dc += dh ∘ dc_dh, then da_i, da_f, da_g = dc ∘ local and da_o = dh ∘ local, then dc ← dc ∘ f."""

    def __init__(self, case):
        super().__init__(case)
        self.c = torch.zeros(self.T + 1, self.B, self.H)
        self.tanh_c, self.dc_dh, self.local = self.buffer(), self.buffer(), self.buffer(4)
        self.f = self.gates.chunk(4, 2)[1]
        self.steps = [
            (a, a[:, : 2 * self.H], *a.chunk(4, 1), *others)
            for a, *others in zip(self.gates, self.c, self.c[1:], self.tanh_c, self.h, self.h[1:])
        ]

    def forward(self):
        w_hh_t = self.w_hh.t().contiguous()
        for step in self.steps_after_look_up(self.b_ih + self.b_hh):
            a, i_f, i, f, g, o, c_prev, c, tanh_c, h_prev, h = step
            a.addmm_(h_prev, w_hh_t)
            i_f.sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, c_prev, out=c).addcmul_(i, g)
            torch.tanh(c, out=tanh_c)
            torch.mul(o, tanh_c, out=h)

    def derive(self, steps):
        gates, tanh_c, h = self.gates[steps], self.tanh_c[steps], self.h[1:][steps]
        i, _, g, o = gates.chunk(4, 2)
        local_i, local_f, local_g, local_o = self.local[steps].chunk(4, 2)
        i_f, local_i_f = gates[..., : 2 * self.H], self.local[steps][..., : 2 * self.H]
        torch.addcmul(i_f, i_f, i_f, value=-1, out=local_i_f)
        local_i.mul_(g)
        local_f.mul_(self.c[steps])
        torch.mul(i, g, out=local_g)
        torch.addcmul(i, local_g, g, value=-1, out=local_g)
        torch.addcmul(o, o, o, value=-1, out=local_o).mul_(tanh_c)
        torch.addcmul(o, h, tanh_c, value=-1, out=self.dc_dh[steps])


class Gru(Layer):
    """[da_n, da_r, da_z, da_n ∘ r] = dh ∘ local; the first three at the input side, the last at the other."""

    def __init__(self, case):
        super().__init__(case)
        self.q, self.local = self.buffer(), self.buffer(4)
        self.one = torch.ones(())
        self.z = self.gates.chunk(3, 2)[1]
        self.steps = [
            (a[:, : 2 * self.H], *a.chunk(3, 1), *others)
            for a, *others in zip(self.gates, self.q, self.h, self.h[1:])
        ]

    def forward(self):
        H = self.H
        bias = self.b_ih + torch.cat([self.b_hh[: 2 * H], torch.zeros(H)])
        b_hn = self.b_hh[2 * H :]
        w_rz_t, w_n_t = (w.t().contiguous() for w in self.w_hh.split([2 * H, H]))
        for r_z, r, z, n, q, h_prev, h in self.steps_after_look_up(bias):
            r_z.addmm_(h_prev, w_rz_t).sigmoid_()
            torch.addmm(b_hn, h_prev, w_n_t, out=q)
            n.addcmul_(r, q).tanh_()
            torch.lerp(n, h_prev, z, out=h)

    def derive(self, steps):
        r, z, n = self.gates[steps].chunk(3, 2)
        local_n, local_r, local_z, local_hn = self.local[steps].chunk(4, 2)
        torch.addcmul(self.one, n, n, value=-1, out=local_n)
        local_n.addcmul_(local_n, z, value=-1)
        torch.mul(local_n, r, out=local_hn)
        torch.mul(local_hn, self.q[steps], out=local_r)
        local_r.addcmul_(local_r, r, value=-1)
        torch.sub(self.h[:-1][steps], n, out=local_z).mul_(z)
        local_z.addcmul_(local_z, z, value=-1)


def start(cell, B, H):
    """The state before the first step: h and, in an LSTM, c."""
    return (torch.zeros(B, H),) * (2 if cell == "lstm" else 1)


def step(cell, a, a_hh, state):
    """The next state, from the pre-activations (B, G·H) of both sides, for autograd."""
    if cell == "rnn":
        return ((a + a_hh).tanh(),)
    if cell == "lstm":
        (i, f, g, o), (_, c) = (a + a_hh).chunk(4, 1), state
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    (r, z, n), (r_hh, z_hh, q), (h,) = a.chunk(3, 1), a_hh.chunk(3, 1), state
    n = (n + (r + r_hh).sigmoid() * q).tanh()
    return (torch.lerp(n, h, (z + z_hh).sigmoid()),)


LAYERS = {"rnn": Rnn, "lstm": Lstm, "gru": Gru}
