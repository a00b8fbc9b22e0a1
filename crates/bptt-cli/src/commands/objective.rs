//! The losses of a model from another program: targets, reduction, and gradients that are given in place of targets.

use std::path::Path;

use bptt::{Network, Objective, Readout, Reduction, Sequence, Symbols, Targets};
use bptt_io::{Error, Module, Tensor, arrays, batch};

use super::loss_source::{FinalState, Head, LossSource};
use super::provenance::Provenance;
use super::targets::{Meaning, Sizes, at_every_step, classes_of_rows, meaning, truth_values};
use super::trace_model::Arranged;
use crate::Failure;
use crate::args::{Loss, ManyToOne, ModelArgs, Reduce};

/// The default `ignore_index` of PyTorch's cross-entropy.
const IGNORED: i64 = -100;

/// Targets with what they mean.
pub(super) type Target = Option<(Tensor, Meaning)>;

/// The targets if they are given, and which output they are compared with if they are those of whole sequences.
///
/// # Errors
/// If they mean nothing, or that output is not chosen in a module that reads in both directions.
pub(super) fn target_and_output(
    arranged: &Arranged<'_>,
    module: &Module,
    (head, readout): (&Head, Option<&Readout<f64>>),
    burn_in: usize,
) -> Result<(Target, Option<ManyToOne>), Failure> {
    let given = arranged.given;
    let Some(target) = given.target.as_deref().map(arrays::read).transpose()? else {
        return Ok((None, None));
    };
    let ((steps, batch), name) = (arranged.extent, target.name.clone());
    let outputs = match (&head.chain, readout) {
        (Some(chain), _) => chain.outputs(module.width()),
        (None, readout) => readout.map_or(0, Readout::outputs),
    };
    let means = meaning(&target, given.loss, Sizes { steps, batch, outputs, time_major: given.time_major })?;
    if !means.of_sequences {
        return match given.many_to_one {
            Some(_) => Err(Failure::Usage(format!(
                "--many-to-one: {name} of shape {:?} has targets for every step; expected (B) classes or (B, V) values",
                target.shape
            ))),
            None => Ok((Some((target, means)), None)),
        };
    }
    if given.mask.is_some() {
        return Err(Failure::Usage(format!(
            "--mask: {name} has one target for each sequence; mark classes without a loss with --ignore-index"
        )));
    }
    let compared = match given.many_to_one {
        None if module.weights.bidirectional => {
            return Err(Failure::Usage(format!(
                "{name} has one target for each sequence, and the module reads in both directions; choose what the head reads \
                 with --many-to-one:\n  last-step    output[:, -1]\n  final-state  torch.cat([h_n[-2], h_n[-1]], 1)"
            )));
        }
        // In a forward module the two are one.
        Some(ManyToOne::FinalState) if module.weights.bidirectional => ManyToOne::FinalState,
        _ => ManyToOne::LastStep,
    };
    if compared == ManyToOne::FinalState && burn_in > 0 {
        return Err(Failure::Usage(
            "--burn-in: with --many-to-one final-state a gradient enters at the first step; expected no burn-in".into(),
        ));
    }
    Ok((Some((target, means)), Some(compared)))
}

