//! Verdicts of runs: computed one at a time, and kept while the files of the run stay the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Judge;
use crate::problem::Problem;
use crate::runs::modified;

/// When the files of a run were modified.
type Stamp = [Option<SystemTime>; 5];

/// The verdicts so far, by the folder of the run.
#[derive(Debug)]
pub(crate) struct Verdicts {
    judge: Judge,
    known: Mutex<HashMap<PathBuf, (Stamp, Value)>>,
    turns: Arc<Semaphore>,
}

impl Verdicts {
    pub fn new(judge: Judge) -> Self {
        Self { judge, known: Mutex::default(), turns: Arc::new(Semaphore::new(1)) }
    }

    /// Waits until no other verdict is computed.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// The verdict of the run in `folder` if it has been computed since its files changed.
    pub fn known(&self, folder: &Path) -> Option<Value> {
        let known = self.all();
        let (stamp, verdict) = known.get(folder)?;
        (*stamp == modified(folder)).then(|| verdict.clone())
    }

    /// The verdict of the run in `folder`, computed if it is not known.
    pub fn of(&self, folder: &Path) -> Result<Value, Problem> {
        if let Some(known) = self.known(folder) {
            return Ok(known);
        }
        // Files that change from now on make the verdict invalid.
        let stamp = modified(folder);
        let verdict = (self.judge)(folder).map_err(Problem::of_request)?;
        let verdict = json!({ "kind": verdict.kind, "sentence": verdict.in_sentences().first() });
        self.all().insert(folder.to_owned(), (stamp, verdict.clone()));
        Ok(verdict)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<PathBuf, (Stamp, Value)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bptt_train::diagnose::{Evidence, diagnose};
    use bptt_train::run;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    static JUDGED: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn a_verdict_is_computed_again_when_a_file_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let [model, ..] = run::paths(folder.path());
        let write = |age| {
            let file = std::fs::File::create(&model).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age)).unwrap();
        };
        let verdicts = Verdicts::new(|_| {
            JUDGED.fetch_add(1, Ordering::Relaxed);
            Ok(diagnose(&Evidence::default()))
        });
        write(1);
        assert_eq!(verdicts.known(folder.path()), None);
        let first = verdicts.of(folder.path()).unwrap();
        assert_eq!(
            (verdicts.of(folder.path()).unwrap(), verdicts.known(folder.path())),
            (first.clone(), Some(first))
        );
        assert_eq!(JUDGED.load(Ordering::Relaxed), 1);
        write(2);
        assert_eq!(verdicts.known(folder.path()), None);
        verdicts.of(folder.path()).unwrap();
        assert_eq!(JUDGED.load(Ordering::Relaxed), 2);
    }
}
