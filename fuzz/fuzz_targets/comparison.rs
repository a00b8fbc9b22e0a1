//! `comparison.json` of a folder of a comparison, and behind a line `----` the file of its first training.

#![no_main]

use bptt_train::compare::{Folder, Plan, Report};
use bptt_train::memory::{Sizes, of_sequence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (comparison, training) = bptt_fuzz::parts(bytes);
    let folder = bptt_fuzz::folder();
    std::fs::write(folder.join("comparison.json"), comparison).expect("a file can be written");
    let trainings = folder.join("trainings");
    std::fs::create_dir_all(&trainings).expect("a folder can be created");
    std::fs::write(trainings.join("none-seed-1.json"), training).expect("a file can be written");
    let Ok(Some((folder, comparison))) = Folder::existing(folder) else { return };
    // As the command does.
    if Sizes::of(&comparison.base, None).map_or(true, |sizes| of_sequence(&sizes) > 1e8) {
        return;
    }
    let Ok(plan) = Plan::new(comparison) else { return };
    let Ok(results) = folder.results(&plan) else { return };
    if let Ok(report) = Report::new(&plan, &results) {
        serde_json::to_string(&report).expect("numbers and names are JSON");
    }
});
