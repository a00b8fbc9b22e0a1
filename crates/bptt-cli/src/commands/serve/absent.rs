//! `bptt serve` and `train --serve` in a command that was built without the page: both are refused.

use std::path::Path;

use bptt_train::{Config, Event, Flow, Observer};

use super::report::Source;
use crate::Failure;
use crate::args::{PageOptions, ServeArgs};

pub(crate) fn run(_: &ServeArgs) -> Result<(), Failure> {
    Err(Failure::built_without("serve", "bptt serve", ""))
}

/// The page of a training, of which there is none.
pub(crate) enum Page {}

impl Page {
    pub(super) fn start(_: &PageOptions, _: &Config, _: Source<'_>, _: &Path) -> Result<Self, Failure> {
        Err(Failure::built_without("serve", "--serve", ""))
    }

    pub fn show_end(&mut self, _: String) {
        match *self {}
    }

    pub fn end(self, _: bool) {
        match self {}
    }
}

impl Observer for Page {
    fn event(&mut self, _: &Event<'_>) -> Flow {
        match *self {}
    }
}
