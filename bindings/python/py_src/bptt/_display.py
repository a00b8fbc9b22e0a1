"""How ledgers look as text and HTML."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._reading import Reading

LARGEST = 250_000
"""Bytes of a picture in a notebook, at most."""



def sentence(ledger: Reading) -> str:
    """What the ledger says about distance, in one sentence."""
    name = ledger._shown()
    if name is None:
        return "There is no recurrent parameter."
    horizon = ledger.horizon(0.99, name)
    if horizon is None:
        return f"No loss sends a gradient into {name}: every component is zero."
    steps = "1 step" if horizon == 1 else f"{horizon} steps"
    text = f"99 % of the (median) contributions to the gradient of {name} come from the last {steps} before a loss"
    decay = ledger.decay(name)
    if decay is None:
        return text + "."
    change = "shrink" if decay < 0 else "grow"
    return f"{text}; contributions {change} by a factor of {np.exp(decay):.3g} per step."


def text(ledger: Reading) -> str:
    """The ledger in one screen."""
    losses = len(ledger.loss_steps)
    count = f"{losses} loss" if losses == 1 else f"{losses} losses"
    lines = [f"Ledger of {count} over {ledger.steps} steps", sentence(ledger), ""]
    width = max((len(name) for name in ledger.parameters), default=0)
    lines.append(f"{'parameter':<{width}}  gradient  horizon(0.99)  cancellation")
    shown = ledger.parameters[:12]
    for name in shown:
        horizon = ledger.horizon(0.99, name)
        lines.append(
            f"{name:<{width}}  {ledger.total_norm(name):8.3g}  {'-' if horizon is None else horizon:>13}"
            f"  {ledger.cancellation(name):12.3g}"
        )
    if len(ledger.parameters) > len(shown):
        lines.append(f"... and {len(ledger.parameters) - len(shown)} more: Ledger.parameters")
    worst = max(ledger.balance.values(), default=0.0)
    lines.append(f"The components add up to the gradient within {worst:.1e}.")
    ill = [name for name, part in ledger.conditioning.items() if part < 1e-5]
    if ill:
        lines.append(f"Shares are ill-conditioned, because components cancel: {', '.join(ill)}.")
    return "\n".join(lines + [f"Assumed: {assumption}" for assumption in ledger.assumptions])


def html(ledger: Reading) -> str:
    """The heatmap (or the profile, where that would be too large), and the text."""
    name = ledger._shown()
    picture = ""
    if name is not None:
        found = ledger._picture(name, LARGEST * 3 // 4)
        if found is not None:
            kind, data = found
            source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
            picture = f'<img alt="{escape(name)}" style="max-width:640px" src="{source}">'
    return f"<div><p>{escape(sentence(ledger))}</p>{picture}<pre>{escape(text(ledger))}</pre></div>"
