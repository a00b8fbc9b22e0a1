//! `bptt trace --model`: a model from another program, on arrays.

use std::path::Path;

use bptt::in_f64;
use bptt::{ForwardCache, Inputs, Losses, Matrix, Network, ScanOptions, Sequence, State, Symbols};
use bptt_io::{HeadChain, Module, Tensor, arrays, batch, choose, embedding, head};

use super::loss_source::{Head, LossSource};
use super::objective::target_and_output;
use super::provenance::Provenance;
use super::trace::{Read, Traced, Wanted, array_files, loss_at, output};
use crate::Failure;
use crate::args::{ManyToOne, ModelArgs, ReadingArgs, TraceArgs};

pub(super) fn run((args, quiet): (&TraceArgs, bool), file: &Path) -> Result<(), Failure> {
    if args.states.is_some() && args.reading.model.resets.is_some() {
        return Err(Failure::Usage(
            "--states: the states before an episode begins are not kept (--resets); give every episode as a sequence of its \
             own, with --lengths"
                .into(),
        ));
    }
    let scanned = ScannedModel::open(file, &args.reading)?;
    array_files::check(args, &scanned.network, &scanned.losses.present, scanned.batch)?;
    let given = scanned.ledger(Wanted::of_trace(args))?;
    let TracedModel { module, network, traced, symbols, provenance, batch } = &given;
    let steps = traced.ledger.steps();
    let last = (0..steps).rev().find(|&k| traced.ledger.has_loss(k));
    let k = loss_at(args.loss_step, steps)?.or(last).ok_or_else(|| {
        Failure::Usage(
            "there is no loss at any step: everything is masked, ignored, padding or burn-in".into(),
        )
    })?;
    let read = symbols.as_ref().map(|symbols| Read { symbols, alone: true });
    let headline = headline(module, &traced.losses, k, *batch);
    output((args, quiet), network, traced, provenance, read, k, &headline)
}

/// A model from another program, with its ledger.
pub(super) struct TracedModel {
    pub module: Module,
    pub network: Network<f64>,
    pub traced: Traced,
    /// The symbols it read, if there is a single sequence of symbols.
    pub symbols: Option<Vec<String>>,
    pub provenance: Provenance,
    batch: usize,
}

impl TracedModel {
    pub fn open(file: &Path, reading: &ReadingArgs, wanted: Wanted) -> Result<Self, Failure> {
        ScannedModel::open(file, reading)?.ledger(wanted)
    }
}

/// A model from another program, with its forward scan and losses.
struct ScannedModel {
    module: Module,
    network: Network<f64>,
    trace: ForwardCache<f64>,
    losses: Losses<f64>,
    symbols: Option<Vec<String>>,
    provenance: Provenance,
    batch: usize,
}

impl ScannedModel {
    fn open(file: &Path, reading: &ReadingArgs) -> Result<Self, Failure> {
        let arrays = Arrays::open(file, &reading.model, reading.detach_every, reading.burn_in)?;
        let Arrays { module, network, inputs, initial, bounds, losses, symbols, provenance } = arrays;
        let (_, batch) = inputs.shape();
        let trace = in_f64::scan_with(&network, inputs, &initial, bounds)?;
        let losses = losses.of(&network, &trace)?;
        Ok(Self {
            module,
            network,
            trace,
            losses,
            symbols: symbols.filter(|_| batch == 1),
            provenance,
            batch,
        })
    }

    fn ledger(self, wanted: Wanted) -> Result<TracedModel, Failure> {
        let Self { module, network, trace, losses, symbols, provenance, batch } = self;
        let traced = Traced::new(&network, trace, losses, wanted)?;
        Ok(TracedModel { module, network, traced, symbols, provenance, batch })
    }
}

/// A model from another program, with its inputs and losses.
pub(super) struct Arrays {
    pub module: Module,
    pub network: Network<f64>,
    pub inputs: Inputs<f64>,
    pub initial: State<f64>,
    pub bounds: ScanOptions<f64>,
    pub losses: LossSource,
    /// The symbols of the first sequence, if it reads symbols.
    pub symbols: Option<Vec<String>>,
    /// Where they come from, and what was assumed.
    pub provenance: Provenance,
}

