//! A training as it goes: what its watchers are told, and what they ask of it.
//!
//! The trainer's thread only puts numbers down and looks whether something is asked; a few times a second the server puts
//! what is new into words once, for all who watch.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bptt::{Inputs, Targets};
use bptt_train::{Apart, Event, Flow, Vocabulary};
use bptt_view::report::{self, LossUnit, Report, Stage, Subject};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::problem::Problem;

/// How often watchers are told what is new.
const TICK: Duration = Duration::from_millis(250);

/// Ticks from one ledger to the next at least: they are large.
const LEDGER_TICKS: u32 = 3;

/// Steps of a window whose ledger is shown at most: larger ones would fill the line.
const MOST_STEPS: usize = 256;

/// Points of a curve that newcomers are told at most; when there are twice as many, every other one is forgotten.
const POINTS: usize = 1_000;

/// Messages that wait for a slow watcher before it is told everything anew.
const BACKLOG: usize = 16;

/// How often a paused training looks whether it was interrupted.
const GLANCE: Duration = Duration::from_millis(100);

/// The event after which a line is closed.
pub(crate) const END: &str = "end";

/// A message to watchers: the event's name, and its data as JSON.
pub(crate) type Message = (&'static str, Arc<str>);

/// A curve that thins itself out.
#[derive(Debug, Default)]
struct Curve {
    points: Vec<Value>,
    /// What is new since the last tick, every point.
    fresh: Vec<Value>,
    every: u64,
    seen: u64,
}

impl Curve {
    fn push(&mut self, point: Value) {
        if self.seen.is_multiple_of(self.every.max(1)) {
            self.points.push(point.clone());
        }
        self.seen += 1;
        self.fresh.push(point);
        if self.points.len() >= 2 * POINTS {
            self.every = 2 * self.every.max(1);
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }
}

/// What the trainer tells.
#[derive(Debug)]
struct Told {
    /// \[update, loss, norm, norm after clipping, learning rate\] each.
    steps: Curve,
    /// \[update, horizon, decay\] each.
    traces: Curve,
    /// \[update, loss\] each.
    evaluations: Curve,
    step: u64,
    /// The update of flossing that is under way, and its loss; before training.
    flossing: Option<(u64, f64)>,
    seconds: f64,
    started: std::time::Instant,
    ledger: Option<(u64, Arc<Apart>)>,
    /// The ledger in words, of this update.
    packed: Option<(u64, Arc<str>)>,
    paused: bool,
    stop: bool,
    rate: Option<f64>,
    ending: Option<String>,
    changed: bool,
}

/// One training, between its thread and its watchers.
#[derive(Debug)]
pub struct Live {
    name: String,
    facts: Vec<(String, String)>,
    vocabulary: Option<Vocabulary>,
    cell: String,
    updates: u64,
    told: Mutex<Told>,
    /// Something was asked of the training.
    asked: Condvar,
    watchers: broadcast::Sender<Message>,
}

/// What a watcher may ask.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action", deny_unknown_fields)]
pub(crate) enum Ask {
    /// Wait after this update.
    Pause,
    /// Go on.
    Resume,
    /// End after this update and keep what was learned.
    Stop,
    /// Go on with this learning rate before the schedule.
    LearningRate { value: f64 },
}

impl Live {
    /// A training of `updates` updates in the folder called `name`, with what is known of it in words.
    pub fn new(
        name: String,
        facts: Vec<(String, String)>,
        vocabulary: Option<Vocabulary>,
        cell: String,
        updates: u64,
    ) -> Arc<Self> {
        let told = Told {
            steps: Curve::default(),
            traces: Curve::default(),
            evaluations: Curve::default(),
            step: 0,
            flossing: None,
            seconds: 0.0,
            started: std::time::Instant::now(),
            ledger: None,
            packed: None,
            paused: false,
            stop: false,
            rate: None,
            ending: None,
            changed: false,
        };
        let (watchers, _) = broadcast::channel(BACKLOG);
        let (told, asked) = (Mutex::new(told), Condvar::new());
        Arc::new(Self { name, facts, vocabulary, cell, updates, told, asked, watchers })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes notice of an event of the training, and waits while it is to pause, unless `interrupted` says that it is to end
    /// anyway.
    pub fn event(&self, event: &Event<'_>, interrupted: &dyn Fn() -> bool) -> Flow {
        let mut told = self.told();
        told.changed = true;
        told.seconds = told.started.elapsed().as_secs_f64();
        match *event {
            Event::Step { step, loss, learning_rate, gradient, .. } => {
                told.step = step;
                told.flossing = None;
                let point = json!([step, self.shown(loss), gradient.before, gradient.after, learning_rate]);
                told.steps.push(point);
            }
            Event::Trace { step, horizon, decay, apart } => {
                told.traces.push(json!([step, horizon, decay]));
                told.ledger = apart.map(|apart| (step, Arc::clone(apart)));
                // What follows at once is the update.
                return Flow::Continue;
            }
            Event::Evaluation { step, loss, .. } => {
                told.evaluations.push(json!([step, self.shown(loss)]));
            }
            Event::Flossing { step, loss, .. } => told.flossing = Some((step, loss)),
        }
        while told.paused && !told.stop && !interrupted() {
            told = self.asked.wait_timeout(told, GLANCE).unwrap_or_else(PoisonError::into_inner).0;
        }
        match told.rate.take() {
            _ if told.stop => Flow::Stop,
            Some(rate) => Flow::LearningRate(rate),
            None => Flow::Continue,
        }
    }

    /// A loss as it is shown: bits of a text, a task's as it is.
    fn shown(&self, loss: f64) -> f64 {
        if self.vocabulary.is_some() { loss / std::f64::consts::LN_2 } else { loss }
    }

    /// Tells the watchers that the training has ended, and how.
    pub fn end(&self, how: String) {
        let mut told = self.told();
        told.ending = Some(how);
        told.changed = true;
    }

    /// Does what a watcher asks.
    pub(crate) fn ask(&self, ask: Ask) -> Result<(), Problem> {
        let mut told = self.told();
        if told.ending.is_some() {
            return Err(Problem::of_request("this training has ended"));
        }
        match ask {
            Ask::Pause => told.paused = true,
            Ask::Resume => told.paused = false,
            Ask::Stop => told.stop = true,
            Ask::LearningRate { value } if value > 0.0 && value.is_finite() => told.rate = Some(value),
            Ask::LearningRate { value } => {
                let words =
                    format!("learning_rate: {value} is not possible; expected a finite number above 0");
                return Err(Problem::of_request(words));
            }
        }
        told.changed = true;
        drop(told);
        self.asked.notify_all();
        Ok(())
    }

    /// Begins to watch: what is known so far, and a line on which all that follows comes.
    pub(crate) fn watch(&self) -> (VecDeque<Message>, broadcast::Receiver<Message>) {
        let receiver = self.watchers.subscribe();
        (self.everything(), receiver)
    }

    /// All that is known so far.
    pub(crate) fn everything(&self) -> VecDeque<Message> {
        let told = self.told();
        let mut whole = status(&told);
        whole["name"] = json!(self.name);
        whole["facts"] = json!(self.facts);
        whole["updates"] = json!(self.updates);
        whole["unit"] = json!(if self.vocabulary.is_some() { "bits a symbol" } else { "loss" });
        whole["steps"] = json!(told.steps.points);
        whole["traces"] = json!(told.traces.points);
        whole["evaluations"] = json!(told.evaluations.points);
        drop(told);
        let mut messages = VecDeque::from([("everything", whole.to_string().into())]);
        messages.extend(self.ledger());
        messages.extend(self.end_message());
        messages
    }

    /// Nothing comes after this; `None` while the training goes on.
    fn end_message(&self) -> Option<Message> {
        self.told().ending.is_some().then(|| (END, "{}".into()))
    }

    /// The newest ledger, put into words once.
    fn ledger(&self) -> Option<Message> {
        let (step, apart) = {
            let told = self.told();
            let (step, apart) = told.ledger.as_ref()?;
            if let Some((packed, words)) = &told.packed
                && packed == step
            {
                return Some(("ledger", Arc::clone(words)));
            }
            (*step, Arc::clone(apart))
        };
        let words: Arc<str> = self.in_words(step, &apart).to_string().into();
        self.told().packed = Some((step, Arc::clone(&words)));
        Some(("ledger", words))
    }

    fn in_words(&self, step: u64, apart: &Apart) -> Value {
        let steps = apart.ledger.steps();
        if steps > MOST_STEPS {
            return json!({ "step": step, "too_long": steps });
        }
        let show = |id: u32| match &self.vocabulary {
            Some(vocabulary) => vocabulary.show(id).into_owned(),
            None => id.to_string(),
        };
        let read = match apart.inputs() {
            Inputs::Symbols(ids) => (0..steps).map(|t| show(ids.step(t)[0])).collect(),
            Inputs::Dense(_) => (0..steps).map(|t| t.to_string()).collect(),
        };
        let targets = match &apart.targets {
            Targets::CrossEntropy(ids) if self.vocabulary.is_some() => {
                Some((0..steps).map(|t| show(ids.step(t)[0])).collect())
            }
            _ => None,
        };
        let subject = Subject {
            name: self.name.clone(),
            cell: self.cell.clone(),
            facts: Vec::new(),
            symbols: read,
            targets,
            losses: None,
            unit: LossUnit::Bits,
            k: steps - 1,
            blocks: Vec::new(),
            saturation: Vec::new(),
            metrics: Vec::new(),
            stages: vec![Stage { step: Some(step), ledger: apart.ledger.clone() }],
        };
        let (title, program) = (String::new(), String::new());
        let report = Report { title, program, reproduce: Vec::new(), subjects: vec![subject] };
        match report::data(&report) {
            Ok((data, numbers)) => json!({ "step": step, "data": data, "numbers": numbers }),
            Err(_) => json!({ "step": step, "too_long": steps }),
        }
    }

    /// Tells watchers what is new, as long as the server is there.
    pub(crate) async fn tell(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut since_ledger = 0;
        let mut last = None;
        loop {
            ticks.tick().await;
            since_ledger += 1;
            // In this order, so that the end is among the news when it is the end.
            let end = self.end_message();
            let news = self.news();
            if let Some(news) = news {
                // If nobody listens, it is still put down for those who come later.
                let _ = self.watchers.send(news);
            }
            let newest = self.told().ledger.as_ref().map(|(step, _)| *step);
            let is_due = since_ledger >= LEDGER_TICKS || end.is_some();
            if self.watchers.receiver_count() > 0 && newest != last && is_due {
                let live = Arc::clone(&self);
                if let Ok(Some(message)) = tokio::task::spawn_blocking(move || live.ledger()).await {
                    let _ = self.watchers.send(message);
                }
                (since_ledger, last) = (0, newest);
            }
            if let Some(end) = end {
                let _ = self.watchers.send(end);
                return;
            }
        }
    }

    /// What is new since it was last asked for.
    fn news(&self) -> Option<Message> {
        let mut told = self.told();
        if !std::mem::take(&mut told.changed) {
            return None;
        }
        let mut news = status(&told);
        news["steps"] = std::mem::take(&mut told.steps.fresh).into();
        news["traces"] = std::mem::take(&mut told.traces.fresh).into();
        news["evaluations"] = std::mem::take(&mut told.evaluations.fresh).into();
        Some(("news", news.to_string().into()))
    }
}

/// How the training stands.
fn status(told: &Told) -> Value {
    let status = if told.ending.is_some() {
        "ended"
    } else if told.stop {
        "stopping"
    } else if told.paused {
        "paused"
    } else if told.flossing.is_some() {
        "flossing"
    } else {
        "training"
    };
    json!({
        "status": status, "ending": told.ending, "step": told.step, "flossing": told.flossing, "seconds": told.seconds,
    })
}
