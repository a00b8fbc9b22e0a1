//! Training of recurrent networks: texts and vocabularies, tasks with known dependencies, initializers, optimizers, the
//! training loop, sampling, runs on disk, comparisons and diagnosis.
//!
//! All random numbers come from an explicit [`Rng`], so that a seed gives the same numbers in every run.
//!
//! Types that were renamed since the first version:
//!
//! | first version | now |
//! | --- | --- |
//! | `Lesson` | [`LossChangeAllocation`] |
//! | `Pantry`, `pantry_text` | [`CueSentences`], [`cue_sentences::generate`] |
//! | `Material`, `Evaluated` | [`DataSource`], [`Evaluation`] |
//! | `Reach`, `Apart` | [`GradientHorizon`], [`BatchLedger`] |
//! | `compare::Overseer`, `compare::Reached` | [`compare::ComparisonObserver`], [`compare::TrainingResult`] |
//! | `diagnose::Reach`, `Evidence::reach` | [`diagnose::LagStatistics`], `Evidence::lag_statistics` |
//! | `Event::Trace { apart }` | [`Event::Ledger`] |
//! | `shares` | [`update_shares`] |

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod article;
pub mod batch;
mod checkpoint;
pub mod clip;
pub mod compare;
pub mod config;
pub mod corpus;
pub mod cue_sentences;
pub mod data_source;
pub mod diagnose;
pub mod error;
pub mod horizon;
pub mod init;
pub mod loss_change_allocation;
pub mod memory;
pub mod observer;
pub mod optim;
mod options;
pub mod rng;
pub mod run;
pub mod sample;
pub mod schedule;
pub mod shards;
pub mod tasks;
pub mod text;
pub mod trainer;
pub mod update_shares;
pub mod vocabulary;

pub use batch::Batch;
pub use compare::{Comparison, Plan};
pub use config::{Config, Keep};
pub use corpus::{Baselines, Corpus, Streams, Window};
pub use cue_sentences::{CueSentences, Sentence};
pub use data_source::{DataSource, Evaluation, evaluate};
pub use error::Error;
pub use horizon::{BatchLedger, GradientHorizon};
pub use init::Init;
pub use loss_change_allocation::LossChangeAllocation;
pub use observer::{Event, Flow, Observer};
pub use optim::{Optimizer, OptimizerKind};
pub use rng::Rng;
pub use run::Run;
pub use sample::{Sampling, sample};
pub use schedule::Schedule;
pub use shards::Shards;
pub use tasks::{Task, TaskBatch, task_by_name, tasks};
pub use text::Level;
pub use trainer::{Ending, Outcome, Training, train};
pub use update_shares::{LagShare, UpdateParts, UpdateShares};
pub use vocabulary::Vocabulary;
