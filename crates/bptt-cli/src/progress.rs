//! Progress of a training on the terminal, its metrics file, and Ctrl-C.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bptt::Control;
use bptt_io::files;
use bptt_train::run::Writer;
use bptt_train::run::metrics::{Log, Written};
use bptt_train::{Config, Event, Flow, Observer, task_by_name};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::Failure;

/// Nats to bits.
pub(crate) fn bits(nats: f64) -> f64 {
    nats / std::f64::consts::LN_2
}

/// The exit code that belongs to the first signal, 0 before it.
static SIGNALLED: AtomicU8 = AtomicU8::new(0);

/// Of Ctrl-C and of SIGTERM: 128 + the number of the signal.
const INTERRUPT: u8 = 130;
#[cfg(unix)]
const TERMINATE: u8 = 143;

/// Within this time after the first signal there is no second one.
#[cfg(unix)]
const TWICE: Duration = Duration::from_millis(300);

/// The first signal is a request to stop; the second one ends the process, without half a file.
fn signalled(code: u8) {
    if SIGNALLED.swap(code, Ordering::Relaxed) != 0 {
        files::abandon();
        std::process::exit(code.into());
    }
}

/// Makes the first Ctrl-C or SIGTERM a request to stop; a second one ends the process at once.
pub(crate) fn stop_on_signals() -> Result<(), Failure> {
    listen().map_err(|error| Failure::Other(format!("cannot listen to signals: {error}")))
}

#[cfg(unix)]
fn listen() -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            // Some senders signal a process and its group: one signal, delivered twice.
            if first.is_some_and(|first| first.elapsed() < TWICE) {
                continue;
            }
            first.get_or_insert_with(Instant::now);
            signalled(if signal == SIGTERM { TERMINATE } else { INTERRUPT });
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn listen() -> io::Result<()> {
    ctrlc::set_handler(|| signalled(INTERRUPT)).map_err(io::Error::other)
}

/// The exit code that belongs to a signal since [`stop_on_signals`].
pub(crate) fn signal() -> Option<u8> {
    Some(SIGNALLED.load(Ordering::Relaxed)).filter(|&code| code != 0)
}

/// Whether there was one.
pub(crate) fn interrupted() -> bool {
    signal().is_some()
}

/// Returns when Ctrl-C is pressed.
#[cfg(feature = "serve")]
pub(crate) fn wait_for_ctrl_c() {
    while !interrupted() {
        thread::sleep(TURN);
    }
}

/// How long a computation takes before a bar is drawn.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is drawn.
const TURN: Duration = Duration::from_millis(100);

static QUIET: AtomicBool = AtomicBool::new(false);

/// Draws no bars from now on.
pub(crate) fn without_bars() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Runs `compute`; if it takes long, a bar on a terminal shows which part of `what` is done.
pub(crate) fn with_bar<R>(what: &'static str, compute: impl FnOnce(&Control) -> R) -> R {
    let control = Control::default();
    let seen = &control;
    let (running, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            // The other end is dropped when the computation ends, also by a panic.
            let lasts = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if QUIET.load(Ordering::Relaxed) || !lasts(PATIENCE) {
                return;
            }
            let bar = ProgressBar::new(100);
            let style = ProgressStyle::with_template("{bar:24} {pos} % {msg}, {eta} left");
            bar.set_style(style.expect("the template is well-formed"));
            bar.set_message(what);
            while lasts(TURN) {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a percentage
                bar.set_position((100.0 * seen.progress().unwrap_or(0.0)) as u64);
            }
            bar.finish_and_clear();
        });
        let result = compute(seen);
        drop(running);
        result
    })
}

/// The unit in which losses are shown.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Bits per symbol, for texts.
    Bits,
    /// The unit of the loss, next to the loss of a model without memory, for tasks.
    Loss {
        /// The loss of a model without memory.
        baseline: f64,
    },
}

impl Unit {
    /// The unit for these settings.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        let Some(name) = &config.task else { return Ok(Self::Bits) };
        let task = task_by_name(name)?;
        let length = config.length_of(&*task);
        Ok(Self::Loss { baseline: task.baseline_loss(length) })
    }

    /// The key of a loss in this unit, and its value.
    pub fn named(self, name: &str, loss: f64) -> (String, f64) {
        match self {
            Self::Bits => (format!("{name}_bits"), bits(loss)),
            Self::Loss { .. } if name.ends_with("loss") => (name.into(), loss),
            Self::Loss { .. } => (format!("{name}_loss"), loss),
        }
    }
}