impl Arrays {
    pub fn open(
        file: &Path,
        given: &ModelArgs,
        detach_every: usize,
        burn_in: usize,
    ) -> Result<Self, Failure> {
        let Some(x) = &given.input else {
            return Err(Failure::Usage("--model needs --input x.npy".into()));
        };
        if given.target.is_none() && given.grad_output.is_none() && given.grad_cell.is_none() {
            return Err(Failure::Usage(
                "there is no loss: give --target y.npy (the model needs a head), or --grad-output dh.npy, the gradient of \
                 the loss at each step with respect to the top layer's output"
                    .into(),
            ));
        }
        let mut tensors = given.tensors(file)?;
        let parts: Vec<&str> = given.head.iter().flat_map(|head| head.split(',')).collect();
        let maps = parts.iter().copied().chain(given.embedding.as_deref());
        maps.for_each(|name| tensors.expect_map(name));
        let module = choose(&tensors, given.module.as_deref(), given.cell.as_deref())?;
        let x = arrays::read(x)?;
        let arranged = Arranged::new(given, &x)?;
        let vectors = if arranged.symbols {
            embedding(&tensors, &module, given.embedding.as_deref(), given.head.as_deref())?
        } else {
            None
        };
        let read = vectors.as_ref().map(|(name, _)| name.as_str());
        let (head, readout) = match &parts[..] {
            _ if given.target.is_none() => (Head::default(), None),
            [_, _, ..] => {
                let name = given.head.clone().unwrap_or_default();
                (Head { name, chain: Some(HeadChain::read(&tensors, &module, &parts)?) }, None)
            }
            _ => {
                let (name, readout) = head(&tensors, &module, given.head.as_deref(), read)?;
                (Head { name, chain: None }, Some(readout))
            }
        };
        let (target, compared) = target_and_output(&arranged, &module, (&head, readout.as_ref()), burn_in)?;
        let (head, readout) = match readout {
            Some(readout) if compared == Some(ManyToOne::FinalState) => {
                (Head { chain: Some(HeadChain::from(readout)), ..head }, None)
            }
            readout => (head, readout),
        };
        let network = module.network(readout)?;
        let mut provenance = module_provenance(file, &module);
        for name in &given.ignore {
            provenance.assume(format!("{name} takes no part in the computation (--ignore)"));
        }
        let (inputs, symbols) = arranged.inputs(&module, &x, vectors, &mut provenance)?;
        let (steps, batch) = arranged.extent;
        let resets = arranged.flags(given.resets.as_deref(), "")?;
        let lengths = arranged.lengths.clone();
        let detach = ScanOptions::<f64>::detach_every(detach_every, steps);
        let bounds = ScanOptions { lengths, resets, detach, burn_in, ..ScanOptions::default() };
        let initial = initial(given, &network, batch)?;
        arranged.assume(&x, &network, &mut provenance);
        let losses = arranged.losses(&network, head, (target, compared), burn_in, &mut provenance)?;
        Ok(Self { module, network, inputs, initial, bounds, losses, symbols, provenance })
    }
}

