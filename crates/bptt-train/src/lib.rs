//! Everything around the network that is not its mathematics: text and vocabularies, initializers, optimizers, the
//! training loop, sampling, runs on disk, and a text whose dependencies are known.
//!
//! Whatever is random here draws from an explicit [`Rng`], so a seed gives the same numbers on every run.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod batch;
pub mod clip;
pub mod compare;
pub mod config;
pub mod corpus;
pub mod diagnose;
pub mod error;
pub mod init;
pub mod lesson;
pub mod material;
pub mod observer;
pub mod optim;
mod options;
pub mod pantry;
pub mod reach;
pub mod rng;
pub mod run;
pub mod sample;
pub mod schedule;
pub mod shards;
pub mod shares;
pub mod tasks;
pub mod text;
pub mod trainer;
pub mod vocabulary;

pub use batch::Batch;
pub use compare::{Comparison, Plan};
pub use config::Config;
pub use corpus::{Baselines, Corpus, Streams, Window};
pub use error::Error;
pub use init::Init;
pub use lesson::Lesson;
pub use material::{Evaluated, Material, evaluate};
pub use observer::{Event, Flow, Observer};
pub use optim::{Optimizer, OptimizerKind};
pub use pantry::{Pantry, Sentence};
pub use reach::{Apart, Reach};
pub use rng::Rng;
pub use run::Run;
pub use sample::{Sampling, sample};
pub use schedule::Schedule;
pub use shards::Shards;
pub use shares::{LagShare, UpdateParts, UpdateShares};
pub use tasks::{Task, TaskBatch, task_by_name, tasks};
pub use text::Level;
pub use trainer::{Ending, Outcome, train};
pub use vocabulary::Vocabulary;