/// Draws a progress bar and writes metrics.
pub(crate) struct Watch {
    bar: ProgressBar,
    unit: Unit,
    metrics: Log,
    start: Instant,
    /// Seconds before the start, of a training that is continued.
    before: f64,
    horizon: Option<usize>,
    loss: f64,
    /// When the last line of a log was written; `None` if there is a bar, or nothing is to be said.
    logged: Option<Instant>,
    name: String,
}

/// How often a line is written where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

impl Watch {
    /// For a training of `steps` updates, named `name` if there are several. The first `kept` bytes of the metrics stay.
    pub fn new(
        name: &str,
        writer: &Writer,
        kept: u64,
        steps: u64,
        unit: Unit,
        quiet: bool,
    ) -> Result<Self, Failure> {
        let (metrics, last) = writer.metrics(kept)?;
        let before = last.and_then(|last| last["seconds"].as_f64()).unwrap_or(0.0);
        // indicatif itself is silent where stderr is no terminal.
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let style = "{prefix}{bar:24} {pos}/{len} updates  {msg}  {per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
        if !name.is_empty() {
            bar.set_prefix(format!("{name}  "));
        }
        Ok(Self {
            bar,
            unit,
            metrics,
            start: Instant::now(),
            before,
            horizon: None,
            loss: f64::NAN,
            logged: (!quiet && !io::stderr().is_terminal()).then(Instant::now),
            name: name.to_owned(),
        })
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// Writes all lines to the disk.
    ///
    /// # Errors
    /// If one cannot be written, now or before.
    pub fn written(&mut self) -> Result<Written, Failure> {
        Ok(self.metrics.written()?)
    }

    /// Adds a line to the metrics.
    pub fn write(&mut self, line: &serde_json::Value) {
        self.metrics.add(line);
    }

    /// Ends the bar and the file.
    ///
    /// # Errors
    /// If a line could not be written.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        self.written().map(drop)
    }
}

impl Observer for Watch {
    fn event(&mut self, event: &Event<'_>) -> Flow {
        let seconds = self.seconds();
        match *event {
            Event::Step { step, loss, learning_rate, gradient, update_ratio, symbols, .. } => {
                let mut line = json!({
                    "event": "step", "step": step, "learning_rate": learning_rate,
                    "gradient_norm": gradient.before, "gradient_norm_clipped": gradient.after,
                    "symbols": symbols, "seconds": seconds,
                });
                let (name, shown) = self.unit.named("loss", loss);
                line[name] = json!(shown);
                if let Some(ratio) = update_ratio {
                    line["update_ratio"] = json!(ratio);
                }
                self.write(&line);
                // The shown loss is an exponential moving average.
                self.loss = if self.loss.is_nan() { loss } else { 0.98 * self.loss + 0.02 * loss };
                let horizon = self.horizon.map(|lag| format!("  horizon {lag}")).unwrap_or_default();
                let rate = symbols as f64 / seconds.max(1e-9);
                self.bar.set_position(step);
                let loss = match self.unit {
                    Unit::Bits => format!("{:.3} bits  {:.0}k symbols/s", bits(self.loss), rate / 1e3),
                    Unit::Loss { baseline } => format!("loss {:.4} (baseline {baseline:.4})", self.loss),
                };
                if self.logged.is_some_and(|last| last.elapsed() >= LOG_EVERY) {
                    self.logged = Some(Instant::now());
                    let (of, name) = (self.bar.length().unwrap_or(0), &self.name);
                    let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
                    eprintln!("{name}{step} of {of} updates, {loss}{horizon}, {seconds:.0} s");
                }
                self.bar.set_message(format!("{loss}{horizon}"));
            }
            Event::Flossing { step, loss, exponents } => {
                self.write(&json!({
                    "event": "flossing", "step": step, "loss": loss, "exponents": exponents, "seconds": seconds,
                }));
                self.bar.set_message(format!("flossing {step}: mean λ² {loss:.5}"));
            }
            Event::Ledger { step, horizon, decay, .. } => {
                self.write(&json!({
                    "event": "trace", "step": step, "horizon": horizon, "decay_per_step": decay, "seconds": seconds,
                }));
                self.horizon = horizon;
            }
            Event::Evaluation { step, loss, solved } => {
                let mut line = json!({ "event": "evaluation", "step": step, "seconds": seconds });
                let (name, shown) = self.unit.named("held_out", loss);
                line[name] = json!(shown);
                if let Some(solved) = solved {
                    line["solved"] = json!(solved);
                }
                self.write(&line);
            }
            // Whether it is to stop was asked after the update.
            Event::Updated { .. } => return Flow::Continue,
        }
        if self.metrics.has_failed() || interrupted() { Flow::Stop } else { Flow::Continue }
    }
}