/// The module and how its tensors are read.
fn module_provenance(file: &Path, module: &Module) -> Provenance {
    let mut provenance = Provenance::default();
    provenance.set("file", file.to_string_lossy());
    provenance.set("module", module.outline.name.as_str());
    provenance.set("layout", module.outline.convention.title());
    let title = module.outline.title();
    provenance.assume(module.reading());
    for assumption in &module.assumptions {
        provenance.assume(assumption.as_str());
    }
    if !module.biased() {
        provenance.assume(format!("{title} has no biases: they are zero"));
    }
    provenance
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

/// The initial states; zeros by default.
fn initial(given: &ModelArgs, network: &Network<f64>, batch: usize) -> Result<State<f64>, Failure> {
    let mut state = network.zero_state(batch);
    let read = |path: &Path, width: usize| -> Result<_, Failure> {
        Ok(batch::states(&arrays::read(path)?, network.weights().cells.len(), batch, width)?)
    };
    let h = given.h0.as_deref().map(|path| read(path, network.output_width())).transpose()?;
    let c = given.c0.as_deref().map(|path| read(path, network.hidden())).transpose()?;
    if c.is_some() && network.spec().states.len() < 2 {
        let cell = network.spec().name.as_str();
        return Err(Failure::Usage(format!("--c0: the cell {cell} has no c; expected --h0 only")));
    }
    for (index, given) in [h, c].into_iter().enumerate() {
        for (cell, given) in state.cells.iter_mut().zip(given.into_iter().flatten()) {
            cell[index] = given;
        }
    }
    Ok(state)
}

/// The axis order of the arrays, and the sizes of the batch.
pub(super) struct Arranged<'a> {
    pub given: &'a ModelArgs,
    pub order: batch::Arrangement,
    /// (T, B).
    pub extent: (usize, usize),
    pub lengths: Option<Vec<usize>>,
    /// Whether the inputs are symbols.
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
            // Refused with its shape when it is read.
            _ => (0, 0),
        };
        let lengths = given
            .lengths
            .as_deref()
            .filter(|_| extent.0 * extent.1 > 0)
            .map(|path| -> Result<_, Failure> { Ok(batch::lengths(&arrays::read(path)?, extent)?) });
        Ok(Self { given, order, extent, lengths: lengths.transpose()?, symbols })
    }

    pub fn is_read(&self, t: usize, b: usize) -> bool {
        self.lengths.as_ref().is_none_or(|lengths| t < lengths[b])
    }

    /// The inputs, and the symbols of the first sequence if they are symbols.
    fn inputs(
        &self,
        module: &Module,
        x: &Tensor,
        vectors: Option<(String, Matrix<f64>)>,
        provenance: &mut Provenance,
    ) -> Result<(Inputs<f64>, Option<Vec<String>>), Failure> {
        let features = module.weights.cells[0].inputs();
        let is_read = |t: usize, b: usize| self.is_read(t, b);
        if !self.symbols {
            let dense = self.order.sequence(x, None, features)?;
            return Ok((Inputs::Dense(batch::finite(x, dense, is_read)?), None));
        }
        let (extent @ (steps, batch), values) = self.order.grid(x, None)?;
        let size = vectors.as_ref().map_or(features, |(_, vectors)| vectors.rows());
        let ids = batch::ids(x, extent, &values, size, is_read)?;
        let shown = (0..steps).map(|t| ids[t * batch].to_string()).collect();
        let inputs = if let Some((name, vectors)) = vectors {
            if self.given.embedding.is_none() {
                provenance
                    .assume(format!("the integers of {} stand for the rows of {name} (--embedding)", x.name));
            }
            provenance.set("embedding", name);
            let dense: Vec<f64> = ids.iter().flat_map(|&id| vectors.row(id as usize)).copied().collect();
            Inputs::Dense(Sequence::new(steps, batch, features, &dense)?)
        } else {
            if self.given.embedding.is_none() {
                let why = format!("no matrix in the file has {features} columns");
                provenance
                    .assume(format!("the integers of {} are one-hot inputs: {why} (--embedding)", x.name));
            }
            Inputs::Symbols(Symbols::new(steps, batch, ids)?)
        };
        Ok((inputs, Some(shown)))
    }

    /// Adds what is assumed of the arrays' axes, the states and the lengths.
    fn assume(&self, x: &Tensor, network: &Network<f64>, provenance: &mut Provenance) {
        let (steps, batch) = self.extent;
        if !self.given.time_major {
            let (axes, shape) = (if self.symbols { "(B, T)" } else { "(B, T, I)" }, &x.shape);
            let sizes = format!("B = {batch}, T = {steps} (--time-major)");
            provenance.assume(format!("{} of shape {shape:?} is {axes} with {sizes}", x.name));
        }
        let zero = match (&self.given.h0, &self.given.c0) {
            (None, None) if network.spec().states.len() > 1 => Some("h and c"),
            (None, _) => Some("h"),
            (Some(_), None) if network.spec().states.len() > 1 => Some("c"),
            (Some(_), _) => None,
        };
        if let Some(states) = zero {
            provenance.assume(format!("the initial {states} is zero"));
        }
        if self.given.lengths.is_none() && batch > 1 {
            provenance.assume(format!("every sequence has all {steps} steps (--lengths)"));
        }
    }
}
