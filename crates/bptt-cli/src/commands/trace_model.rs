//! `bptt trace --model`: a model that others trained, on arrays of theirs.

use std::path::Path;

use bptt::{
    Inputs, ItemizeOptions, Losses, Network, Objective, Reduction, ScanOptions, Sequence, State, Symbols,
    Targets, Trace,
};
use bptt_io::{Module, Tensor, Tensors, arrays, batch, choose, embedding, head};
use bptt_train::run::model_file;

use super::trace::{Read, Traced, itemize_options, loss_at, output};
use crate::Failure;
use crate::args::{Loss, ModelArgs, ReadingArgs, Reduce, TraceArgs};

/// What PyTorch's cross-entropy takes for "no target" unless told otherwise.
const IGNORED: i64 = -100;

pub(super) fn run(args: &TraceArgs, file: &Path) -> Result<(), Failure> {
    let given = Given::open(file, &args.reading, &itemize_options(args.gates, args.tolerance))?;
    let Given { module, network, traced, symbols, batch } = &given;
    let steps = traced.ledger.steps();
    let last = (0..steps).rev().find(|&k| traced.ledger.has_loss(k));
    let k = loss_at(args.at, steps)?.or(last).ok_or_else(|| {
        Failure::Usage("there is no loss at any step: everything is masked, padding or burn-in".into())
    })?;
    let read = symbols.as_ref().map(|symbols| Read { symbols, alone: true });
    output(args, network, traced, read, k, &headline(module, &traced.losses, k, *batch))
}

/// A model of others', taken apart.
pub(super) struct Given {
    pub module: Module,
    pub network: Network<f64>,
    pub traced: Traced,
    /// What it read, if that is symbols and a single sequence.
    pub symbols: Option<Vec<String>>,
    batch: usize,
}

impl Given {
    pub fn open(
        file: &Path,
        reading: &ReadingArgs,
        options: &ItemizeOptions<'_, f64>,
    ) -> Result<Self, Failure> {
        let arrays = Arrays::open(file, &reading.model, reading.detach_every, reading.burn_in)?;
        let Arrays { module, network, inputs, initial, bounds, aim, symbols } = arrays;
        let (_, batch) = inputs.shape();
        let trace = network.scan_with(inputs, &initial, bounds)?;
        let losses = aim.losses(&network, &trace)?;
        let traced = Traced::new(&network, trace, losses, options)?;
        let symbols = symbols.filter(|_| batch == 1);
        Ok(Self { module, network, traced, symbols, batch })
    }
}

/// A model of others' and what it is to read, before it does.
pub(super) struct Arrays {
    pub module: Module,
    pub network: Network<f64>,
    pub inputs: Inputs<f64>,
    pub initial: State<f64>,
    pub bounds: ScanOptions<f64>,
    pub aim: Aim,
    /// What the first sequence reads, if that is symbols.
    pub symbols: Option<Vec<String>>,
}

impl Arrays {
    pub fn open(
        file: &Path,
        given: &ModelArgs,
        detach_every: usize,
        burn_in: usize,
    ) -> Result<Self, Failure> {
        let Some(x) = &given.input else {
            return Err(Failure::Usage("--model: give --input x.npy, too".into()));
        };
        if given.target.is_none() && given.seeds.is_none() {
            return Err(Failure::Usage(
                "there is no loss: give --target y.npy (the model needs a head then), or --seeds dh.npy, the gradient \
                 each loss sends into the top layer's output"
                    .into(),
            ));
        }
        let tensors = Tensors::read(&model_file(file))?;
        let module = choose(&tensors, given.module.as_deref(), given.cell.as_deref())?;
        if let Some(assumed) = &module.assumed {
            eprintln!("{assumed}");
        }
        let readout = match given.target {
            Some(_) => Some(head(&tensors, &module, given.head.as_deref())?),
            None => None,
        };
        let network = module.network(readout)?;

        let x = arrays::read(x)?;
        let arranged = Arranged::new(given, &x)?;
        let (inputs, symbols) = arranged.inputs(&tensors, &module, &x)?;
        let (steps, batch) = arranged.extent;
        let resets = arranged.flags(given.resets.as_deref())?;
        let lengths = arranged.lengths.clone();
        let detach = ScanOptions::<f64>::detach_every(detach_every, steps);
        let bounds = ScanOptions { lengths, resets, detach, burn_in, ..ScanOptions::default() };
        let initial = initial(given, &network, batch)?;
        let aim = arranged.aim(&network, burn_in)?;
        Ok(Self { module, network, inputs, initial, bounds, aim, symbols })
    }
}

