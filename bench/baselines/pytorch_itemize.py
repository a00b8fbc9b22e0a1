"""The norms of what every step contributed to every loss's gradient, in PyTorch.

Most forms take da, the gradients of the pre-activations, by way of taps: tensors that are added there. The
norms then need no matrix: ‖Σ_b da_b x_bᵀ‖² = Σ_{b,c} (da_b · da_c) (x_b · x_c).
"""

import common  # first: it limits the threads of what loads after it

import torch
import torch.nn.functional as F

import pytorch_cells
import pytorch_itemize_hand


def scalar_products(ids, h):
    """x_b · x_c and h_b · h_c (T, B, B) before each step."""
    return (ids[:, :, None] == ids[:, None, :]).float(), torch.bmm(h, h.mT)


def norms_of(da, da_hh, xx, hh):
    """The norms for W_ih, W_hh and the bias from both sides' da (…, B, G·H) and the scalar products."""
    if da.shape[-2] == 1:
        norm = torch.linalg.vector_norm(da, dim=(-2, -1))
        norm_hh = norm if da_hh is da else torch.linalg.vector_norm(da_hh, dim=(-2, -1))
        return norm, norm_hh * hh[..., 0, 0].sqrt(), norm
    products = da @ da.mT
    products_hh = products if da_hh is da else da_hh @ da_hh.mT
    return [p.sum((-2, -1)).clamp_(min=0).sqrt_() for p in (products * xx, products_hh * hh, products)]


class Autograd:
    """What the forms that leave the backward pass to autograd share."""

    def __init__(self, case):
        self.T, self.B, self.H, self.cell = case.T, case.B, case.H, case.cell
        self.w_ih_t, self.w_hh_t = torch.from_numpy(case.w_ih).t(), torch.from_numpy(case.w_hh).t()
        self.b_ih, self.b_hh = torch.from_numpy(case.b_ih), torch.from_numpy(case.b_hh)
        self.ids, self.seeds = torch.from_numpy(case.ids), torch.from_numpy(case.seeds)

    def forward(self, steps):
        """h of every step, each given by W_ih x + b_ih, b_hh and W_hh^T."""
        state, outputs = pytorch_cells.start(self.cell, self.B, self.H), []
        for a, a_hh, w_hh_t in steps:
            state = pytorch_cells.step(self.cell, a, torch.addmm(a_hh, state[0], w_hh_t), state)
            outputs.append(state[0])
        return outputs

    def taps(self):
        """Where da is taken, step by step: W_ih x + b_ih and, in a GRU, b_hh."""
        taps = list((F.embedding(self.ids, self.w_ih_t) + self.b_ih).unbind())
        if self.cell == "gru":
            taps += [self.b_hh.expand(self.B, -1)] * self.T
        return taps

    def forward_from(self, taps):
        recurrent = taps[self.T :] or [self.b_hh] * self.T
        return self.forward(zip(taps, recurrent, [self.w_hh_t] * self.T))

    def products(self, outputs):
        before = torch.stack([torch.zeros_like(outputs[0]), *outputs[:-1]]).detach()
        return scalar_products(self.ids, before)

    def losses(self, outputs):
        return (self.seeds * torch.stack(outputs)).sum((1, 2))

    def norms(self, das, outputs):
        """From da (K, B, G·H) at every tap."""
        xx, hh = self.products(outputs)
        norms = torch.zeros(3, self.T, self.T)
        for t, da in enumerate(das[: self.T]):
            open_da = da[t:]
            open_da_hh = das[self.T + t][t:] if self.cell == "gru" else open_da
            norms[:, t:, t] = torch.stack(norms_of(open_da, open_da_hh, xx[t], hh[t]))
        return norms

    def check(self, norms):
        return common.itemize_check(*norms)


class Taps(Autograd):
    """One backward pass per loss, as far as the taps."""

    def run(self):
        T = self.T
        taps = [tap.clone().requires_grad_() for tap in self.taps()]
        outputs = self.forward_from(taps)
        xx, hh = self.products(outputs)
        norms = torch.zeros(3, T, T)
        for k in range(T):
            seen = taps[: k + 1] + taps[T : T + k + 1]
            grads = torch.autograd.grad(outputs[k], seen, self.seeds[k], retain_graph=True)
            da = torch.stack(grads[: k + 1])
            da_hh = torch.stack(grads[k + 1 :]) if self.cell == "gru" else da
            norms[:, k, : k + 1] = torch.stack(norms_of(da, da_hh, xx[: k + 1], hh[: k + 1]))
        return norms


class Batched(Autograd):
    """One backward pass for all losses, as far as the taps, batched by autograd."""

    def run(self):
        taps = [tap.clone().requires_grad_() for tap in self.taps()]
        outputs = self.forward_from(taps)
        das = torch.autograd.grad(self.losses(outputs), taps, torch.eye(self.T), is_grads_batched=True)
        return self.norms(das, outputs)


class Func(Autograd):
    """torch.func's vmap over the vjp of all losses with respect to the taps."""

    @torch.no_grad()
    def run(self):
        def losses(*taps):
            outputs = self.forward_from(taps)
            return self.losses(outputs), outputs

        _, vjp, outputs = torch.func.vjp(losses, *self.taps(), has_aux=True)
        return self.norms(torch.func.vmap(vjp)(torch.eye(self.T)), outputs)


class Copies(Autograd):
    """The straightforward way: a copy of the weights for every step, a backward pass to all for every loss.

    To autograd these are copies; their memory is shared.
    """

    def __init__(self, case):
        super().__init__(case)
        self.x = torch.from_numpy(case.one_hot())

    def run(self):
        weights = self.w_ih_t, self.w_hh_t, self.b_ih
        copies = [[weight.detach().requires_grad_() for weight in weights] for _ in range(self.T)]
        outputs = self.forward(
            (torch.addmm(b_ih, x, w_ih_t), self.b_hh, w_hh_t)
            for x, (w_ih_t, w_hh_t, b_ih) in zip(self.x, copies)
        )
        norms = torch.zeros(3, self.T, self.T)
        for k in range(self.T):
            seen = [weight for copy in copies[: k + 1] for weight in copy]
            grads = torch.autograd.grad(outputs[k], seen, self.seeds[k], retain_graph=True)
            values = torch.stack([torch.linalg.vector_norm(grad) for grad in grads])
            norms[:, k, : k + 1] = values.view(-1, 3).t()
        return norms


FORMS = {"taps": Taps, "copies": Copies, "batched": Batched, "func": Func, "hand": pytorch_itemize_hand.hand}
