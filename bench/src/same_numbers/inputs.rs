//! Fixed inputs: a text, and models of other libraries' layouts with arrays to read, drawn from a seed.

use std::error::Error;
use std::path::Path;

use safetensors::{Dtype, serialize_to_file, tensor::TensorView};

use crate::npy::save;

/// The tensors' names and arrangement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `weight_hh_l0` and its like, (G·H, H), two biases.
    PyTorch,
    /// `recurrent_kernel` and its like, (H, G·H), one bias.
    Keras,
}

/// A model with its arrays.
pub struct Model {
    /// The beginning of its files' names.
    pub name: &'static str,
    layout: Layout,
    gates: usize,
    layers: usize,
    bidirectional: bool,
    /// Whether numbers are f64 and not f32.
    double: bool,
    /// The bound of W_hh's uniform numbers, times √H.
    gain: f64,
    batch: usize,
    steps: usize,
}

const fn model(name: &'static str, gates: usize, layers: usize, bidirectional: bool, double: bool) -> Model {
    Model {
        name,
        layout: Layout::PyTorch,
        gates,
        layers,
        bidirectional,
        double,
        gain: 1.0,
        batch: 3,
        steps: 14,
    }
}

/// All models.
pub const MODELS: [Model; 14] = [
    model("rnn", 1, 1, false, true),
    model("rnn-2", 1, 2, true, false),
    model("relu", 1, 2, false, false),
    model("identity", 1, 1, true, true),
    Model { steps: 150, batch: 1, gain: 0.003, ..model("vanishing", 1, 1, false, true) },
    model("lstm", 4, 1, false, true),
    model("lstm-2", 4, 2, false, false),
    model("lstm-both", 4, 2, true, true),
    Model { steps: 120, batch: 1, gain: 0.5, ..model("lstm-long", 4, 1, false, false) },
    model("gru", 3, 1, false, true),
    model("gru-both", 3, 2, true, false),
    model("reset-before", 3, 2, false, true),
    Model { layout: Layout::Keras, ..model("keras-lstm", 4, 1, false, false) },
    Model { layout: Layout::Keras, ..model("keras-gru", 3, 1, false, true) },
];

/// I, of real inputs and of embeddings.
const INPUTS: usize = 5;
/// H.
const HIDDEN: usize = 7;
/// V, of the head and of integers.
const SYMBOLS: usize = 6;

/// Writes everything into `folder`.
pub fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("text.txt"), text())?;
    for (seed, model) in MODELS.iter().enumerate() {
        let mut random = Random(seed as u64);
        write_weights(model, folder, &mut random)?;
        write_arrays(model, folder, &mut random)?;
    }
    Ok(())
}

/// 4,000 words of a vocabulary of 40.
fn text() -> String {
    let mut random = Random(1_000);
    let word = |random: &mut Random| -> String {
        let letter = |random: &mut Random| char::from(b'a' + u8::try_from(random.below(12)).expect("small"));
        (0..2 + random.below(4)).map(|_| letter(random)).collect()
    };
    let words: Vec<String> = (0..40).map(|_| word(&mut random)).collect();
    let line =
        |random: &mut Random| (0..8).map(|_| words[random.below(40)].clone()).collect::<Vec<_>>().join(" ");
    (0..500).map(|_| line(&mut random) + ".\n").collect()
}

