//! The glossary, each term in one sentence: of `bptt words`, of the report's page, and of the book.

/// Terms and what they mean, from the general to the particular.
#[rustfmt::skip] // a sentence a line
pub const WORDS: [(&str, &str); 29] = [
    ("backpropagation through time", "The computation of gradients of a recurrent network by the chain rule, from the last step to the first."),
    ("hidden state", "What a cell passes from one step to the next: h, in an LSTM also the cell state c."),
    ("loss of a step", "The loss L_k that compares the output of step k with its target; the total loss is their sum or mean."),
    ("contribution", "What one past step t adds to the gradient of one loss k: a matrix of the parameter's shape, whose norm is shown; also called a component or a term."),
    ("ledger", "The gradient of every loss k, divided into the contributions of all past steps t, for each parameter; all contributions add up to the ordinary gradient."),
    ("lag", "The number of steps between a loss and the step that contributes, τ = |k − t|."),
    ("profile", "The norms of the contributions at each lag, over all losses; where one number is needed, their median."),
    ("decay", "The slope λ of the logarithm of the median norm by lag: one step farther back, contributions are multiplied by e^λ, which is below 1 where they vanish and above 1 where they explode."),
    ("horizon", "The smallest lag within which 99 % of the sum of the median norms lies: how many steps back the gradient reaches."),
    ("share", "The part of the gradient that a contribution makes up, measured along the gradient: all shares add up to 100 %, and one that points against the gradient is negative; of one loss, the report also shows the part of the sum of norms."),
    ("cancellation", "The norm of the gradient divided by the sum of the norms of its contributions: 1 if all point the same way, near 0 if they cancel each other."),
    ("balance", "The relative difference between the sum of all contributions and the gradient computed in the ordinary way; a check of the bookkeeping, not of the derivatives."),
    ("vanishing gradient", "Contributions that shrink exponentially with the lag, so that distant steps do not affect the update; the whole gradient need not be small."),
    ("exploding gradient", "Contributions that grow exponentially with the lag, so that distant steps outweigh near ones."),
    ("Jacobian of a step", "The matrix of the derivatives of a state with respect to the state before it, ∂h_t/∂h_{t−1}; a gradient that passes n steps is multiplied by n of them."),
    ("σ_max", "The largest singular value of W_hh, which bounds how much one multiplication can grow a vector: below 1, with tanh, it guarantees vanishing; above 1 it guarantees nothing."),
    ("spectral radius", "The largest modulus of the eigenvalues of W_hh: the rate at which repeated multiplication grows or shrinks a vector."),
    ("Lyapunov exponent", "The rate in nats per step at which a small change of the state grows (above 0) or shrinks (below 0) over many steps."),
    ("memory horizon", "The lag within which 99 % of the effect of a small change of a state on later states lies."),
    ("saturation", "Activations near an end of their range, where the derivative is small and little gradient passes."),
    ("forget gate", "The gate f of an LSTM by which c is multiplied at each step, and with it the gradient along c."),
    ("gradient clipping", "Scaling a gradient down to a given norm; it bounds updates and does not change which steps contribute."),
    ("truncated backpropagation", "Backpropagation through a limited number of steps, while the state itself is carried on."),
    ("window", "The number of steps through which a truncated gradient is propagated."),
    ("detached state", "A state that is passed on while the gradient through it is cut."),
    ("burn-in", "The first steps of a sequence, which produce a state and have neither a loss nor a gradient."),
    ("truncation bias", "The difference between the truncated gradient and the whole one, divided by the norm of the whole one."),
    ("gradient flossing", "Updates before or during training that move Lyapunov exponents towards 0 (Engelken 2023)."),
    ("loss change allocation", "The decrease of a loss over training, divided by what caused it: here, by past steps (after Lan et al. 2019)."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_of_the_page_is_explained() {
        let page = include_str!("report/page/glossary.js");
        let pictured = page.lines().filter_map(|line| line.strip_prefix("  [\"")?.split('"').next());
        let pictured: Vec<&str> = pictured.collect();
        assert_eq!(pictured.len(), 5, "{pictured:?}");
        for term in pictured {
            assert!(WORDS.iter().any(|(word, _)| *word == term), "{term}");
        }
    }
}