impl Arranged<'_> {
    /// Truth values, time-major. `why` says why other numbers are refused.
    pub(super) fn flags(&self, path: Option<&Path>, why: &str) -> Result<Option<Vec<bool>>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let values = truth_values(arrays::read(path)?, why)?;
        let (_, values) = self.order.grid(&values, Some(self.extent))?;
        Ok(Some(values.into_iter().map(|value| value != 0).collect()))
    }

    /// The losses, from targets or from their gradients.
    pub(super) fn losses(
        &self,
        network: &Network<f64>,
        head: Head,
        (target, compared): (Target, Option<ManyToOne>),
        burn_in: usize,
        provenance: &mut Provenance,
    ) -> Result<LossSource, Failure> {
        let ((steps, batch), given) = (self.extent, self.given);
        let why = ": single losses have no weights here";
        let mut mask = self.flags(given.mask.as_deref(), why)?.unwrap_or(vec![true; steps * batch]);
        let is_last = |t: usize, b: usize| t + 1 == self.lengths.as_ref().map_or(steps, |lengths| lengths[b]);
        for (i, has_loss) in mask.iter_mut().enumerate() {
            let (t, b) = (i / batch, i % batch);
            *has_loss &= t >= burn_in && self.is_read(t, b) && (compared.is_none() || is_last(t, b));
        }
        let Some((target, means)) = target else { return self.gradients(network, mask, provenance) };
        assume_objective(given, &head.name, (&target, means, compared), provenance);
        let outputs = match &head.chain {
            Some(chain) => chain.outputs(network.directions() * network.output_width()),
            None => network.weights().readout.as_ref().map_or(0, Readout::outputs),
        };
        let mut target = if means.one_hot { classes_of_rows(&target, outputs) } else { target };
        if means.of_sequences {
            let sizes = Sizes { steps, batch, outputs, time_major: given.time_major };
            target = at_every_step(&target, sizes);
            if means.loss == Loss::Mse && target.shape.len() == 2 {
                target.shape.push(1);
            }
        }
        let targets = match means.loss {
            Loss::Ce => Targets::CrossEntropy(self.classes(&target, outputs, &mut mask, provenance)?),
            Loss::Mse if given.ignore_index.is_some() => {
                return Err(Failure::Usage(
                    "--ignore-index applies to classes; steps without a squared error are chosen with --mask"
                        .into(),
                ));
            }
            Loss::Mse => {
                let values = self.order.sequence(&target, Some(self.extent), outputs)?;
                Targets::SquaredError(batch::finite(&target, values, |t, b| mask[t * batch + b])?)
            }
        };
        let reduction = reduction(given, means.loss, outputs, (&mask, batch), provenance);
        let objective = Objective { targets, mask: Some(mask), reduction };
        let Some(chain) = head.chain else { return Ok(LossSource::Objective(objective)) };
        if given.head.as_deref().is_some_and(|head| head.contains(',')) {
            let name = &head.name;
            provenance.assume(format!("the parts of {name} follow one another directly"));
        }
        provenance.assume(format!("the parameters of {} have no entries", head.name));
        if compared == Some(ManyToOne::FinalState) {
            let lengths = self.lengths.clone().unwrap_or(vec![steps; batch]);
            return Ok(LossSource::FinalState(FinalState::new(chain, objective, lengths)?));
        }
        Ok(LossSource::Chain(chain, objective))
    }

    /// Gradients in place of targets.
    fn gradients(
        &self,
        network: &Network<f64>,
        mask: Vec<bool>,
        provenance: &mut Provenance,
    ) -> Result<LossSource, Failure> {
        let ((steps, batch), given) = (self.extent, self.given);
        let mut read = |key: &str, path: &Path, width: usize| -> Result<_, Failure> {
            provenance.set(key, path.to_string_lossy());
            let array = arrays::read(path)?;
            let seeds = self.order.sequence(&array, Some(self.extent), network.directions() * width)?;
            Ok(batch::finite(&array, seeds, |t, b| mask[t * batch + b])?)
        };
        let width = network.output_width();
        let dh = given.grad_output.as_deref().map(|path| read("grad_output", path, width)).transpose()?;
        let states = &network.spec().states;
        if given.grad_cell.is_some() && states.get(1).is_none_or(|state| state.name != "c") {
            let cell = network.spec().name.as_str();
            return Err(Failure::Usage(format!(
                "--grad-cell: the cell {cell} has no c; expected --grad-output only"
            )));
        }
        let dc =
            given.grad_cell.as_deref().map(|path| read("grad_cell", path, network.hidden())).transpose()?;
        let dh = dh.unwrap_or_else(|| Sequence::zeros(steps, batch, network.directions() * width));
        Ok(LossSource::Gradients(dh, dc, mask))
    }

    /// Classes, (T, B); `mask` loses those that are ignored.
    fn classes(
        &self,
        target: &Tensor,
        outputs: usize,
        mask: &mut [bool],
        provenance: &mut Provenance,
    ) -> Result<Symbols, Failure> {
        let (steps, batch) = self.extent;
        let (extent, values) = self.order.grid(target, Some(self.extent))?;
        let ignored = self.given.ignore_index.unwrap_or(IGNORED);
        let mut found = false;
        for (has_loss, value) in mask.iter_mut().zip(&values).filter(|(has_loss, _)| **has_loss) {
            (*has_loss, found) = (*value != ignored, found || *value == ignored);
        }
        let name = &target.name;
        if found && self.given.ignore_index.is_none() {
            provenance.assume(format!(
                "targets of {ignored} in {name} have no loss, as by PyTorch's default (--ignore-index)"
            ));
        } else if !found && self.given.ignore_index.is_some() {
            provenance.assume(format!("no target in {name} is {ignored} (--ignore-index)"));
        }
        provenance.set("ignore_index", ignored);
        let negative = |i: &usize| mask[*i] && values[*i] < 0;
        if let Some(i) = (0..values.len()).find(negative) {
            let (value, t, b) = (values[i], i / batch, i % batch);
            let problem = format!(
                "its target {value} at step {t}, sequence {b} is not possible; expected classes from 0 to {}, or \
                 --ignore-index {value} if targets of {value} have no loss",
                outputs - 1
            );
            return Err(Error::ArrayFile { path: name.into(), problem }.into());
        }
        let ids = batch::ids(target, extent, &values, outputs, |t, b| mask[t * batch + b])?;
        Ok(Symbols::new(steps, batch, ids)?)
    }
}

