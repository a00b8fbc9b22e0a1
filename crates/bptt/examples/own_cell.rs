//! A cell of your own, written on plain slices: an Elman cell whose state is half of the last one and half of the new one.
//!
//! ```text
//! n_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)          h_t = (h_{t-1} + n_t) / 2
//! da = dh ∘ (1 − n_t²) / 2                                   dh ← dh / 2 + da W_hh
//! ```

use std::sync::Arc;

use bptt::cell::{AdjointSpec, GateRole, GateSpec, Paths, Stage, StateSpec, usual_params};
use bptt::{
    Activation, Backward, Cell, CellKind, CellParams, CellSpec, Forward, Inputs, ItemizeOptions, Losses,
    Network, Parameter, Real, Sequence, StepCache, StepWeights, Weights,
};

#[derive(Clone, Debug)]
struct Half(Arc<CellSpec>);

impl Half {
    fn new() -> Self {
        Self(Arc::new(CellSpec {
            name: "half".into(),
            title: "half-leaky RNN".into(),
            // A part of h's gradient goes to the step before without a parameter.
            states: vec![StateSpec::h(true)],
            gates: vec![GateSpec { name: "n", activation: Activation::Tanh, role: GateRole::Candidate }],
            adjoints: vec![AdjointSpec::da()],
            params: usual_params(1),
            saved: Vec::new(),
            backward: vec![Stage::Local(0)],
            paths: Paths::new(&["along_h", "through_n"], 1, |passed, gate| {
                gate.or(passed).map_or(0, |gate| 1 + gate)
            }),
            vanilla: None,
            equations: vec!["n_t = tanh(W_{ih} x_t + W_{hh} h_{t−1} + b),  h_t = (h_{t−1} + n_t) / 2".into()],
        }))
    }
}

impl<T: Real> Cell<T> for Half {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.0
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        // W_hh is parameter 1 and has one block of rows.
        step.add_recurrent(weights, 1, 0);
        let [h, ..] = step.next;
        for ((n, h), h_prev) in step.gates.iter_mut().zip(h).zip(step.prev[0].data()) {
            *n = n.tanh();
            *h = T::of(0.5) * (*h_prev + *n);
        }
    }

    fn vjp(&self, _: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let n = cache.gates().data();
        let ([dh, ..], [da, ..]) = (rows.states, rows.adjoints);
        // Rows (k, b): the gates of the batch come again for every loss.
        for ((da, dh), n) in da.iter_mut().zip(dh).zip(n.iter().cycle()) {
            *da = *dh * (T::one() - *n * *n) * T::of(0.5);
            *dh *= T::of(0.5);
        }
    }
}

fn main() -> Result<(), bptt::Error> {
    let cell: Arc<dyn CellKind> = Arc::new(Half::new());
    let mut params = CellParams::<f64>::zeros(cell.spec(), 1, 2);
    for tensor in params.tensors_mut() {
        tensor.data_mut().iter_mut().enumerate().for_each(|(i, w)| *w = 0.4 - 0.2 * i as f64);
    }
    let network = Network::new(cell, Weights { cells: vec![params], bidirectional: false, readout: None })?;
    let x = Sequence::new(5, 1, 1, &[0.3, -0.1, 0.8, 0.2, -0.5])?;
    let cache = network.scan(Inputs::Dense(x), &network.zero_state(1))?;
    let losses = Losses::from_seeds(Sequence::new(5, 1, 2, &[1.0; 10])?);
    let ledger = network.itemize(&cache, &losses, &ItemizeOptions::default())?;
    let w_hh = ledger.entry(0, Parameter::WEIGHT_HH).expect("the cell has W_hh");
    for t in 0..5 {
        println!("step {t} → loss 4: {:.6} of dL/dW_hh", w_hh.norm(4, t).unwrap_or(0.0));
    }
    println!("balance {:.1e}", ledger.worst_balance());
    Ok(())
}
