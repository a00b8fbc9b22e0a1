//! The numbers of a published example: "Backpropagation and Vanishing Gradient Problem in RNN (part 1)", A. Kravets, Towards
//! AI, 2023. `fixtures/article.json` says how they were recovered.

use serde::Deserialize;

/// Inputs, state, weights and gradients of the example, with one sequence; all matrices (rows, cols) as the article has them,
/// which is the transpose of the weights here.
#[derive(Clone, Debug, Deserialize)]
pub struct Article {
    /// The inputs, (1, T, D).
    pub x: Vec<Vec<Vec<f64>>>,
    /// The state before the first step, (1, H).
    pub h0: Vec<Vec<f64>>,
    /// W_ihᵀ, (D, H).
    #[serde(rename = "Wx")]
    pub wx: Vec<Vec<f64>>,
    /// W_hhᵀ, (H, H).
    #[serde(rename = "Wh")]
    pub wh: Vec<Vec<f64>>,
    /// The bias, (H).
    pub b: Vec<f64>,
    /// The gradient of each loss with respect to its own state, (1, T, H).
    pub dh: Vec<Vec<Vec<f64>>>,
}

/// The example's numbers.
pub fn article() -> Article {
    #[derive(Deserialize)]
    struct File {
        inputs: Article,
    }
    let file: File =
        serde_json::from_str(include_str!("../fixtures/article.json")).expect("the fixture is well-formed");
    file.inputs
}