/// How the losses become one number.
fn reduction(
    given: &ModelArgs,
    loss: Loss,
    outputs: usize,
    (mask, batch): (&[bool], usize),
    provenance: &mut Provenance,
) -> Reduction {
    let (name, reduction) = match given.reduction {
        None => {
            provenance
                .assume("the losses are summed, not averaged as by PyTorch's default (--reduction mean)");
            ("sum", Reduction::Sum)
        }
        Some(Reduce::Sum) => ("sum", Reduction::Sum),
        Some(Reduce::Mean) => ("mean", Reduction::MeanTokens),
        Some(Reduce::MeanPerSequence) => ("mean_per_sequence", Reduction::MeanPerSequence),
        Some(Reduce::SumPerSequence) => ("sum_per_sequence", Reduction::MeanBatch),
    };
    provenance.set("reduction", name);
    let is_mean = matches!(reduction, Reduction::MeanTokens | Reduction::MeanPerSequence);
    if is_mean && loss == Loss::Mse && outputs > 1 {
        provenance.assume(format!(
            "the mean is not divided by the {outputs} outputs as well, unlike that of PyTorch's mse_loss"
        ));
    }
    let empty = (0..batch).filter(|&b| !mask[b..].iter().step_by(batch).any(|&has_loss| has_loss)).count();
    if empty > 0 && matches!(reduction, Reduction::MeanPerSequence | Reduction::MeanBatch) {
        provenance.assume(format!("sequences without a loss ({empty} of {batch}) count as 0 in the mean"));
    }
    reduction
}

/// Adds what is assumed of the head and the loss.
fn assume_objective(
    given: &ModelArgs,
    head: &str,
    (target, means, compared): (&Tensor, Meaning, Option<ManyToOne>),
    provenance: &mut Provenance,
) {
    if given.head.is_none() {
        provenance.assume(format!(
            "the outputs are {head} of the module's: the file has no other map to outputs (--head)"
        ));
    }
    let (name, shape) = (&target.name, &target.shape);
    if given.loss.is_none() {
        let axes = if means.of_sequences { "(B)" } else { "(B, T)" };
        provenance.assume(match means.loss {
            Loss::Ce => {
                format!("the loss is softmax cross-entropy, because {name} holds integers {axes} (--loss)")
            }
            Loss::Mse => format!(
                "the loss is squared error (mse), because {name} does not hold integers {axes} (--loss)"
            ),
        });
    }
    if means.one_hot {
        provenance.assume(format!("the one-hot rows of {name} are read as classes"));
    }
    match compared {
        None => {}
        Some(ManyToOne::LastStep) => {
            provenance.set("many_to_one", "last_step");
            provenance.assume(format!(
                "{name} of shape {shape:?} has one target for each sequence, compared with the output at its last step"
            ));
        }
        Some(ManyToOne::FinalState) => {
            provenance.set("many_to_one", "final_state");
            provenance.assume(format!(
                "{name} of shape {shape:?} has one target for each sequence, compared with the final h of both directions: what \
                 enters through the forward direction's stands at the last step of a sequence, with the loss itself, and what \
                 enters through the reverse direction's at step 0"
            ));
        }
    }
    provenance.set("head", head);
    provenance.set("loss", if means.loss == Loss::Ce { "cross_entropy" } else { "squared_error" });
}
