//! Every task compared with its definition: targets computed from the inputs, and baselines by counting.

use bptt::{Inputs, Sequence, Targets};
use bptt_train::{Batch, Rng, Task, TaskBatch, cue_sentences, task_by_name, tasks};

const BATCH: usize = 200;

/// Many sequences of a task, each as (inputs of each step, targets of each step, has a loss, is judged).
struct Drawn {
    task: Box<dyn Task>,
    all: TaskBatch,
    steps: usize,
}

impl Drawn {
    fn new(name: &str, length: usize) -> Self {
        let task = task_by_name(name).unwrap();
        let all = TaskBatch::draw(&*task, length, BATCH, &mut Rng::new(3, 0)).unwrap();
        let steps = task.steps(length);
        assert_eq!(all.batch.shape(), (steps, BATCH));
        Self { task, all, steps }
    }

    fn symbols(&self, b: usize) -> Vec<usize> {
        let Inputs::Symbols(ids) = &self.all.batch.inputs else { panic!("symbols are read") };
        (0..self.steps).map(|t| ids.step(t)[b] as usize).collect()
    }

    fn numbers(&self, b: usize) -> Vec<&[f32]> {
        let Inputs::Dense(x) = &self.all.batch.inputs else { panic!("numbers are read") };
        (0..self.steps).map(|t| x.at(t, b)).collect()
    }

    fn classes(&self, b: usize) -> Vec<usize> {
        let Targets::CrossEntropy(ids) = &self.all.batch.targets else { panic!("classes are said") };
        (0..self.steps).map(|t| ids.step(t)[b] as usize).collect()
    }

    fn values(&self, b: usize) -> Vec<&[f32]> {
        let Targets::SquaredError(values) = &self.all.batch.targets else { panic!("numbers are said") };
        (0..self.steps).map(|t| values.at(t, b)).collect()
    }

    fn has_loss(&self, t: usize, b: usize) -> bool {
        self.all.batch.mask.as_ref().is_none_or(|mask| mask[t * BATCH + b])
    }

    /// The steps that have a loss and those that are judged, of sequence `b`.
    fn marks(&self, b: usize) -> (Vec<usize>, Vec<usize>) {
        let judged = |&t: &usize| self.all.judged[t * BATCH + b];
        ((0..self.steps).filter(|&t| self.has_loss(t, b)).collect(), (0..self.steps).filter(judged).collect())
    }

    fn only_the_last_counts(&self) {
        let last = vec![self.steps - 1];
        assert!((0..BATCH).all(|b| self.marks(b) == (last.clone(), last.clone())));
    }
}

/// Mean and standard error of the squared distance of numbers from their mean.
fn variance(numbers: &[f64]) -> (f64, f64) {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let squares: Vec<f64> = numbers.iter().map(|x| (x - mean).powi(2)).collect();
    let variance = squares.iter().sum::<f64>() / n;
    let spread = squares.iter().map(|s| (s - variance).powi(2)).sum::<f64>() / n;
    (variance, (spread / n).sqrt())
}

#[test]
fn two_marked_numbers_are_added_or_multiplied() {
    for (name, low) in [("adding", -1.0_f32), ("multiplication", 0.0)] {
        let drawn = Drawn::new(name, 30);
        drawn.only_the_last_counts();
        for b in 0..BATCH {
            let x = drawn.numbers(b);
            let marked: Vec<usize> = (0..30).filter(|&t| x[t][1] == 1.0).collect();
            assert!(marked.len() == 2 && marked[0] < 10 && marked[1] < 14, "{marked:?}");
            let minus: Vec<usize> = (0..30).filter(|&t| x[t][1] == -1.0).collect();
            assert_eq!(minus, if marked[0] == 0 { vec![29] } else { vec![0, 29] });
            assert!(x.iter().all(|x| (low..=1.0).contains(&x[0])));
            let (a, c) = (x[marked[0]][0], x[marked[1]][0]);
            let neutral = if name == "adding" { 0.0 } else { 1.0 };
            assert!(marked[0] != 0 || a == neutral);
            let expected = if name == "adding" { 0.5 + (a + c) / 4.0 } else { a * c };
            assert!((drawn.values(b)[29][0] - expected).abs() < 1e-6);
            let lag = drawn.task.lag(30);
            assert!(marked.iter().all(|&t| lag.contains(&(29 - t))));
        }
    }
}

