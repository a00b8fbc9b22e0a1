//! The words of the output, each in one sentence.

/// Words and what they mean.
pub const WORDS: [(&str, &str); 10] = [
    (
        "ledger",
        "The gradient of every loss k, divided into the contributions of all past steps t, for each parameter; all contributions \
         add up to the ordinary gradient.",
    ),
    (
        "contribution",
        "What one past step adds to the gradient of one loss: a matrix of the parameter's shape, whose norm is shown.",
    ),
    ("lag", "The number of steps from a loss back to the step that contributes, τ = k − t."),
    (
        "horizon",
        "The smallest lag within which 99 % of the norms of the contributions lie, with the median over the losses at each lag.",
    ),
    (
        "decay",
        "The slope λ of the logarithm of the contributions' norms by lag: one step farther back, they are multiplied by e^λ.",
    ),
    (
        "share",
        "The part of the gradient that a contribution makes up, signed, since a contribution can point against the gradient; all \
         shares add up to 1.",
    ),
    (
        "cancellation",
        "The norm of the gradient divided by the sum of the norms of its contributions: 1 if all point the same way, near 0 if they \
         cancel each other.",
    ),
    (
        "balance",
        "The relative difference between the sum of all contributions and the gradient computed in the ordinary way; a check of \
         the bookkeeping, not of the derivatives.",
    ),
    (
        "memory horizon",
        "The lag within which 99 % of the effect of a small change of a state on later states lies.",
    ),
    (
        "Lyapunov exponent",
        "The rate in nats per step at which a small change of the state grows (above 0) or shrinks (below 0) over many steps.",
    ),
];