fn write_weights(model: &Model, folder: &Path, random: &mut Random) -> Result<(), Box<dyn Error>> {
    let rows = model.gates * HIDDEN;
    let directions = 1 + usize::from(model.bidirectional);
    let bound = model.gain / (HIDDEN as f64).sqrt();
    let mut tensors: Vec<(String, Vec<usize>, Vec<f64>)> = Vec::new();
    let mut add = |name: String, shape: &[usize], bound: f64| {
        tensors.push((name, shape.to_vec(), random.uniform(shape.iter().product(), bound)));
    };
    for layer in 0..model.layers {
        let inputs = if layer == 0 { INPUTS } else { directions * HIDDEN };
        for suffix in ["", "_reverse"].iter().take(directions) {
            let at = format!("_l{layer}{suffix}");
            match model.layout {
                Layout::PyTorch => {
                    add(format!("rnn.weight_ih{at}"), &[rows, inputs], 0.8);
                    add(format!("rnn.weight_hh{at}"), &[rows, HIDDEN], bound);
                    add(format!("rnn.bias_ih{at}"), &[rows], 0.3);
                    add(format!("rnn.bias_hh{at}"), &[rows], 0.3);
                }
                Layout::Keras => {
                    add("cell/kernel".into(), &[inputs, rows], 0.8);
                    add("cell/recurrent_kernel".into(), &[HIDDEN, rows], bound);
                    add("cell/bias".into(), &[rows], 0.3);
                }
            }
        }
    }
    add("head.weight".into(), &[SYMBOLS, directions * HIDDEN], 0.5);
    add("head.bias".into(), &[SYMBOLS], 0.2);
    add("emb.weight".into(), &[SYMBOLS, INPUTS], 1.0);
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, numbers)| bytes(numbers, model.double)).collect();
    let dtype = if model.double { Dtype::F64 } else { Dtype::F32 };
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(dtype, shape.clone(), bytes).expect("as many bytes as the shape takes");
        (name.as_str(), view)
    });
    Ok(serialize_to_file(views, None, &folder.join(model.name).with_extension("safetensors"))?)
}

#[allow(clippy::cast_possible_truncation)] // f32 is what is asked for
fn bytes(numbers: &[f64], double: bool) -> Vec<u8> {
    if double {
        return numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    }
    numbers.iter().flat_map(|&number| (number as f32).to_le_bytes()).collect()
}

fn write_arrays(model: &Model, folder: &Path, random: &mut Random) -> Result<(), Box<dyn Error>> {
    let (b, t, steps) = (model.batch, model.steps, model.batch * model.steps);
    let directions = 1 + usize::from(model.bidirectional);
    let (width, cells) = (directions * HIDDEN, directions * model.layers);
    let file = |name: &str| folder.join(format!("{}.{name}.npy", model.name));
    save(&file("x"), &[b, t, INPUTS], random.uniform(steps * INPUTS, 1.0))?;
    save(&file("ids"), &[b, t], random.integers(steps, SYMBOLS))?;
    save(&file("real-target"), &[b, t, SYMBOLS], random.uniform(steps * SYMBOLS, 1.0))?;
    save(&file("dh"), &[b, t, width], random.uniform(steps * width, 1.0))?;
    save(&file("h0"), &[cells, b, HIDDEN], random.uniform(cells * b * HIDDEN, 1.0))?;
    save(&file("c0"), &[cells, b, HIDDEN], random.uniform(cells * b * HIDDEN, 1.0))?;
    // One target in four is none, as PyTorch writes it.
    let masked = |target: i64| if target < 2 { -100 } else { target - 2 };
    save(&file("target"), &[b, t], random.integers(steps, SYMBOLS + 2).into_iter().map(masked))?;
    save(&file("mask"), &[b, t], random.integers(steps, 3).into_iter().map(|number| number > 0))?;
    save(&file("resets"), &[b, t], random.integers(steps, 5).into_iter().map(|number| number == 0))?;
    let longest = i64::try_from(t)?;
    save(&file("lengths"), &[b], random.integers(b, t / 2).into_iter().map(|number| longest - number))
}

/// SplitMix64 (Steele, Lea, Flood 2014): the inputs must not depend on the code under test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Numbers in [−bound, bound).
    fn uniform(&mut self, count: usize, bound: f64) -> Vec<f64> {
        (0..count).map(|_| bound * ((self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)).collect()
    }

    #[allow(clippy::cast_possible_truncation)] // n is small
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn integers(&mut self, count: usize, n: usize) -> Vec<i64> {
        (0..count).map(|_| i64::try_from(self.below(n)).expect("small")).collect()
    }
}