#[test]
fn the_mean_has_the_baseline_loss() {
    for name in ["adding", "multiplication"] {
        let task = task_by_name(name).unwrap();
        for length in [6, 20, 100] {
            let mut rng = Rng::new(1, 0);
            let targets: Vec<f64> = (0..20)
                .flat_map(|_| {
                    let drawn = TaskBatch::draw(&*task, length, 1000, &mut rng).unwrap();
                    let Targets::SquaredError(values) = &drawn.batch.targets else { unreachable!() };
                    (0..1000).map(|b| f64::from(values.at(length - 1, b)[0])).collect::<Vec<_>>()
                })
                .collect();
            let (found, error) = variance(&targets);
            let expected = task.baseline_loss(length);
            assert!((found - expected).abs() < 4.0 * error, "{name} {length}: {found} {expected} ± {error}");
        }
    }
}

#[test]
fn letters_are_copied_after_the_sign() {
    let drawn = Drawn::new("copy_memory", 7);
    assert_eq!((drawn.steps, drawn.task.lag(7)), (27, 17..=17));
    assert!((drawn.task.baseline_loss(100) - 0.173_286_795_139_986_3).abs() < 1e-15);
    for b in 0..BATCH {
        let (read, said) = (drawn.symbols(b), drawn.classes(b));
        assert!(read[..10].iter().all(|&letter| letter < 8));
        assert_eq!((&read[10..16], read[16], &read[17..]), (&[8; 6][..], 9, &[8; 10][..]));
        assert_eq!((&said[..17], &said[17..]), (&[8; 17][..], &read[..10]));
        assert_eq!(drawn.marks(b), ((0..27).collect(), (17..27).collect()));
    }
}

#[test]
fn the_class_is_the_order_of_x_and_y() {
    let cases = [
        ("temporal_order", 50, vec![5..=10, 25..=30]),
        ("temporal_order_3", 50, vec![5..=10, 16..=21, 33..=38]),
        ("temporal_order_pascanu", 50, vec![5..=9, 25..=29]),
        ("temporal_order", 10, vec![1..=2, 5..=6]),
        ("temporal_order_3", 10, vec![1..=2, 3..=4, 6..=7]),
        ("temporal_order_pascanu", 10, vec![1..=1, 5..=5]),
    ];
    for (name, length, places) in cases {
        let drawn = Drawn::new(name, length);
        drawn.only_the_last_counts();
        let mut seen = vec![0; drawn.task.outputs()];
        for b in 0..BATCH {
            let read = drawn.symbols(b);
            let found: Vec<usize> = (0..length).filter(|&t| [4, 5].contains(&read[t])).collect();
            assert_eq!(found.len(), places.len());
            assert!(found.iter().zip(&places).all(|(t, places)| places.contains(t)), "{name}: {found:?}");
            let lag = drawn.task.lag(length);
            assert!(found.iter().all(|t| lag.contains(&(length - 1 - t))));
            let class = found.iter().fold(0, |class, &t| 2 * class + read[t] - 4);
            assert_eq!(drawn.classes(b)[length - 1], class);
            seen[class] += 1;
            let signs = if name == "temporal_order_pascanu" { [false; 2] } else { [true; 2] };
            assert_eq!([read[0] == 6, read[length - 1] == 7], signs);
        }
        assert!(seen.iter().all(|&count| count > 5), "{seen:?}");
        assert!((drawn.task.baseline_loss(length) - (seen.len() as f64).ln()).abs() < 1e-15);
    }
}

#[test]
fn bits_are_compared_and_counted() {
    let drawn = Drawn::new("delayed_xor:delay=4", 12);
    let mut ones = 0.0;
    for b in 0..BATCH {
        let (x, y) = (drawn.numbers(b), drawn.values(b));
        assert_eq!(drawn.marks(b), ((4..12).collect(), (4..12).collect()));
        for t in 4..12 {
            assert_eq!(y[t][0], (x[t - 2][0] - x[t - 4][0]).abs());
            ones += y[t][0];
        }
    }
    // Of 1,600 the standard deviation is 20: half of them, and so the variance is a quarter.
    assert!((ones - 800.0).abs() < 80.0 && drawn.task.baseline_loss(12) == 0.25, "{ones}");
    assert_eq!((drawn.task.name().as_str(), drawn.task.lag(12)), ("delayed_xor:delay=4", 2..=4));

    let drawn = Drawn::new("parity", 9);
    drawn.only_the_last_counts();
    for b in 0..BATCH {
        assert_eq!(drawn.classes(b)[8], drawn.symbols(b).iter().sum::<usize>() % 2);
    }
}

