//! Forward and backward again and again, in the same memory.

use super::ordinary::{Backward, Gradient, Threads};
use crate::Error;
use crate::forward::{Inputs, Losses, Objective, ScanOptions, Trace};
use crate::kernel::Real;
use crate::model::{Network, State};
use crate::reverse::Step;

/// The losses and gradients of one batch after another. What [`Network::scan_with`], [`Network::losses`] and
/// [`Network::gradient`] give, but in memory that serves again: from the second batch of a size on, the time loops find
/// theirs in place.
#[derive(Clone, Debug)]
pub struct Learner<T> {
    trace: Trace<T>,
    losses: Losses<T>,
    gradient: Option<Gradient<T>>,
    backward: Backward<T>,
}

impl<T: Real> Default for Learner<T> {
    fn default() -> Self {
        Self {
            trace: Trace::default(),
            losses: Losses::default(),
            gradient: None,
            backward: Backward::new(Threads::This),
        }
    }
}

impl<T: Real> Learner<T> {
    /// The losses of a batch.
    ///
    /// # Errors
    /// As of [`Network::scan_with`] and [`Network::losses`].
    pub fn forward(
        &mut self,
        network: &Network<T>,
        inputs: Inputs<T>,
        initial: &State<T>,
        options: ScanOptions<T>,
        objective: &Objective<T>,
    ) -> Result<&Losses<T>, Error> {
        network.scan_into(&mut self.trace, inputs, initial, options)?;
        network.losses_into(&mut self.losses, &self.trace, objective)?;
        Ok(&self.losses)
    }

    /// The gradient of the last batch's losses, without that of its inputs.
    ///
    /// # Errors
    /// As of [`Network::gradient`].
    pub fn backward(&mut self, network: &Network<T>) -> Result<&mut Gradient<T>, Error> {
        self.backward_seen(network, |_, _, _| ())
    }

    /// The same, and `visit` sees the trace and every step of the way back.
    pub(crate) fn backward_seen(
        &mut self,
        network: &Network<T>,
        mut visit: impl FnMut(&Trace<T>, usize, &Step<'_, T>),
    ) -> Result<&mut Gradient<T>, Error> {
        let Self { trace, losses, backward, .. } = self;
        let fits = |gradient: &Gradient<T>| gradient.weights.has_shape_of(network.weights());
        let gradient = self.gradient.take().filter(fits);
        let mut gradient = gradient.unwrap_or_else(|| network.zero_gradient(trace, false));
        let visit = |index: usize, step: &Step<'_, T>| visit(trace, index, step);
        network.gradient_into(&mut gradient, backward, trace, losses, visit)?;
        Ok(self.gradient.insert(gradient))
    }

    /// The gradient that [`Learner::backward`] found last.
    pub fn gradient(&mut self) -> Option<&mut Gradient<T>> {
        self.gradient.as_mut()
    }

    /// The last batch's forward scan.
    pub fn trace(&self) -> &Trace<T> {
        &self.trace
    }

    /// Its losses.
    pub fn losses(&self) -> &Losses<T> {
        &self.losses
    }
}
