//! The proposed changes as lines of PyTorch, for the recurrent module `rnn` of a `model` with an `optimizer`.

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Between `loss.backward()` and `optimizer.step()`.
pub(super) fn clip(norm: f64) -> Vec<String> {
    lines(&format!("torch.nn.utils.clip_grad_norm_(model.parameters(), {norm:?})  # before optimizer.step()"))
}

pub(super) fn slower() -> Vec<String> {
    lines("for group in optimizer.param_groups:\n    group[\"lr\"] /= 10")
}

/// Each gate's block of each W_hh becomes orthogonal.
pub(super) fn orthogonal(gates: usize) -> Vec<String> {
    let fill = if gates == 1 {
        "        torch.nn.init.orthogonal_(weight)".to_owned()
    } else {
        format!(
            "        with torch.no_grad():\n            for block in weight.chunk({gates}):\n                \
             torch.nn.init.orthogonal_(block)"
        )
    };
    lines(&format!("for name, weight in rnn.named_parameters():\n    if \"weight_hh\" in name:\n{fill}"))
}

/// W_hh = I, biases 0.
pub(super) fn identity() -> Vec<String> {
    lines(
        "for name, weight in rnn.named_parameters():\n    if \"weight_hh\" in name:\n        torch.nn.init.eye_(weight)\n    elif \
         \"bias\" in name:\n        torch.nn.init.zeros_(weight)",
    )
}

/// Weights of gain 1, biases 0.
pub(super) fn moderate(gates: usize) -> Vec<String> {
    let mut all = orthogonal(gates);
    all.extend(lines(
        "    elif \"weight_ih\" in name:\n        torch.nn.init.xavier_uniform_(weight)\n    elif \"bias\" in name:\n        \
         torch.nn.init.zeros_(weight)",
    ));
    all
}

pub(super) fn tanh() -> Vec<String> {
    lines(
        "rnn = torch.nn.RNN(rnn.input_size, rnn.hidden_size, rnn.num_layers, nonlinearity=\"tanh\", batch_first=rnn.batch_first)",
    )
}

pub(super) fn lstm() -> Vec<String> {
    lines("rnn = torch.nn.LSTM(rnn.input_size, rnn.hidden_size, rnn.num_layers, batch_first=rnn.batch_first)")
}

/// Biases of an LSTM for lags of up to `longest` steps (Tallec and Ollivier 2018).
pub(super) fn chrono(longest: usize) -> Vec<String> {
    lines(&format!(
        "size = rnn.hidden_size  # gates i, f, g, o\nwith torch.no_grad():\n    for name, bias in rnn.named_parameters():\n        \
         if \"bias_hh\" in name:\n            bias[: 2 * size] = 0.0\n        elif \"bias_ih\" in name:\n            bias[size : 2 * \
         size] = torch.empty(size).uniform_(1, {}).log()\n            bias[:size] = -bias[size : 2 * size]",
        longest - 1
    ))
}

/// A window of this many steps between two detached states; 0 for none.
pub(super) fn window(steps: usize) -> Vec<String> {
    if steps == 0 {
        return lines(
            "# leave out hidden.detach() within a sequence: gradients then pass through all of its steps",
        );
    }
    lines(&format!("window = {steps}  # steps from one hidden.detach() to the next"))
}