#[test]
fn the_sign_is_shown_three_times_and_the_rest_is_noise() {
    let drawn = Drawn::new("noisy_latch", 20);
    drawn.only_the_last_counts();
    let mut noise = Vec::new();
    for b in 0..BATCH {
        let x = drawn.numbers(b);
        let sign = if drawn.classes(b)[19] == 1 { 1.0 } else { -1.0 };
        assert!(x[..3].iter().all(|x| x[0] == sign));
        noise.extend(x[3..].iter().map(|x| f64::from(x[0])));
    }
    let (found, error) = variance(&noise);
    assert!((found - 0.2).abs() < 4.0 * error, "{found} ± {error}");
    assert_eq!(drawn.task.lag(20), 17..=19);
}

#[test]
fn flip_flops_hold_the_last_pulse() {
    let drawn = Drawn::new("flip_flop:bits=2,pulse=0.25", 40);
    let (mut pulses, mut loss) = (0.0_f64, 0.0);
    for b in 0..BATCH {
        let (x, y) = (drawn.numbers(b), drawn.values(b));
        for channel in 0..2 {
            let mut held = 0.0;
            for t in 0..40 {
                let pulse = x[t][channel];
                if pulse == 0.0 {
                    // The best guess is 0.
                    loss += f64::from(y[t][channel]).powi(2);
                } else {
                    held = pulse;
                    pulses += 1.0;
                }
                assert!(y[t][channel] == held && held.abs() == 1.0);
            }
        }
    }
    let (steps, expected): (f64, f64) = (200.0 * 40.0, 400.0 * (1.0 + 39.0 / 4.0));
    assert!((pulses - expected).abs() < 5.0 * (400.0_f64 * 39.0 * 0.1875).sqrt(), "{pulses} {expected}");
    let baseline = drawn.task.baseline_loss(40);
    assert!((loss / steps / baseline - 1.0).abs() < 0.03, "{} {baseline}", loss / steps);
    assert_eq!(drawn.task.lag(40), 1..=4);
}

/// Every inner string of the Reber grammar of `length` symbols, with its probability.
fn reber_strings(length: usize) -> Vec<(String, f64)> {
    let edges = |state: char| match state {
        '0' => vec![('B', '1')],
        '1' => vec![('T', '2'), ('P', '3')],
        '2' => vec![('S', '2'), ('X', '4')],
        '3' => vec![('T', '3'), ('V', '5')],
        '4' => vec![('X', '3'), ('S', '6')],
        '5' => vec![('P', '4'), ('V', '6')],
        '6' => vec![('E', '7')],
        _ => vec![],
    };
    let mut open = vec![(String::new(), '0', 1.0)];
    for _ in 0..length {
        let next = |(string, state, p): &(String, char, f64)| -> Vec<_> {
            let edges = edges(*state);
            let each = p / edges.len() as f64;
            edges.iter().map(|&(symbol, to)| (format!("{string}{symbol}"), to, each)).collect()
        };
        open = open.iter().flat_map(next).collect();
    }
    open.into_iter().filter(|(_, state, _)| *state == '7').map(|(string, _, p)| (string, p)).collect()
}

#[test]
fn strings_follow_the_grammar_and_the_baseline_is_their_entropy() {
    for length in [9, 10, 11, 14] {
        let drawn = Drawn::new("reber", length);
        let strings = reber_strings(length - 4);
        let all: f64 = strings.iter().map(|(_, p)| p).sum();
        let mut counts = vec![0.0; strings.len()];
        for b in 0..BATCH {
            let (read, said) = (drawn.symbols(b), drawn.classes(b));
            assert_eq!(read[1..], said[..length - 2]);
            let ids = read.iter().chain(said.last());
            let string: String = ids.map(|&id| ['B', 'T', 'P', 'S', 'X', 'V', 'E'][id]).collect();
            let ends = [&string[..2], &string[length - 2..]].concat();
            assert!(["BTTE", "BPPE"].contains(&ends.as_str()), "{string}");
            let place = strings.iter().position(|(inner, _)| *inner == string[2..length - 2]);
            counts[place.unwrap_or_else(|| panic!("{string} is not of the grammar"))] += 1.0;
            assert_eq!(drawn.marks(b), ((0..length - 1).collect(), vec![length - 3]));
        }
        let mut entropy = 0.0;
        for ((string, p), count) in strings.iter().zip(counts) {
            let p = p / all;
            let (expected, deviation) = (200.0 * p, (200.0 * p * (1.0 - p)).sqrt());
            assert!((count - expected).abs() <= 4.5 * deviation.max(0.5), "{string}: {count} of {expected}");
            entropy -= p * p.ln();
        }
        let expected = (entropy + 2.0 * 2.0_f64.ln()) / (length - 1) as f64;
        assert!((drawn.task.baseline_loss(length) - expected).abs() < 1e-12);
        assert_eq!(drawn.task.lag(length), length - 4..=length - 4);
    }
}

