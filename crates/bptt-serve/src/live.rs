//! A running training: events for watchers, and their requests.
//!
//! The thread of the trainer only stores numbers and checks for requests; several times per second the server encodes new
//! numbers once for all watchers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bptt::{Inputs, Targets};
use bptt_train::{BatchLedger, Event, Flow, Vocabulary};
use bptt_view::report::{self, LossUnit, Report, Stage, Subject};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::problem::Problem;

/// The interval of messages to watchers.
const TICK: Duration = Duration::from_millis(250);

/// The smallest number of ticks between ledgers, which are large.
const LEDGER_TICKS: u32 = 3;

/// The largest number of steps of a ledger that is sent.
const MOST_STEPS: usize = 256;

/// Number of points of a curve sent to new watchers; at twice as many, every other point is dropped.
const POINTS: usize = 1_000;

/// Number of pending messages of a slow watcher before everything is sent again.
const BACKLOG: usize = 16;

/// The interval at which a paused training checks for an interruption.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// The last event.
pub(crate) const END: &str = "end";

/// A message to watchers: the name of the event, and its data as JSON.
pub(crate) type Message = (&'static str, Arc<str>);

/// A curve with a limited number of points.
#[derive(Debug, Default)]
struct Curve {
    points: Vec<Value>,
    /// All points since the last tick.
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

/// The state of the training.
#[derive(Debug)]
struct Progress {
    /// \[update, loss, norm, norm after clipping, learning rate\] each.
    steps: Curve,
    /// \[update, horizon, decay\] each.
    traces: Curve,
    /// \[update, loss\] each.
    evaluations: Curve,
    step: u64,
    /// The current update of flossing, before training, and its loss.
    flossing: Option<(u64, f64)>,
    seconds: f64,
    started: std::time::Instant,
    ledger: Option<(u64, Arc<BatchLedger>)>,
    /// The encoded ledger of this update.
    packed: Option<(u64, Arc<str>)>,
    paused: bool,
    stop: bool,
    rate: Option<f64>,
    ending: Option<String>,
    changed: bool,
}

/// A training, shared by its thread and its watchers.
#[derive(Debug)]
pub struct Live {
    name: String,
    facts: Vec<(String, String)>,
    vocabulary: Option<Vocabulary>,
    cell: String,
    updates: u64,
    progress: Mutex<Progress>,
    /// Signals a request.
    asked: Condvar,
    watchers: broadcast::Sender<Message>,
}

/// The requests of watchers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action", deny_unknown_fields)]
pub(crate) enum Request {
    /// Wait after this update.
    Pause,
    /// Continue.
    Resume,
    /// Stop after this update and keep the network.
    Stop,
    /// Continue with this base learning rate.
    LearningRate { value: f64 },
}

impl Live {
    /// A training of `updates` updates in the folder `name`, with its description.
    pub fn new(
        name: String,
        facts: Vec<(String, String)>,
        vocabulary: Option<Vocabulary>,
        cell: String,
        updates: u64,
    ) -> Arc<Self> {
        let progress = Progress {
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
        let (progress, asked) = (Mutex::new(progress), Condvar::new());
        Arc::new(Self { name, facts, vocabulary, cell, updates, progress, asked, watchers })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles an event of the training, and waits while it is paused, unless `interrupted` says that it is to end.
    pub fn event(&self, event: &Event<'_>, interrupted: &dyn Fn() -> bool) -> Flow {
        if let Event::Updated { .. } = event {
            return Flow::Continue;
        }
        let mut progress = self.progress();
        progress.changed = true;
        progress.seconds = progress.started.elapsed().as_secs_f64();
        match *event {
            Event::Step { step, loss, learning_rate, gradient, .. } => {
                progress.step = step;
                progress.flossing = None;
                let point = json!([step, self.shown(loss), gradient.before, gradient.after, learning_rate]);
                progress.steps.push(point);
            }
            Event::Ledger { step, horizon, decay, ledger } => {
                progress.traces.push(json!([step, horizon, decay]));
                progress.ledger = ledger.map(|ledger| (step, Arc::clone(ledger)));
                // The update follows immediately.
                return Flow::Continue;
            }
            Event::Evaluation { step, loss, .. } => {
                progress.evaluations.push(json!([step, self.shown(loss)]));
            }
            Event::Flossing { step, loss, .. } => progress.flossing = Some((step, loss)),
            Event::Updated { .. } => {}
        }
        while progress.paused && !progress.stop && !interrupted() {
            progress =
                self.asked.wait_timeout(progress, INTERRUPT_CHECK).unwrap_or_else(PoisonError::into_inner).0;
        }
        match progress.rate.take() {
            _ if progress.stop => Flow::Stop,
            Some(rate) => Flow::LearningRate(rate),
            None => Flow::Continue,
        }
    }

    /// A loss in its unit: bits for a text.
    fn shown(&self, loss: f64) -> f64 {
        if self.vocabulary.is_some() { loss / std::f64::consts::LN_2 } else { loss }
    }

    /// Sends the end of the training to the watchers.
    pub fn end(&self, how: String) {
        let mut progress = self.progress();
        progress.ending = Some(how);
        progress.changed = true;
    }

    /// Handles a request.
    pub(crate) fn request(&self, request: Request) -> Result<(), Problem> {
        let mut progress = self.progress();
        if progress.ending.is_some() {
            return Err(Problem::of_request("this training has ended"));
        }
        match request {
            Request::Pause => progress.paused = true,
            Request::Resume => progress.paused = false,
            Request::Stop => progress.stop = true,
            Request::LearningRate { value } if value > 0.0 && value.is_finite() => {
                progress.rate = Some(value);
            }
            Request::LearningRate { value } => {
                let words =
                    format!("learning_rate: {value} is not possible; expected a finite number above 0");
                return Err(Problem::of_request(words));
            }
        }
        progress.changed = true;
        drop(progress);
        self.asked.notify_all();
        Ok(())
    }

    /// Subscribes: all messages so far, and a channel of the following ones.
    pub(crate) fn watch(&self) -> (VecDeque<Message>, broadcast::Receiver<Message>) {
        let receiver = self.watchers.subscribe();
        (self.everything(), receiver)
    }

    /// The name of the training, and how far it is.
    pub(crate) fn status(&self) -> Value {
        self.status_of(&self.progress())
    }

    fn status_of(&self, progress: &Progress) -> Value {
        let mut status = status(progress);
        status["name"] = json!(self.name);
        status["updates"] = json!(self.updates);
        status
    }

    /// All messages so far.
    pub(crate) fn everything(&self) -> VecDeque<Message> {
        let progress = self.progress();
        let mut whole = self.status_of(&progress);
        // An end after this is sent with the news.
        let ended = progress.ending.is_some();
        whole["facts"] = json!(self.facts);
        whole["unit"] = json!(if self.vocabulary.is_some() { "bits per symbol" } else { "loss" });
        whole["steps"] = json!(progress.steps.points);
        whole["traces"] = json!(progress.traces.points);
        whole["evaluations"] = json!(progress.evaluations.points);
        drop(progress);
        let mut messages = VecDeque::from([("everything", whole.to_string().into())]);
        messages.extend(self.ledger());
        messages.extend(ended.then(end_message));
        messages
    }

    /// The latest ledger, encoded once.
    fn ledger(&self) -> Option<Message> {
        let (step, ledger) = {
            let progress = self.progress();
            let (step, ledger) = progress.ledger.as_ref()?;
            if let Some((packed, words)) = &progress.packed
                && packed == step
            {
                return Some(("ledger", Arc::clone(words)));
            }
            (*step, Arc::clone(ledger))
        };
        let words: Arc<str> = self.encode(step, &ledger).to_string().into();
        self.progress().packed = Some((step, Arc::clone(&words)));
        Some(("ledger", words))
    }

    fn encode(&self, step: u64, ledger: &BatchLedger) -> Value {
        let steps = ledger.ledger.steps();
        if steps > MOST_STEPS {
            return json!({ "step": step, "too_long": steps });
        }
        let show = |id: u32| match &self.vocabulary {
            Some(vocabulary) => vocabulary.show(id).into_owned(),
            None => id.to_string(),
        };
        let read = match ledger.inputs() {
            Inputs::Symbols(ids) => (0..steps).map(|t| show(ids.step(t)[0])).collect(),
            Inputs::Dense(_) => (0..steps).map(|t| t.to_string()).collect(),
        };
        let targets = match &ledger.targets {
            Targets::CrossEntropy(ids) if self.vocabulary.is_some() => {
                Some((0..steps).map(|t| show(ids.step(t)[0])).collect())
            }
            _ => None,
        };
        let subject = Subject {
            name: self.name.clone(),
            cell: self.cell.clone(),
            facts: Vec::new(),
            verdict: Vec::new(),
            symbols: read,
            targets,
            losses: None,
            unit: LossUnit::Bits,
            k: steps - 1,
            blocks: Vec::new(),
            saturation: Vec::new(),
            metrics: Vec::new(),
            stages: vec![Stage { step: Some(step), ledger: ledger.ledger.clone() }],
        };
        let (title, program) = (String::new(), String::new());
        let report = Report { title, program, reproduce: Vec::new(), subjects: vec![subject] };
        match report::data(&report) {
            Ok((data, numbers)) => json!({ "step": step, "data": data, "numbers": numbers }),
            Err(_) => json!({ "step": step, "too_long": steps }),
        }
    }

    /// Sends new messages to the watchers while the server runs.
    pub(crate) async fn send(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut since_ledger = 0;
        let mut last = None;
        loop {
            ticks.tick().await;
            since_ledger += 1;
            // In this order, so that the news include the end.
            let end = self.progress().ending.is_some().then(end_message);
            let news = self.news();
            if let Some(news) = news {
                // Without watchers it is still stored for later ones.
                let _ = self.watchers.send(news);
            }
            let newest = self.progress().ledger.as_ref().map(|(step, _)| *step);
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

    /// The changes since the last call.
    fn news(&self) -> Option<Message> {
        let mut progress = self.progress();
        if !std::mem::take(&mut progress.changed) {
            return None;
        }
        let mut news = status(&progress);
        news["steps"] = std::mem::take(&mut progress.steps.fresh).into();
        news["traces"] = std::mem::take(&mut progress.traces.fresh).into();
        news["evaluations"] = std::mem::take(&mut progress.evaluations.fresh).into();
        Some(("news", news.to_string().into()))
    }
}

/// The last message.
fn end_message() -> Message {
    (END, "{}".into())
}

/// The status of the training.
fn status(progress: &Progress) -> Value {
    let status = if progress.ending.is_some() {
        "ended"
    } else if progress.stop {
        "stopping"
    } else if progress.paused {
        "paused"
    } else if progress.flossing.is_some() {
        "flossing"
    } else {
        "training"
    };
    json!({
        "status": status, "ending": progress.ending, "step": progress.step, "flossing": progress.flossing, "seconds": progress.seconds,
    })
}
