"""Training passes written out in PyTorch."""

import common  # first: it limits the threads of what loads after it

import torch

import pytorch_cells


class Hand:
    """As in Karpathy's min-char-rnn, but over batches and in buffers made once.

    The readout and the gradients of the weights are one product each over all T·B rows; the reverse loop has
    the product with W_hh and what hangs on it. da takes the place of the local derivatives.
    """

    def __init__(self, case):
        self.layer = layer = pytorch_cells.LAYERS[case.cell](case)
        self.w_hh, self.local = layer.w_hh, layer.local
        self.w_hy, self.b_y = torch.from_numpy(case.w_hy), torch.from_numpy(case.b_y)
        rows = case.T * case.B
        self.y = torch.empty(rows, case.V)
        self.targets = torch.arange(rows) * case.V + torch.from_numpy(case.targets).flatten()  # in the flat y
        self.minus_one = torch.full((rows,), -1.0)
        self.dh = layer.buffer()
        self.grads = {name: torch.empty(getattr(case, name).shape) for name in common.PARAMS}
        self.steps = [(t, self.dh[t], self.dh[t - 1], *self.views(t)) for t in range(case.T)]

    @torch.no_grad()
    def run(self):
        self.layer.forward()
        loss = self.readout()
        for chunk in reversed(self.layer.chunks):
            self.layer.derive(chunk)
            self.backward(reversed(self.steps[chunk]))
        self.weights()
        return loss

    def readout(self):
        """The loss, the gradients of the head, and dh as far as it comes from the outputs."""
        h, y = self.layer.h[1:].flatten(0, 1), self.y
        torch.addmm(self.b_y, h, self.w_hy.t(), out=y)
        torch.log_softmax(y, 1, out=y)
        loss = -y.take(self.targets).mean()
        dy = y.exp_()
        dy.flatten().index_add_(0, self.targets, self.minus_one)
        dy.mul_(1 / len(dy))
        torch.mm(dy.t(), h, out=self.grads["w_hy"])
        torch.sum(dy, 0, out=self.grads["b_y"])
        torch.mm(dy, self.w_hy, out=self.dh.flatten(0, 1))
        return loss

    def weights(self):
        """The gradients of W_ih, W_hh and the biases where both sides see the same da."""
        table = self.table_grad(self.local)
        self.grads["w_ih"].copy_(table.t())
        torch.sum(table, 0, out=self.grads["b_ih"])
        self.grads["b_hh"].copy_(self.grads["b_ih"])
        self.recurrent_grad(self.local)

    def table_grad(self, da):
        """dW_ih^T. Every row of da is in exactly one of its rows, so these add up to the bias's gradient."""
        ids = self.layer.ids.flatten()
        return torch.zeros(self.layer.V, da.shape[2]).index_add_(0, ids, da.flatten(0, 1))

    def recurrent_grad(self, da):
        torch.mm(da[1:].flatten(0, 1).t(), self.layer.h[1:-1].flatten(0, 1), out=self.grads["w_hh"])

    def check(self, loss):
        return common.train_check(loss, self.grads)


class HandRnn(Hand):
    def views(self, t):
        return (self.local[t],)

    def backward(self, steps):
        for t, dh, dh_prev, da in steps:
            da.mul_(dh)
            if t:
                dh_prev.addmm_(da, self.w_hh)


class HandLstm(Hand):
    def __init__(self, case):
        super().__init__(case)
        self.dc = torch.empty(case.B, case.H)

    def views(self, t):
        da = self.local[t].unflatten(1, (4, -1))
        return self.local[t], da[:, :3], da[:, 3], self.layer.dc_dh[t], self.layer.f[t]

    def run(self):
        self.dc.zero_()
        return super().run()

    def backward(self, steps):
        dc, dc_each = self.dc, self.dc.unsqueeze(1)
        for t, dh, dh_prev, da, da_ifg, da_o, dc_dh, f in steps:
            dc.addcmul_(dh, dc_dh)
            da_o.mul_(dh)
            da_ifg.mul_(dc_each)
            if t:
                dc.mul_(f)
                dh_prev.addmm_(da, self.w_hh)


class HandGru(Hand):
    def views(self, t):
        da = self.local[t].unflatten(1, (4, -1))
        return da, self.local[t][:, self.layer.H :], self.layer.z[t]

    def backward(self, steps):
        for t, dh, dh_prev, da, da_hh, z in steps:
            da.mul_(dh.unsqueeze(1))
            if t:
                dh_prev.addcmul_(dh, z).addmm_(da_hh, self.w_hh)

    def weights(self):
        H, grads = self.layer.H, self.grads
        table = self.table_grad(self.local)  # of n, r, z and n's recurrent side
        bias = table.sum(0)
        grads["w_ih"].copy_(torch.cat([table[:, H : 3 * H], table[:, :H]], 1).t())
        grads["b_ih"].copy_(torch.cat([bias[H : 3 * H], bias[:H]]))
        grads["b_hh"].copy_(bias[H:])
        self.recurrent_grad(self.local[..., H:])


def hand(case):
    return {"rnn": HandRnn, "lstm": HandLstm, "gru": HandGru}[case.cell](case)