fn headline(module: &Module, losses: &Losses<f64>, k: usize, batch: usize) -> String {
    let title = module.outline.title();
    let sequences = if batch == 1 { String::new() } else { format!(", {batch} sequences together") };
    let value = match losses.values.get(k * batch..(k + 1) * batch) {
        Some(values) => format!(", {:.3}", values.iter().sum::<f64>()),
        None => String::new(),
    };
    format!("loss {k} of {title} ({}){sequences}{value}", module.description())
}

/// The states to begin with, zeros where none are given.
fn initial(given: &ModelArgs, network: &Network<f64>, batch: usize) -> Result<State<f64>, Failure> {
    let mut state = network.zero_state(batch);
    let read = |path: &Path| -> Result<_, Failure> {
        Ok(batch::states(&arrays::read(path)?, state.h.len(), batch, network.hidden())?)
    };
    let h = given.h0.as_deref().map(read).transpose()?;
    let c = given.c0.as_deref().map(read).transpose()?;
    if c.is_some() && !network.cell().has_memory() {
        let cell = network.cell().name();
        return Err(Failure::Usage(format!("--c0: the cell {cell} has no c; expected --h0 alone")));
    }
    state.h = h.unwrap_or(state.h);
    state.c = c.unwrap_or(state.c);
    Ok(state)
}

/// The arrays' arrangement and what they say of the batch.
struct Arranged<'a> {
    given: &'a ModelArgs,
    order: batch::Arrangement,
    /// (T, B).
    extent: (usize, usize),
    lengths: Option<Vec<usize>>,
    /// Whether the input is ids.
    symbols: bool,
}

impl<'a> Arranged<'a> {
    fn new(given: &'a ModelArgs, x: &Tensor) -> Result<Self, Failure> {
        let order =
            if given.time_major { batch::Arrangement::TimeMajor } else { batch::Arrangement::BatchFirst };
        let symbols = x.shape.len() == 2 && x.integers().is_some();
        if given.embedding.is_some() && !symbols {
            let (name, shape) = (&x.name, &x.shape);
            return Err(Failure::Usage(format!(
                "--embedding: {name} holds {} of shape {shape:?}; expected integers (B, T)",
                x.dtype
            )));
        }
        let extent = match (x.shape.as_slice(), given.time_major) {
            (&[batch, steps, ..], false) | (&[steps, batch, ..], true) => (steps, batch),
            // Refused with its shape as soon as it is read.
            _ => (0, 0),
        };
        let lengths = given
            .lengths
            .as_deref()
            .filter(|_| extent.0 * extent.1 > 0)
            .map(|path| -> Result<_, Failure> { Ok(batch::lengths(&arrays::read(path)?, extent)?) });
        Ok(Self { given, order, extent, lengths: lengths.transpose()?, symbols })
    }

    fn is_read(&self, t: usize, b: usize) -> bool {
        self.lengths.as_ref().is_none_or(|lengths| t < lengths[b])
    }

    /// What the network reads, and the symbols of the first sequence if it reads symbols.
    fn inputs(
        &self,
        tensors: &Tensors,
        module: &Module,
        x: &Tensor,
    ) -> Result<(Inputs<f64>, Option<Vec<String>>), Failure> {
        let features = module.weights.layers[0].inputs();
        let is_read = |t: usize, b: usize| self.is_read(t, b);
        if !self.symbols {
            let dense = self.order.sequence(x, None, features)?;
            return Ok((Inputs::Dense(batch::finite(x, dense, is_read)?), None));
        }
        let (extent @ (steps, batch), values) = self.order.grid(x, None)?;
        let vectors = embedding(tensors, module, self.given.embedding.as_deref())?;
        let size = vectors.as_ref().map_or(features, |(_, vectors)| vectors.rows());
        let ids = batch::ids(x, extent, &values, size, is_read)?;
        let shown = (0..steps).map(|t| ids[t * batch].to_string()).collect();
        let inputs = if let Some((name, vectors)) = vectors {
            eprintln!("integers stand for the vectors of {name}");
            let dense: Vec<f64> = ids.iter().flat_map(|&id| vectors.row(id as usize)).copied().collect();
            Inputs::Dense(Sequence::new(steps, batch, features, &dense)?)
        } else {
            eprintln!("integers are one-hot: the file has no embedding of {features} columns");
            Inputs::Symbols(Symbols::new(steps, batch, ids)?)
        };
        Ok((inputs, Some(shown)))
    }

