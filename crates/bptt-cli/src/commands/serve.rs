//! `bptt serve`: the page, alone or during a training.

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bptt_serve::{Limits, Live, Options, Server};
use bptt_train::diagnose::Verdict;
use bptt_train::{Config, Event, Flow, Observer, run as runs};
use bptt_view::report::Report;

use super::diagnose;
use super::report::{self, Source, facts};
use crate::Failure;
use crate::args::{PageOptions, ServeArgs};
use crate::progress::{interrupted, wait_for_ctrl_c};

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    if let Some(missing) = args.runs.iter().find(|runs| !runs.is_dir())
        && args.runs != [PathBuf::from("runs")]
    {
        return Err(Failure::Usage(format!(
            "{} is not a folder; expected a run, or a folder that contains runs",
            missing.display()
        )));
    }
    let server = Server::start(options(&args.page, args.runs.clone()), None)?;
    eprintln!("page: {}  (Ctrl-C stops it)", server.url());
    if args.open {
        report::open_address(server.url());
    }
    server.wait();
    Ok(())
}

fn options(page: &PageOptions, runs: Vec<PathBuf>) -> Options {
    Options {
        runs,
        host: page.host.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        port: page.port,
        token: page.token.clone(),
        make_report,
        judge,
        limits: Limits::default(),
    }
}

/// The report of a run on a text, or on a number of steps of its held-out data.
fn make_report(
    folder: &Path,
    text: Option<&str>,
    steps: Option<usize>,
    gone: &dyn Fn() -> bool,
) -> Result<Report, String> {
    let subject = report::explored(folder, text, steps, gone).map_err(|failure| failure.to_string())?;
    let config = runs::read_config(&folder.join(runs::CONFIG)).map_err(|error| error.to_string())?;
    let reproduce = vec![facts::train_command(&config, folder)];
    let title = format!("Ledger of the network of {}", subject.name);
    Ok(Report { title, program: facts::program(), reproduce, subjects: vec![subject] })
}

/// The verdict that `bptt diagnose` prints.
fn judge(folder: &Path) -> Result<Verdict, String> {
    diagnose::verdict_of_run(folder).map_err(|failure| failure.to_string())
}

/// The time for the last events to be sent after the end of the training.
const GRACE: Duration = Duration::from_millis(600);

/// The time for pending answers when Ctrl-C is pressed.
const AT_ONCE: Duration = Duration::from_millis(50);

/// The page of a training.
pub(crate) struct Page {
    live: Arc<Live>,
    server: Server,
    /// How the training ended.
    ending: String,
}

impl Page {
    /// Starts the page for the training into `folder`, with the other runs in the same folder.
    pub(super) fn start(
        options: &PageOptions,
        config: &Config,
        source: Source<'_>,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let facts = facts::of_run(config, source, None, &[]);
        let vocabulary = match source {
            Source::Text(vocabulary) => Some(vocabulary.clone()),
            Source::Task(_) => None,
        };
        let name = report::name_of(folder);
        let live = Live::new(name, facts, vocabulary, config.cell.clone(), config.steps);
        let beside = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let runs = vec![beside.unwrap_or(Path::new(".")).to_owned()];
        let server = Server::start(self::options(options, runs), Some(Arc::clone(&live)))?;
        let lines = if std::io::stderr().is_terminal() { "\n" } else { "" };
        eprintln!("training page: {}{lines}", server.url());
        Ok(Self { live, server, ending: String::new() })
    }

    /// Shows how the training ended.
    pub fn show_end(&mut self, how: String) {
        self.ending.clone_from(&how);
        self.live.end(how);
    }

    /// Stops the server; if it `stays`, when Ctrl-C is pressed. The page of a training that Ctrl-C ended does not stay.
    pub fn end(self, stays: bool) {
        if !stays || interrupted() {
            return self.server.stop(GRACE);
        }
        let Self { server, ending, .. } = self;
        eprintln!("the training has ended ({ending}); its page stays at {} (Ctrl-C ends it)", server.url());
        wait_for_ctrl_c();
        eprintln!("Ctrl-C: the page has ended");
        server.stop(AT_ONCE);
    }
}

impl Observer for Page {
    fn event(&mut self, event: &Event<'_>) -> Flow {
        self.live.event(event, &interrupted)
    }
}
