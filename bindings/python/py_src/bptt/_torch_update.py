"""What is seen of one update."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Update:
    """What was seen of one update of one module: of one call, or of several that a graph links.

    Its fields are the keys of the log.
    """

    module: str
    count: int
    """How many sequences of calls the module had begun in training."""
    horizon: int | None
    decay: float | None
    nearest_lag: int | None
    """Steps between a loss and the nearest input that it sees; 0 where each step has a loss of its own. None if no loss
    has a path to a step."""
    farthest_lag: int
    """The largest lag whose contribution is above 1e-12 of the largest one, among the sequences that were itemized."""
    longest_path: int = 0
    """The largest lag that a path links, in any sequence, however small its contribution."""
    update: int = 0
    """Steps of optimizers before it."""
    calls: int = 1
    steps: int = 0
    """T, of all calls together."""
    sequences: int = 0
    """B."""
    start: str = "zeros"
    """The states that it begins with: "zeros", "carried" from the call before, or "given"."""
    ahead: int = 0
    """How far a loss's target lies ahead of the output that it is of, as the user says; both lags contain it."""
    losses: int = 0
    """Outputs (t, b) that a loss sends a gradient into."""
    step_weights: tuple[float, float, float] | None = None
    """The smallest, median and largest norm of these gradients, relative to their mean."""
    gradient: float | None = None
    """That mean."""
    padding: float | None = None
    """The part of the squared gradient that is at padding; None where none is recognized."""
    pairs: int | None = None
    """Pairs (loss step, step not after it) of all sequences that a path links; None for both directions."""
    crossing: int | None = None
    """Those of them that cross from one id to another; None without ids."""
    stored_before: int | None = None
    """Sequences that begin with the state that was recorded before their first input, in calls without gradients; None if
    no first input was recorded."""
    stored_after: int | None = None
    """With the state that was recorded after it."""
    stored_neither: int | None = None
    state_error: float | None = None
    """|stored state - state by the present weights from the recorded beginning| / |that|."""
    output_error: float | None = None
    """The largest difference of an output from the recorded one, before an optimizer's step, relative to the largest."""
    facts: list[str] = field(default_factory=list)
    """All that was found of the module so far."""
