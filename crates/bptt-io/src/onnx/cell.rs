//! Which registered cell a recurrent node is, or why it is none and what to do then.
//!
//! Source: docs/Operators.md of ONNX 1.23 (LSTM-22, GRU-22, RNN-22).

use super::graph::Attribute;
use crate::error::ANY_STEP;

/// D, the number of a node's directions.
///
/// # Errors
/// If it reads backwards alone.
pub(super) fn directions<'a>(attribute: &impl Fn(&str) -> Option<&'a Attribute>) -> Result<usize, String> {
    match attribute("direction").map_or(&b"forward"[..], |of| &of.text) {
        b"forward" => Ok(1),
        b"bidirectional" => Ok(2),
        b"reverse" => Err("it reads backwards (direction reverse), which is not read; set its direction to forward, give the inputs \
                           from the last step to the first, and outputs and steps are in that order"
            .into()),
        other => Err(format!("its direction is {}, which is not known here", String::from_utf8_lossy(other))),
    }
}

/// The registered cell of a node of this kind, with or without peepholes.
///
/// # Errors
/// If there is none; the message names what it has and what to do.
pub(super) fn cell<'a>(
    kind: &str,
    peepholes: bool,
    attribute: &impl Fn(&str) -> Option<&'a Attribute>,
) -> Result<String, String> {
    if let Some(clip) = attribute("clip").map(|of| of.float).filter(|clip| *clip != 0.0) {
        return Err(format!(
            "it clips its pre-activations to ±{clip} (clip), which no cell here does; if none of them gets there, remove the \
             attribute; otherwise {ANY_STEP}"
        ));
    }
    if attribute("input_forget").is_some_and(|of| of.int != 0) {
        return Err(format!(
            "its input and forget gates are one (input_forget), which no cell here has; {ANY_STEP}"
        ));
    }
    if attribute("activation_alpha").or(attribute("activation_beta")).is_some() {
        return Err(format!(
            "its activations have parameters (activation_alpha, activation_beta), which are not read; if they are the defaults of \
             ONNX, remove the attributes; otherwise {ANY_STEP}"
        ));
    }
    let given: Vec<String> = attribute("activations")
        .map(|of| of.texts.iter().map(|name| String::from_utf8_lossy(name).to_lowercase()).collect())
        .unwrap_or_default();
    let usual: &[&str] = match kind {
        "RNN" => &["tanh"],
        "GRU" => &["sigmoid", "tanh"],
        _ => &["sigmoid", "tanh", "tanh"],
    };
    let known = |name: &str| match name {
        // ONNX' HardSigmoid is clip(0.2 a + 0.5, 0, 1) by default.
        "hardsigmoid" => Some("hard_sigmoid_0.2"),
        "tanh" => Some("tanh"),
        "sigmoid" => Some("sigmoid"),
        "relu" => Some("relu"),
        _ => None,
    };
    let names: Option<Vec<&str>> = given.iter().map(|name| known(name)).collect();
    let unknown =
        || format!("its activations are {}, which are not known here; {ANY_STEP}", given.join(", "));
    let names = names.ok_or_else(unknown)?;
    let names = if names.is_empty() { usual.to_vec() } else { names };
    let (first, rest) = names.split_at_checked(usual.len()).ok_or("it has too few activations")?;
    if !rest.is_empty() && rest != first {
        return Err("its two directions have different activations, which is not read; make a node of each, of direction forward, \
                    the second with its inputs from the last step to the first"
            .into());
    }
    let before = attribute("linear_before_reset").is_none_or(|of| of.int == 0);
    Ok(match (kind, first) {
        ("RNN", ["tanh"]) => "rnn".into(),
        ("RNN", ["relu"]) => "rnn_relu".into(),
        ("RNN", _) => {
            return Err(format!(
                "its activation is {}, which a vanilla layer has not here; {ANY_STEP}",
                given.join(", ")
            ));
        }
        ("GRU", _) => {
            let base = if before { "gru_reset_before" } else { "gru" };
            if first == usual { base.into() } else { format!("{base}_with:{}", first.join(",")) }
        }
        _ if first == usual && peepholes => "lstm_peephole".into(),
        _ if peepholes => {
            return Err(format!(
                "it has peepholes (input P) and the activations {}; with peepholes Sigmoid, Tanh, Tanh are read; {ANY_STEP}",
                given.join(", ")
            ));
        }
        _ if first == usual => "lstm".into(),
        _ => format!("lstm_with:{}", first.join(",")),
    })
}
