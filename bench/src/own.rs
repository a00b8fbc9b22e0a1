//! This project's side of every case.

use bptt::{ItemizeOptions, Losses, Network};
use bptt_train::Shards;

use crate::case::{Case, Data, Kind};

/// A job that can be done again and again.
pub enum Job {
    /// Forward and backward.
    Train {
        /// The network.
        network: Network<f32>,
        /// Its scans' memory.
        shards: Shards,
        /// What it reads and should predict.
        data: Data,
    },
    /// All norms.
    Itemize {
        /// The network.
        network: Network<f32>,
        /// The case.
        case: Case,
        /// What it reads, and the seeds.
        data: Data,
    },
}

impl Job {
    /// Of `case`.
    pub fn new(case: &Case) -> Self {
        let data = Data::new(case);
        let network = data.network(case);
        match case.kind {
            Kind::Train => Self::Train { shards: Shards::new(&network, case.batch, 0.0, 1), network, data },
            Kind::Itemize => Self::Itemize { network, case: case.clone(), data },
        }
    }

    /// Does it once.
    pub fn run(&mut self) {
        match self {
            Self::Train { network, shards, data } => {
                // As after an update: the weights have to be laid out anew.
                network.tensors_mut();
                let learned = shards.learn(network, &data.ids, &data.targets);
                learned.expect("data that fits").expect("finite numbers");
            }
            Self::Itemize { network, case, data } => {
                network.tensors_mut();
                let trace = network.scan(data.inputs(case), &network.zero_state(case.batch));
                let losses = Losses::from_seeds(data.seeds(case));
                let options = ItemizeOptions { sequences: false, inputs: false, ..ItemizeOptions::default() };
                let ledger = network.itemize(&trace.expect("data that fits"), &losses, &options);
                std::hint::black_box(ledger.expect("a ledger that balances"));
            }
        }
    }
}
