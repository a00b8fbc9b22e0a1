//! Names with constants, as they stand in settings and on the command line: cells, tasks, initializers, optimizers, schedules,
//! remedies, layouts.

#![no_main]

use bptt_io::Layout;
use bptt_train::{Config, Init, Keep, Level, OptimizerKind, Schedule};
use libfuzzer_sys::fuzz_target;

/// What is read is written so that it is read again as the same.
macro_rules! comes_back {
    ($kind:ty, $given:expr) => {
        if let Ok(read) = $given.parse::<$kind>() {
            assert_eq!(read.to_string().parse::<$kind>().expect("what is shown is read"), read);
        }
    };
}

fuzz_target!(|given: &str| {
    comes_back!(Init, given);
    comes_back!(OptimizerKind, given);
    comes_back!(Schedule, given);
    comes_back!(Level, given);
    drop(given.parse::<Keep>());
    if let Ok(cell) = bptt::cell_by_name(given) {
        let name = &cell.spec().name;
        assert_eq!(bptt::cell_by_name(name).expect("its own name").spec().name, *name);
    }
    if let Ok(task) = bptt_train::task_by_name(given) {
        let name = task.name();
        assert_eq!(bptt_train::task_by_name(&name).expect("its own name").name(), name);
        let length = task.least_length();
        if task.steps(length) <= 1 << 12 {
            drop(task.example(length, &mut bptt_train::Rng::new(1, 0)));
        }
        let _ = (task.baseline_loss(length), task.lag(length), task.usual_length());
    }
    let (source, gates) = given.split_once(' ').unwrap_or((given, given));
    drop(Layout::new(Some(source), None));
    drop(Layout::new(None, Some(gates)));
    if let Ok(config) = bptt_train::compare::remedied(&Config::default(), given, 50) {
        drop(config.check());
    }
});
