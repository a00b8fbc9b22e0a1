//! Trainings whose disk is full or read-only, or whose folder goes away.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bptt_io::model;
use bptt_train::run;
use common::{bptt, refusal, stdout};

const TRAIN: &str =
    "train --task adding --length 8 --cell gru --hidden 8 --batch 4 --trace-every 500 --no-report --quiet";

fn arguments(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A small disk in memory, while this lives.
struct Small {
    at: tempfile::TempDir,
}

impl Small {
    /// Of so many kB; nothing, with the reason on stdout, where that is not allowed.
    fn new(size: u32) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let options = format!("size={size}k");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at.path()).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self { at }),
            Ok(output) => {
                println!(
                    "skipped: no disk can be mounted here: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(error) => {
                println!("skipped: there is no mount command here: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    fn remount(&self, how: &str) {
        let mount = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path()).status();
        assert!(mount.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// The network that an error says is kept.
fn kept(error: &str, folder: &Path) -> PathBuf {
    let (_, rest) = error.split_once("is kept in ").unwrap_or_else(|| panic!("{error}"));
    let path = folder.join(rest.split(';').next().unwrap().trim());
    model::load(&path).unwrap();
    path
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

#[test]
fn a_full_disk_ends_a_training_that_goes_on_where_there_is_space() {
    // The metrics fill the first, the first checkpoints the second, the settings the third.
    for (size, begun) in [(200, true), (28, true), (4, false)] {
        let Some(disk) = Small::new(size) else { return };
        let elsewhere = tempfile::tempdir().unwrap();
        let line = format!("{TRAIN} --steps 1200 --checkpoint-every 100");
        let (code, error) = refusal(&bptt(disk.path(), &arguments(&format!("{line} --out run"))));
        println!("{size} kB: {error}");
        assert!(code == 1 && error.contains("No space left on device"), "{error}");
        assert!(!error.contains("panicked"), "{error}");
        let run = disk.path().join("run");
        assert_eq!(run::exists(&run), begun, "{error}");
        if !begun {
            continue;
        }
        let network = kept(&error, disk.path());
        if !network.starts_with(disk.path()) {
            fs::remove_file(&network).unwrap();
        }
        copy(&run, &elsewhere.path().join("run"));
        stdout(&bptt(elsewhere.path(), &["verify", "run"]));
        stdout(&bptt(elsewhere.path(), &arguments("train --no-report --quiet --resume run")));
        stdout(&bptt(elsewhere.path(), &arguments(&format!("{line} --out whole"))));
        let network = |name: &str| fs::read(elsewhere.path().join(name).join("model.safetensors")).unwrap();
        assert!(network("run") == network("whole"));
        stdout(&bptt(elsewhere.path(), &["verify", "run"]));
    }
}

#[test]
fn a_read_only_disk_is_named_and_read() {
    let Some(disk) = Small::new(400) else { return };
    let line = format!("{TRAIN} --checkpoint-every 20");
    stdout(&bptt(disk.path(), &arguments(&format!("{line} --steps 60 --out run"))));
    // Stopped by a full disk.
    let mut child = spawn(disk.path(), &format!("{line} --steps 100000 --out full"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    disk.remount("ro");
    for line in [format!("{line} --out new"), "train --no-report --resume full".to_owned()] {
        let (code, error) = refusal(&bptt(disk.path(), &arguments(&line)));
        assert!(code == 1 && error.contains("Read-only file system"), "{error}");
    }
    for line in ["verify run", "verify full", "trace run --json", "diagnose full --json"] {
        stdout(&bptt(disk.path(), &arguments(line)));
    }
    disk.remount("rw");
}

fn spawn(folder: &Path, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bptt"))
        .args(arguments(line))
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A training in `folder` after its first checkpoint.
fn training(folder: &Path) -> Child {
    let line = "train --task adding --length 8 --cell gru --hidden 8 --batch 4 --steps 100000000 --trace-every 0 --no-report \
                --checkpoint-every 10 --out run";
    let child = spawn(folder, line);
    while !run::checkpoints::exist(&folder.join("run")) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn ended(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

#[test]
fn a_folder_that_goes_away_ends_the_training_and_the_network_is_kept() {
    for change in ["removed", "renamed", "replaced"] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let child = training(folder);
        match change {
            // Files may be added while it is removed.
            "removed" => while fs::remove_dir_all(folder.join("run")).is_err() {},
            _ => fs::rename(folder.join("run"), folder.join("moved")).unwrap(),
        }
        if change == "replaced" {
            let line = "train --task parity --length 3 --hidden 3 --steps 3 --no-report --quiet --out other";
            stdout(&bptt(folder, &arguments(line)));
            fs::rename(folder.join("other"), folder.join("run")).unwrap();
        }
        let (code, error) = refusal(&ended(child));
        println!("{change}: {error}");
        assert!(code == 1 && error.contains("it was removed, renamed or replaced"), "{change}: {error}");
        let network = kept(&error, folder);
        assert!(!network.starts_with(folder), "{error}");
        fs::remove_file(network).unwrap();
        match change {
            "removed" | "renamed" => assert!(!folder.join("run").exists()),
            _ => drop(stdout(&bptt(folder, &["verify", "run"]))),
        }
        if change != "removed" {
            stdout(&bptt(folder, &["verify", "moved"]));
            let child = spawn(folder, "train --no-report --checkpoint-every 10 --resume moved");
            let step = || newest(&folder.join("moved"));
            let before = step();
            while step() <= before {
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
            assert_eq!(ended(child).status.code(), Some(130));
        }
    }
}

/// The updates of the newest checkpoint, by its name.
fn newest(run: &Path) -> u64 {
    let names = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let step = |path: PathBuf| path.file_stem()?.to_str()?.parse().ok();
    names
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .filter_map(step)
        .max()
        .unwrap()
}
