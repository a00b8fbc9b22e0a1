//! Estimating the errors of a ledger in f32: some of its losses are itemized again in f64.

use std::sync::Arc;

use super::build::itemize;
use super::entries::{Entry, Ledger};
use super::measured_errors::{MeasuredErrors, log_errors};
use super::options::ItemizeOptions;
use crate::Error;
use crate::forward::{ForwardCache, Losses};
use crate::model::{Network, Parameter};

/// Losses that are itemized again, at most, and at least; of few losses, one in eight.
const PROBES: (usize, usize) = (8, 128);

impl Ledger {
    /// Estimates how far this ledger's norms are from exact ones, by itemizing some of its losses again: `network`, `cache` and
    /// `losses` are the same problem in f64. Afterwards [`Entry::relative_error`] has an estimate for each (k, t).
    ///
    /// The time is that of a forward scan in f64, a gradient, and a ledger of 128 losses at most (one in eight of fewer than 1,024).
    ///
    /// # Errors
    /// As [`Network::itemize`], and [`Error::Shape`] if the problem has another number of steps.
    pub fn estimate_errors(
        &mut self,
        network: &Network<f64>,
        cache: &ForwardCache<f64>,
        losses: &Losses<f64>,
    ) -> Result<(), Error> {
        if losses.present.len() != self.steps {
            return Err(Error::Shape {
                what: "losses in f64".into(),
                expected: format!("{} steps", self.steps),
                given: format!("{} steps", losses.present.len()),
            });
        }
        let all: Vec<usize> = (0..self.steps).filter(|&k| self.present[k]).collect();
        let count = (all.len() / 8).clamp(PROBES.0, PROBES.1).min(all.len());
        // Evenly from the first to the last, which reaches farthest.
        let ks: Arc<[usize]> = (0..count).map(|i| all[(all.len() - 1) * (i + 1) / count]).collect();
        let mut probes = losses.clone();
        probes.keep_only(&ks);
        let inputs = self.entries.iter().any(|entry| entry.parameter == Parameter::INPUT);
        let options = ItemizeOptions { inputs, ..ItemizeOptions::default() };
        let exact = itemize(network, cache, &probes, &options)?;
        let errors = |entry: &Entry| {
            let of_exact = exact.entry_at(entry.cell, entry.parameter)?;
            let norms = |k, t| entry.log10_norm(k, t);
            Some(Arc::new(log_errors(self.steps, &norms, &|k, t| of_exact.log10_norm(k, t), &ks)))
        };
        let all: Vec<_> = self.entries.iter().map(errors).collect();
        let measure = |(entry, errors): (&Entry, &Option<_>)| {
            let is_bias = |other: &Entry| {
                other.cell == entry.cell && [Parameter::BIAS, Parameter::BIAS_IH].contains(&other.parameter)
            };
            let bias = self.entries.iter().position(is_bias).and_then(|i| all[i].as_ref());
            let errors = errors.as_ref()?;
            let norms = |k, t| entry.log10_norm(k, t);
            Some(Arc::new(MeasuredErrors::new(&norms, errors, bias.unwrap_or(errors), &ks)))
        };
        let measured: Vec<_> = self.entries.iter().zip(&all).map(measure).collect();
        for (entry, errors) in self.entries.iter_mut().zip(measured) {
            entry.errors = errors;
        }
        Ok(())
    }
}

impl Entry {
    /// The estimated error of [`Entry::norm`], relative to it, if [`Ledger::estimate_errors`] was called and there is such an
    /// entry. An estimate, not a bound: of 1,000 entries, up to six may be farther off, and most are much nearer.
    pub fn relative_error(&self, k: usize, t: usize) -> Option<f64> {
        let errors = self.errors.as_ref()?;
        self.norm(k, t).map(|_| errors.estimate(&|k, t| self.log10_norm(k, t), k, t))
    }
}