    /// An array of marks, time-major.
    fn flags(&self, path: Option<&Path>) -> Result<Option<Vec<bool>>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let (_, values) = self.order.grid(&arrays::read(path)?, Some(self.extent))?;
        Ok(Some(values.into_iter().map(|value| value != 0).collect()))
    }

    /// The losses that are asked for, once their arrays fit.
    fn aim(&self, network: &Network<f64>, burn_in: usize) -> Result<Aim, Failure> {
        let (steps, batch) = self.extent;
        let mut mask = self.flags(self.given.mask.as_deref())?.unwrap_or(vec![true; steps * batch]);
        for (i, has_loss) in mask.iter_mut().enumerate() {
            *has_loss &= i / batch >= burn_in && self.is_read(i / batch, i % batch);
        }
        if let Some(path) = &self.given.seeds {
            let width = network.directions() * network.hidden();
            let array = arrays::read(path)?;
            let seeds = self.order.sequence(&array, Some(self.extent), width)?;
            let seeds = batch::finite(&array, seeds, |t, b| mask[t * batch + b])?;
            return Ok(Aim::Seeds(seeds, mask));
        }
        let target = self.given.target.as_deref().map(arrays::read).transpose()?;
        let target = target.ok_or_else(|| Failure::Usage("--target is missing".into()))?;
        let outputs = network.weights().readout.as_ref().map_or(0, bptt::Readout::outputs);
        let integers = target.shape.len() == 2 && target.integers().is_some();
        let loss = self.given.loss.unwrap_or(if integers { Loss::Ce } else { Loss::Mse });
        let targets = match loss {
            Loss::Ce => {
                let (extent, values) = self.order.grid(&target, Some(self.extent))?;
                mask.iter_mut().zip(&values).for_each(|(has_loss, value)| *has_loss &= *value != IGNORED);
                let ids = batch::ids(&target, extent, &values, outputs, |t, b| mask[t * batch + b])?;
                Targets::CrossEntropy(Symbols::new(steps, batch, ids)?)
            }
            Loss::Mse => {
                let values = self.order.sequence(&target, Some(self.extent), outputs)?;
                Targets::SquaredError(batch::finite(&target, values, |t, b| mask[t * batch + b])?)
            }
        };
        let reduction = match self.given.reduction {
            Reduce::Sum => Reduction::Sum,
            Reduce::Mean => Reduction::MeanTokens,
        };
        Ok(Aim::Objective(Objective { targets, mask: Some(mask), reduction }))
    }
}

/// Where the gradients begin.
#[derive(Clone)]
pub(super) enum Aim {
    /// With an objective, at the outputs.
    Objective(Objective<f64>),
    /// With seeds, at the hidden state; (T, B) says where there is a loss.
    Seeds(Sequence<f64>, Vec<bool>),
}

impl Aim {
    pub fn losses(self, network: &Network<f64>, trace: &Trace<f64>) -> Result<Losses<f64>, Failure> {
        match self {
            Self::Objective(objective) => Ok(network.losses(trace, &objective)?),
            Self::Seeds(mut seeds, mask) => {
                let batch = seeds.batch();
                for (i, _) in mask.iter().enumerate().filter(|(_, has_loss)| !**has_loss) {
                    seeds.at_mut(i / batch, i % batch).fill(0.0);
                }
                let mut losses = Losses::from_seeds(seeds);
                losses.present = mask.chunks(batch).map(|step| step.contains(&true)).collect();
                Ok(losses)
            }
        }
    }
}
