//! The LSTM whose output is projected (Sak, Senior and Beaufays 2014; PyTorch's `nn.LSTM` with `proj_size`): h has P numbers,
//! c has H.
//!
//! ```text
//! [i f g o] = [σ σ tanh σ](W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
//! c_t = f ∘ c_{t-1} + i ∘ g             m_t = o ∘ tanh(c_t)              h_t = W_hr m_t
//! ```
//!
//! Its backward step: dm = dh W_hr; from dm and dc as in the LSTM from dh and dc. W_hr's gradient is Σ dh mᵀ, so dh is an
//! adjoint of its own.

use std::sync::Arc;

use super::lstm::{activate, cell_state_paths, gates, through_gates};
use super::{
    Activation, AdjointSpec, Backward, Block, Cell, CellParams, CellSpec, Forward, Operand, ParamKind,
    ParamSpec, Role, SavedSpec, Stage, StateSpec, StepCache, StepWeights, Width, usual_params,
};
use crate::array::View;
use crate::kernel::Real;

/// The LSTM cell with a projection.
#[derive(Clone, Debug)]
pub struct LstmProjected {
    spec: Arc<CellSpec>,
}

/// W_hr among the parameters.
const WEIGHT_HR: usize = 4;

impl LstmProjected {
    /// PyTorch's LSTM with `proj_size`.
    pub fn new() -> Self {
        let mut params = usual_params(4);
        params.push(ParamSpec {
            name: "weight_hr",
            kind: ParamKind::Matrix,
            blocks: vec![Block { gates: None, operand: Operand::Saved(1), adjoint: 1 }],
            role: Role::Projection,
        });
        let hidden = |name| SavedSpec { name, width: Width::Hidden, passes_to: None };
        let spec = CellSpec {
            name: "lstm_projected".into(),
            title: "LSTM with projection".into(),
            states: vec![StateSpec::h(false), StateSpec::c()],
            gates: gates(Activation::Sigmoid, Activation::Tanh),
            adjoints: vec![
                AdjointSpec::da(),
                AdjointSpec { name: "dh", width: Width::Output, differs: None },
            ],
            params,
            saved: vec![hidden("tanh c"), hidden("m")],
            backward: vec![Stage::Local(0), Stage::Through { param: WEIGHT_HR, block: 0 }, Stage::Local(1)],
            paths: cell_state_paths(4),
            vanilla: None,
            equations: vec![
                "i, f, o = σ(…),  g = tanh(…),  … = W_{ih} x_t + W_{hh} h_{t−1} + b".into(),
                "c_t = f ∘ c_{t−1} + i ∘ g,  h_t = W_{hr} (o ∘ tanh(c_t))".into(),
            ],
        };
        Self { spec: Arc::new(spec) }
    }
}

impl Default for LstmProjected {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Cell<T> for LstmProjected {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights, 1, 0);
        let ([h, c, ..], [tanh_c, m, ..]) = (step.next, step.saved);
        activate(true, step.gates, step.prev[1], c, tanh_c, m);
        let (batch, hidden) = (step.prev[1].rows(), step.prev[1].cols());
        weights.product(WEIGHT_HR, 0, None, View::new(batch, hidden, m), h);
    }

    fn vjp(&self, stage: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, dc, ..], [da, adjoint, ..], [_, dm, ..]) = (rows.states, rows.adjoints, rows.saved);
        match stage {
            0 => adjoint.copy_from_slice(dh),
            _ => through_gates(true, cache, dm, dc, da),
        }
    }
}
