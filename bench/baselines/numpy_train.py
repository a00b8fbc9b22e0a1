"""Training passes in NumPy, as in Karpathy's min-char-rnn, but over batches and in buffers made once.

The readout and the gradients of the weights are one product each over all T·B rows; the reverse loop has the
product with W_hh and what hangs on it. da takes the place of the local derivatives.
"""

import common  # first: it limits the threads of what loads after it

import numpy as np

import numpy_cells


class Hand:
    """Forward and backward written out."""

    def __init__(self, case):
        self.layer = layer = numpy_cells.LAYERS[case.cell](case)
        self.w_hh, self.w_hy, self.b_y = case.w_hh, case.w_hy, case.b_y
        self.local, self.h = layer.local, layer.h
        self.x = case.one_hot().reshape(-1, case.V)
        self.targets = np.arange(len(self.x)), case.targets.ravel()
        self.y = np.empty((len(self.x), case.V), np.float32)
        self.dh = layer.buffer()
        self.from_later = np.empty((case.B, case.H), np.float32)

    def run(self):
        self.layer.forward()
        loss, head = self.readout()
        self.start()
        for chunk in reversed(self.layer.chunks):
            self.layer.derive(chunk)
            for t in reversed(range(chunk.start, chunk.stop)):
                self.back(t)
        return loss, head | self.weights()

    def start(self):
        """What the reverse loop carries besides dh begins with zeros."""

    def readout(self):
        """The loss, the gradients of the head, and in self.dh what comes from the outputs."""
        h, y = self.h[1:].reshape(self.y.shape[0], -1), self.y
        np.matmul(h, self.w_hy.T, out=y)
        y += self.b_y
        y -= y.max(axis=1, keepdims=True)
        target = y[self.targets]
        np.exp(y, out=y)
        total = y.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) - target)
        y *= 1 / (total * np.float32(len(y)))
        y[self.targets] -= 1 / len(y)
        np.matmul(y, self.w_hy, out=self.dh.reshape(h.shape))
        return loss, {"w_hy": y.T @ h, "b_y": y.sum(axis=0)}

    def pass_on(self, t, da_hh):
        if t:
            self.dh[t - 1] += np.matmul(da_hh, self.w_hh, out=self.from_later)

    def recurrent_grad(self, da):
        return da[1:].reshape(-1, da.shape[2]).T @ self.h[1:-1].reshape(-1, self.h.shape[2])

    def table_grad(self):
        """dW_ih^T. Every row of da is in exactly one of its rows, so these add up to the bias's gradient."""
        return self.x.T @ self.local.reshape(len(self.x), -1)

    def weights(self):
        """The gradients where both sides see the same da."""
        table = self.table_grad()
        bias = table.sum(axis=0)
        return {"w_ih": table.T, "w_hh": self.recurrent_grad(self.local), "b_ih": bias, "b_hh": bias}

    def check(self, result):
        return common.train_check(*result)


class HandRnn(Hand):
    def back(self, t):
        da = self.local[t]
        da *= self.dh[t]
        self.pass_on(t, da)


class HandLstm(Hand):
    def start(self):
        self.dc = np.zeros_like(self.from_later)

    def back(self, t):
        dh, dc, da = self.dh[t], self.dc, self.local[t]
        gates = da.reshape(len(da), 4, -1)
        dc += np.multiply(dh, self.layer.dc_dh[t], out=self.from_later)
        gates[:, :3] *= dc[:, None]
        gates[:, 3] *= dh
        dc *= self.layer.f[t]
        self.pass_on(t, da)


class HandGru(Hand):
    def back(self, t):
        dh, da = self.dh[t], self.local[t]
        gates = da.reshape(len(da), 4, -1)
        gates *= dh[:, None]
        if t:
            self.dh[t - 1] += np.multiply(dh, self.layer.z[t], out=self.from_later)
        self.pass_on(t, da[:, self.layer.H :])

    def weights(self):
        H, table = self.layer.H, self.table_grad()  # of n, r, z and n's recurrent side
        bias = table.sum(axis=0)
        return {
            "w_ih": np.concatenate([table[:, H : 3 * H], table[:, :H]], axis=1).T,
            "w_hh": self.recurrent_grad(self.local[:, :, H:]),
            "b_ih": np.concatenate([bias[H : 3 * H], bias[:H]]),
            "b_hh": bias[H:],
        }


def hand(case):
    return {"rnn": HandRnn, "lstm": HandLstm, "gru": HandGru}[case.cell](case)


FORMS = {"hand": hand}
