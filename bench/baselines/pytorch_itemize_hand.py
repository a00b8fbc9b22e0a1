"""The norms of what every step contributed to every loss's gradient, written out in PyTorch."""

import common  # first: it limits the threads of what loads after it

import torch

import pytorch_cells

CACHED = 2**17  # numbers of da that go back through time together


class OneSequence:
    """Norms where B = 1: ‖da xᵀ‖ = ‖da‖ ‖x‖."""

    def __init__(self, case, sides):
        self.kept = torch.zeros(sides, case.T, case.T)  # [t, k]

    def keep(self, side, t, losses, da):
        torch.linalg.vector_norm(da, dim=(1, 2), out=self.kept[side, t, losses])

    def finish(self, h):
        norm_h = torch.linalg.vector_norm(h, dim=(1, 2)).unsqueeze(1)
        bias, bias_hh = self.kept[0], self.kept[-1]
        return bias.t(), (bias_hh * norm_h).t(), bias.t()


class Batch:
    """Norms of sums over the batch: ‖Σ_b da_b x_bᵀ‖² = Σ_{b,c} (da_b · da_c) (x_b · x_c)."""

    def __init__(self, case, sides):
        self.kept = torch.zeros(sides, case.T, case.T, case.B, case.B)  # da_b · da_c [t, k]
        ids = torch.from_numpy(case.ids)
        self.xx = (ids[:, :, None] == ids[:, None, :]).float()

    def keep(self, side, t, losses, da):
        torch.bmm(da, da.mT, out=self.kept[side, t, losses])

    def finish(self, h):
        w_ih = self.sums(0, torch.stack([self.xx, torch.ones_like(self.xx)], 3))
        w_hh = self.sums(-1, torch.bmm(h, h.mT).unsqueeze(3))
        return w_ih[..., 0].t(), w_hh[..., 0].t(), w_ih[..., 1].t()

    def sums(self, side, weights):
        return torch.bmm(self.kept[side].flatten(2), weights.flatten(1, 2)).clamp_(min=0).sqrt_()


class Hand:
    """The reverse recursion written out: a row of dh for every open loss and sequence, as one matrix.

    Blocks of losses, small enough for what they carry to stay in the cache, go back one after the other. A
    loss joins its block at its own step: the open ones are the last of the block's rows.
    """

    sides = 1

    def __init__(self, case):
        self.T = case.T
        self.layer = pytorch_cells.LAYERS[case.cell](case)
        self.w_hh = self.layer.w_hh
        self.seeds = torch.from_numpy(case.seeds)
        self.block = max(1, min(case.T, CACHED // self.layer.local[0].numel()))
        self.dh, self.dc = torch.empty(2, self.block, case.B, case.H)
        self.da = torch.empty(self.block, case.B, self.layer.local.shape[2])
        # One axis for the gates, so that dh or dc can be multiplied into several.
        self.local = self.layer.local.unflatten(2, (-1, case.H)).unbind()
        self.gates = self.da.unflatten(2, (-1, case.H))
        self.open = [self.views(slice(self.block - n, None)) for n in range(self.block + 1)]
        self.norms = (OneSequence if case.B == 1 else Batch)(case, self.sides)

    @torch.no_grad()
    def run(self):
        self.layer.forward()
        for chunk in self.layer.chunks:
            self.layer.derive(chunk)
        for stop in range(self.T, 0, -self.block):
            start = max(0, stop - self.block)
            for t in reversed(range(stop)):
                first = max(start, t)
                if first == t:
                    self.dh[self.block - (stop - t)] = self.seeds[t]
                    self.dc[self.block - (stop - t)] = 0
                self.back(t, slice(first, stop), *self.open[stop - first])
        return self.norms.finish(self.layer.h[:-1])

    def check(self, norms):
        return common.itemize_check(*norms)


class HandRnn(Hand):
    def views(self, rows):
        dh, da = self.dh[rows], self.da[rows]
        return dh, da, dh.flatten(0, 1), da.flatten(0, 1)

    def back(self, t, losses, dh, da, dh_rows, da_rows):
        torch.mul(dh, self.layer.local[t], out=da)
        self.norms.keep(0, t, losses, da)
        if t:
            torch.mm(da_rows, self.w_hh, out=dh_rows)


class HandLstm(Hand):
    def views(self, rows):
        dh, dc, da, gates = self.dh[rows], self.dc[rows], self.da[rows], self.gates[rows]
        da_ifg, da_o = gates[:, :, :3], gates[:, :, 3]
        return dh, dc, dc.unsqueeze(2), da, da_ifg, da_o, dh.flatten(0, 1), da.flatten(0, 1)

    def back(self, t, losses, dh, dc, dc_each, da, da_ifg, da_o, dh_rows, da_rows):
        local = self.local[t]
        dc.addcmul_(dh, self.layer.dc_dh[t])
        torch.mul(dc_each, local[:, :3], out=da_ifg)
        torch.mul(dh, local[:, 3], out=da_o)
        self.norms.keep(0, t, losses, da)
        if t:
            dc.mul_(self.layer.f[t])
            torch.mm(da_rows, self.w_hh, out=dh_rows)


class HandGru(Hand):
    sides = 2

    def views(self, rows):
        dh, gates = self.dh[rows], self.gates[rows]
        da, da_hh = gates[:, :, :3].flatten(2), gates[:, :, 1:].flatten(2)
        return dh, dh.unsqueeze(2), gates, da, da_hh, dh.flatten(0, 1), da_hh.flatten(0, 1)

    def back(self, t, losses, dh, dh_each, gates, da, da_hh, dh_rows, da_hh_rows):
        torch.mul(dh_each, self.local[t], out=gates)
        self.norms.keep(0, t, losses, da)
        self.norms.keep(1, t, losses, da_hh)
        if t:
            dh.mul_(self.layer.z[t])
            dh_rows.addmm_(da_hh_rows, self.w_hh)


def hand(case):
    return {"rnn": HandRnn, "lstm": HandLstm, "gru": HandGru}[case.cell](case)
