//! Forward and backward again and again, in the same memory.

use super::ordinary::{Gradient, GradientOptions, GradientWorkspace, gradient_into, zero_gradient};
use super::params::Threads;
use crate::Error;
use crate::forward::{ForwardCache, Inputs, Losses, Objective, ScanOptions, losses_into, scan_into};
use crate::kernel::Real;
use crate::model::{Network, State};
use crate::reverse::Step;

/// The losses and gradients of one batch after another. What [`Network::scan_with`], [`Network::losses`] and
/// [`Network::gradient`] give, but in memory that is used again: from the second batch of a size on, the time loops find
/// theirs in place.
#[derive(Clone, Debug)]
pub struct TrainStep<T> {
    cache: ForwardCache<T>,
    losses: Losses<T>,
    gradient: Option<Gradient<T>>,
    workspace: GradientWorkspace<T>,
}

impl<T: Real> Default for TrainStep<T> {
    fn default() -> Self {
        Self {
            cache: ForwardCache::default(),
            losses: Losses::default(),
            gradient: None,
            workspace: GradientWorkspace::new(Threads::This),
        }
    }
}

impl<T: Real> TrainStep<T> {
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
        scan_into(network, &mut self.cache, inputs, initial, options)?;
        losses_into(network, &mut self.losses, &self.cache, objective)?;
        Ok(&self.losses)
    }

    /// The gradient of the last batch's losses, without that of its inputs.
    ///
    /// # Errors
    /// As of [`Network::gradient`].
    pub fn backward(&mut self, network: &Network<T>) -> Result<&mut Gradient<T>, Error> {
        self.backward_seen(network, |_, _, _| ())
    }

    /// The same, and `visit` sees the cache and every step of the backward pass.
    pub(crate) fn backward_seen(
        &mut self,
        network: &Network<T>,
        mut visit: impl FnMut(&ForwardCache<T>, usize, &Step<'_, T>),
    ) -> Result<&mut Gradient<T>, Error> {
        let Self { cache, losses, workspace, .. } = self;
        let fits = |gradient: &Gradient<T>| gradient.weights.has_shape_of(network.weights());
        let gradient = self.gradient.take().filter(fits);
        let mut gradient =
            gradient.unwrap_or_else(|| zero_gradient(network, cache, GradientOptions::default()));
        let visit = |index: usize, step: &Step<'_, T>| visit(cache, index, step);
        gradient_into(network, &mut gradient, workspace, cache, losses, visit)?;
        Ok(self.gradient.insert(gradient))
    }

    /// The gradient that [`TrainStep::backward`] found last.
    pub fn gradient(&mut self) -> Option<&mut Gradient<T>> {
        self.gradient.as_mut()
    }

    /// The last batch's forward scan.
    pub fn cache(&self) -> &ForwardCache<T> {
        &self.cache
    }

    /// Its losses.
    pub fn losses(&self) -> &Losses<T> {
        &self.losses
    }
}
