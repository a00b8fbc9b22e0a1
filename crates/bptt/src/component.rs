//! The exact components themselves, for those who want the matrices.

use crate::bptt::{Plan, reverse_scan};
use crate::loss::Losses;
use crate::network::Network;
use crate::scan::Trace;
use crate::sequence::{Matrix, View};
use crate::{Error, Real, kernel};

/// Which components to form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// What step t contributed to loss k.
    One {
        /// The loss.
        k: usize,
        /// The step.
        t: usize,
    },
    /// What every step contributed to loss k.
    Loss(usize),
    /// What every step contributed to every loss: T²/2 components, mind the memory.
    All,
}

/// What step t contributed to the gradient of loss k, summed over the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Component<T> {
    /// The loss.
    pub k: usize,
    /// The step.
    pub t: usize,
    /// Σ_b da x_tᵀ, (G·H, I).
    pub w_ih: Matrix<T>,
    /// Σ_b da_hh h_{t-1}ᵀ, (G·H, H).
    pub w_hh: Matrix<T>,
    /// Σ_b da, (1, G·H).
    pub b_ih: Matrix<T>,
    /// The same as the recurrent side sees it; equal to `b_ih` unless the cell splits its gradients.
    pub b_hh: Matrix<T>,
    /// dL_k/dx_t, (B, I).
    pub input: Matrix<T>,
    /// dL_k/dh0, (B, H); with step 0 only.
    pub initial_state: Option<Matrix<T>>,
    /// dL_k/dc0, (B, H), of a cell that has c; with step 0 only.
    pub initial_memory: Option<Matrix<T>>,
}

impl<T: Real> Network<T> {
    /// The selected components, ordered by loss and then by step. Masked losses have none.
    ///
    /// # Errors
    /// If `losses` does not belong to `trace` or the selection lies outside it (t > k, k ≥ T, or a masked loss).
    pub fn components(
        &self,
        trace: &Trace<T>,
        losses: &Losses<T>,
        select: Select,
    ) -> Result<Vec<Component<T>>, Error> {
        self.check_losses(trace, losses)?;
        let (steps, batch) = trace.inputs().shape();
        let (ks, first, last): (Vec<usize>, usize, usize) = match select {
            Select::One { k, t } => (vec![k], t, t),
            Select::Loss(k) => (vec![k], 0, k),
            Select::All => ((0..steps).filter(|&k| losses.present[k]).collect(), 0, steps),
        };
        if let (Select::One { .. } | Select::Loss(_), &[k]) = (select, &ks[..])
            && (k >= steps || first > k || !losses.present[k])
        {
            return Err(Error::Option {
                option: "selection".into(),
                given: format!("{select:?}"),
                expected: format!("t ≤ k < {steps} and a loss at step k"),
            });
        }

        let params = &self.weights().layers[0];
        let plan = Plan::apart(steps, &ks);
        let mut components = Vec::new();
        let end = reverse_scan(self.cell(), params, &trace.layers()[0], &losses.dh, &plan, false, |step| {
            if step.t < first || step.t > last {
                return;
            }
            for (row, &k) in plan.groups().iter().take(step.da.rows() / batch).enumerate() {
                let (da, da_hh) = (step.da.rows_of(row, batch), step.da_hh.rows_of(row, batch));
                components.push(form(self, trace, k, step.t, da, da_hh));
            }
        });
        for component in components.iter_mut().filter(|c| c.t == 0) {
            let row = plan.groups().iter().position(|&k| k == component.k).expect("every loss has a row");
            let rows = row * batch..(row + 1) * batch;
            let dh0 = rows.clone().flat_map(|r| end.dh(r).to_vec()).collect();
            component.initial_state = Some(Matrix::new(batch, params.hidden(), dh0)?);
            if self.cell().has_memory() {
                let dc0 = rows.flat_map(|r| end.dc(r).to_vec()).collect();
                component.initial_memory = Some(Matrix::new(batch, params.hidden(), dc0)?);
            }
        }
        components.sort_by_key(|c| (c.k, c.t));
        Ok(components)
    }
}

fn form<T: Real>(
    network: &Network<T>,
    trace: &Trace<T>,
    k: usize,
    t: usize,
    da: View<'_, T>,
    da_hh: View<'_, T>,
) -> Component<T> {
    let params = &network.weights().layers[0];
    let mut w_ih = Matrix::zeros(params.w_ih.rows(), params.inputs());
    trace.inputs().step(t).add_outer(&mut w_ih, da);
    let mut w_hh = Matrix::zeros(params.w_hh.rows(), params.hidden());
    kernel::sum_of_outer_products(w_hh.data_mut(), false, da_hh, trace.layers()[0].h().step(t));
    let sum_of_rows = |da: View<'_, T>| {
        let mut sum = Matrix::zeros(1, da.cols());
        kernel::add_rows(sum.data_mut(), da);
        sum
    };
    let mut input = Matrix::zeros(da.rows(), params.inputs());
    kernel::product(input.data_mut(), false, da, params.w_ih.view());
    Component {
        k,
        t,
        w_ih,
        w_hh,
        b_ih: sum_of_rows(da),
        b_hh: sum_of_rows(da_hh),
        input,
        initial_state: None,
        initial_memory: None,
    }
}