#[test]
fn the_cue_determines_the_effect() {
    let words = cue_sentences::words();
    let texts = cue_sentences::generate(8, 3_000).1;
    assert!(texts.iter().flat_map(|s| &s.symbols).all(|word| words.contains(&word.as_str())));
    let drawn = Drawn::new("cue_sentences", 40);
    let mut lags = Vec::new();
    for b in 0..BATCH {
        let (read, said) = (drawn.symbols(b), drawn.classes(b));
        let (losses, judged) = drawn.marks(b);
        assert!(losses == judged && !losses.is_empty());
        for t in losses {
            let (cue, effect) = cue_sentences::PAIRS[said[t]];
            let came = (0..=t).rev().find(|&s| words[read[s]] == cue).unwrap();
            lags.push(t - came);
            assert!(t + 1 == 40 || words[read[t + 1]] == effect);
        }
    }
    assert!(lags.iter().min() == Some(&7) && lags.iter().max() == Some(&15), "{lags:?}");
    assert_eq!(drawn.task.lag(40), 7..=15);
}

#[test]
fn sequences_depend_on_the_seed_only() {
    for task in tasks() {
        let length = task.usual_length();
        let draw = |batch: usize, seed: u64| {
            let mut rng = Rng::new(seed, 0);
            let mut drawn = || TaskBatch::draw(&*task, length, batch, &mut rng).unwrap().batch;
            (drawn(), drawn())
        };
        let (first, second) = draw(2, 1);
        let (both, _) = draw(4, 1);
        assert_eq!((both.sequences(0..2), both.sequences(2..4)), (first.clone(), second), "{}", task.name());
        assert_ne!(draw(2, 2).0, first);
        assert_eq!(task_by_name(&task.name()).unwrap().name(), task.name());
        let short = TaskBatch::draw(&*task, task.least_length() - 1, 2, &mut Rng::new(1, 0));
        assert!(short.unwrap_err().to_string().contains("length"));
        TaskBatch::draw(&*task, task.least_length(), 2, &mut Rng::new(1, 0)).unwrap();
    }
}

#[test]
fn a_sequence_is_solved_if_all_judged_outputs_are_correct() {
    // The correct outputs as scores and as numbers, and the same with an error in one sequence.
    for (name, length) in [("copy_memory", 3), ("adding", 8), ("flip_flop", 5), ("reber", 9)] {
        let task = task_by_name(name).unwrap();
        let drawn = TaskBatch::draw(&*task, length, 4, &mut Rng::new(1, 0)).unwrap();
        let (steps, batch) = drawn.batch.shape();
        let mut y = Sequence::zeros(steps, batch, task.outputs());
        for t in 0..steps {
            for b in 0..batch {
                match &drawn.batch.targets {
                    Targets::CrossEntropy(ids) => y.at_mut(t, b)[ids.step(t)[b] as usize] = 1.0,
                    Targets::SquaredError(values) => {
                        let near = |(y, value): (&mut f32, &f32)| *y = value + 0.039;
                        y.at_mut(t, b).iter_mut().zip(values.at(t, b)).for_each(near);
                    }
                }
            }
        }
        assert_eq!(drawn.solved(&*task, &y), 4, "{name}");
        let t = (0..steps).find(|t| drawn.judged[t * batch + 2]).unwrap();
        y.at_mut(t, 2).iter_mut().for_each(|y| *y = 1.0 - *y);
        assert_eq!(drawn.solved(&*task, &y), 3, "{name}");
        let unjudged = (0..steps).find(|t| !drawn.judged[t * batch + 1]);
        if let Some(t) = unjudged {
            y.at_mut(t, 1).fill(9.0);
            assert_eq!(drawn.solved(&*task, &y), 3, "{name}");
        }
        // A tie is not correct.
        if let Targets::CrossEntropy(_) = drawn.batch.targets {
            y.data_mut().fill(0.0);
            assert_eq!(drawn.solved(&*task, &y), 0);
        }
    }
}

#[test]
fn a_batch_of_a_task_has_a_loss_where_it_says() {
    let task = task_by_name("adding").unwrap();
    let Batch { mask, .. } = TaskBatch::draw(&*task, 6, 2, &mut Rng::new(1, 0)).unwrap().batch;
    assert_eq!(mask.unwrap(), (0..12).map(|i| i >= 10).collect::<Vec<_>>());
}
