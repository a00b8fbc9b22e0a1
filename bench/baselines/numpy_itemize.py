"""The norms of what every step contributed to every loss's gradient, written out in NumPy."""

import common  # first: it limits the threads of what loads after it

import numpy as np

import numpy_cells

ROWS = 384  # rows (k, b) that go back through time together


class Norms:
    """Norms of sums over the batch: ‖Σ_b da_b x_bᵀ‖² = Σ_{b,c} (da_b · da_c) (x_b · x_c)."""

    def __init__(self, case, sides):
        self.kept = np.zeros((sides, case.T, case.T, case.B, case.B), np.float32)  # da_b · da_c [t, k]
        self.xx = (case.ids[:, :, None] == case.ids[:, None, :]).astype(np.float32)

    def keep(self, side, t, losses, da):
        kept = self.kept[side, t, losses]
        if da.shape[1] == 1:
            np.vecdot(da[:, 0], da[:, 0], out=kept[:, 0, 0])
        else:
            np.matmul(da, da.transpose(0, 2, 1), out=kept)

    def finish(self, h):
        w_ih, w_hh, bias = (
            self.sums(side, weights)
            for side, weights in ((0, self.xx), (-1, h @ h.transpose(0, 2, 1)), (0, np.ones_like(self.xx)))
        )
        return w_ih, w_hh, bias

    def sums(self, side, weights):
        """The norms [k, t]."""
        T = len(weights)
        squares = np.matmul(self.kept[side].reshape(T, T, -1), weights.reshape(T, -1, 1))[:, :, 0]
        return np.sqrt(np.maximum(squares, 0)).T


class Hand:
    """The reverse recursion written out: a row of dh for every open loss and sequence, as one matrix.

    Blocks of losses, small enough for what they carry to stay in the cache, go back one after the other. A
    loss joins its block at its own step: the open ones are the last of the block's rows.
    """

    sides = 1

    def __init__(self, case):
        self.T, self.H = case.T, case.H
        self.layer = numpy_cells.LAYERS[case.cell](case)
        self.w_hh, self.seeds = case.w_hh, case.seeds
        self.block = max(1, min(case.T, ROWS // case.B))
        self.dh, self.tmp, self.dc = np.zeros((3, self.block, case.B, case.H), np.float32)
        self.da = np.empty((self.block, case.B, self.layer.local.shape[2]), np.float32)
        # One axis for the gates, so that dh or dc can be multiplied into several.
        self.local = self.layer.local.reshape(case.T, case.B, -1, case.H)
        self.gates = self.da.reshape(self.block, case.B, -1, case.H)
        self.norms = Norms(case, self.sides)

    def run(self):
        self.layer.forward()
        for chunk in self.layer.chunks:
            self.layer.derive(chunk)
        for stop in range(self.T, 0, -self.block):
            start = max(0, stop - self.block)
            for t in reversed(range(stop)):
                first = max(start, t)
                rows = slice(self.block - (stop - first), None)
                if first == t:
                    self.dh[rows.start] = self.seeds[t]
                    self.dc[rows.start] = 0
                self.back(t, slice(first, stop), rows)
        return self.norms.finish(self.layer.h[:-1])

    def pass_on(self, da_hh, out):
        np.matmul(da_hh.reshape(-1, da_hh.shape[2]), self.w_hh, out=out.reshape(-1, self.H))

    def check(self, norms):
        return common.itemize_check(*norms)


class HandRnn(Hand):
    def back(self, t, losses, rows):
        dh, da = self.dh[rows], self.da[rows]
        np.multiply(dh, self.layer.local[t], out=da)
        self.norms.keep(0, t, losses, da)
        if t:
            self.pass_on(da, dh)


class HandLstm(Hand):
    def back(self, t, losses, rows):
        dh, dc, da, gates = self.dh[rows], self.dc[rows], self.da[rows], self.gates[rows]
        local = self.local[t]
        dc += np.multiply(dh, self.layer.dc_dh[t], out=self.tmp[rows])
        np.multiply(dc[:, :, None], local[:, :3], out=gates[:, :, :3])
        np.multiply(dh, local[:, 3], out=gates[:, :, 3])
        self.norms.keep(0, t, losses, da)
        if t:
            dc *= self.layer.f[t]
            self.pass_on(da, dh)


class HandGru(Hand):
    sides = 2

    def back(self, t, losses, rows):
        H, dh, da = self.H, self.dh[rows], self.da[rows]
        da_hh = da[:, :, H:]
        np.multiply(dh[:, :, None], self.local[t], out=self.gates[rows])
        self.norms.keep(0, t, losses, da[:, :, : 3 * H])
        self.norms.keep(1, t, losses, da_hh)
        if t:
            dh *= self.layer.z[t]
            self.pass_on(da_hh, self.tmp[rows])
            dh += self.tmp[rows]


def hand(case):
    return {"rnn": HandRnn, "lstm": HandLstm, "gru": HandGru}[case.cell](case)


FORMS = {"hand": hand}
