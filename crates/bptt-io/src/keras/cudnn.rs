//! Weights that Keras 2 kept in CuDNN's arrangement, CuDNNLSTM and CuDNNGRU, as those of LSTM and GRU.
//!
//! Source: `_convert_rnn_weights` in keras/engine/saving.py of Keras 2.2.4. Their gates have Keras' order, each gate's block of the
//! kernel is (H, I), written as if it were (I, H), each block of the recurrent kernel is transposed, and the bias has both
//! sides' one behind the other, (2·G·H,).

use std::collections::BTreeMap;

use crate::tensor::{Dtype, Tensor};

/// Rearranges the weights of each layer whose bias has CuDNN's shape. The result has for each recurrent kernel of one a sentence
/// that says so.
pub(crate) fn rearrange(tensors: &mut BTreeMap<String, Tensor>) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    let biases: Vec<String> = tensors.keys().filter(|name| names(name).is_some()).cloned().collect();
    for bias in biases {
        let Some([kernel, recurrent]) = names(&bias) else { continue };
        let of = |name: &str| tensors.get(name);
        let made = of(&kernel).zip(of(&recurrent)).zip(of(&bias));
        let Some(made) = made.and_then(|((kernel, recurrent), bias)| layer(kernel, recurrent, bias)) else {
            continue;
        };
        said.insert(
            recurrent.clone(),
            format!("{kernel}, {recurrent} and {bias} are in CuDNN's arrangement and read as Keras does"),
        );
        tensors.extend(made.into_iter().map(|tensor| (tensor.name.clone(), tensor)));
    }
    said
}

/// The names of both kernels, if `bias` is called as theirs would be.
fn names(bias: &str) -> Option<[String; 2]> {
    let (name, suffix) = bias.strip_suffix(":0").map_or((bias, ""), |name| (name, ":0"));
    let prefix = name.strip_suffix("bias")?;
    Some(["kernel", "recurrent_kernel"].map(|kernel| format!("{prefix}{kernel}{suffix}")))
}

/// The three tensors in the arrangement of LSTM and GRU, if they are in CuDNN's.
fn layer(kernel: &Tensor, recurrent: &Tensor, bias: &Tensor) -> Option<[Tensor; 3]> {
    let (&[inputs, columns], &[hidden, rows], &[both]) =
        (kernel.shape.as_slice(), recurrent.shape.as_slice(), bias.shape.as_slice())
    else {
        return None;
    };
    let gates = columns.checked_div(hidden).filter(|gates| [3, 4].contains(gates))?;
    if columns != gates * hidden || rows != columns || both != 2 * columns || inputs == 0 {
        return None;
    }
    let (w, u, b) = (kernel.floats()?, recurrent.floats()?, bias.floats()?);
    // Entry (i, h) of a gate's block of the kernel is number h·I + i of the block's, row by row.
    let of_kernel = |i: usize, column: usize| {
        let (gate, place) = (column / hidden, column % hidden * inputs + i);
        w[place / hidden * columns + gate * hidden + place % hidden]
    };
    let of_recurrent = |i: usize, column: usize| u[column % hidden * columns + column / hidden * hidden + i];
    let all = |rows: usize, number: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        (0..rows).flat_map(|i| (0..columns).map(move |column| number(i, column))).collect()
    };
    let made = |of: &Tensor, shape: Vec<usize>, numbers: &[f64]| {
        Tensor::of_floats(of.name.clone(), Dtype::F64, shape, numbers)
    };
    // An LSTM adds its two; a GRU has one for each side.
    let (shape, b) = match gates {
        4 => (vec![columns], (0..columns).map(|i| b[i] + b[columns + i]).collect()),
        _ => (vec![2, columns], b),
    };
    Some([
        made(kernel, kernel.shape.clone(), &all(inputs, &of_kernel)),
        made(recurrent, recurrent.shape.clone(), &all(hidden, &of_recurrent)),
        made(bias, shape, &b),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], numbers: impl Iterator<Item = f64>) -> (String, Tensor) {
        let numbers: Vec<f64> = numbers.take(shape.iter().product()).collect();
        (name.into(), Tensor::of_floats(name.into(), Dtype::F64, shape.to_vec(), &numbers))
    }

    /// What Keras 2.2.4's `_convert_rnn_weights` gives for these numbers.
    #[test]
    fn weights_come_in_the_arrangement_that_keras_makes() {
        let count = |from: u32| (from..).map(f64::from);
        let mut lstm = BTreeMap::from([
            tensor("a/kernel:0", &[3, 8], count(0)),
            tensor("a/recurrent_kernel:0", &[2, 8], count(0)),
            tensor("a/bias:0", &[16], count(0)),
        ]);
        let said = rearrange(&mut lstm);
        assert!(said["a/recurrent_kernel:0"].contains("CuDNN's arrangement"));
        let numbers = |name: &str| lstm[name].floats().unwrap();
        // The first gate's block of the kernel is 0, 1; 8, 9; 16, 17.
        let first: Vec<f64> = numbers("a/kernel:0").chunks(8).flat_map(|row| row[..2].to_vec()).collect();
        assert_eq!(first, [0.0, 9.0, 1.0, 16.0, 8.0, 17.0]);
        assert_eq!(
            numbers("a/recurrent_kernel:0"),
            [0.0, 8.0, 2.0, 10.0, 4.0, 12.0, 6.0, 14.0, 1.0, 9.0, 3.0, 11.0, 5.0, 13.0, 7.0, 15.0]
        );
        assert_eq!(numbers("a/bias:0"), [8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0]);
        let mut gru = BTreeMap::from([
            tensor("kernel", &[1, 3], count(0)),
            tensor("recurrent_kernel", &[1, 3], count(3)),
            tensor("bias", &[6], count(0)),
        ]);
        assert_eq!(rearrange(&mut gru).len(), 1);
        assert_eq!((gru["bias"].shape.clone(), gru["bias"].floats().unwrap().len()), (vec![2, 3], 6));
    }

    #[test]
    fn other_layers_are_left_alone() {
        let count = |from: u32| (from..).map(f64::from);
        for bias in [&[8][..], &[2, 8], &[4]] {
            let file = BTreeMap::from([
                tensor("kernel", &[3, 8], count(0)),
                tensor("recurrent_kernel", &[2, 8], count(0)),
                tensor("bias", bias, count(0)),
            ]);
            let mut tensors = file.clone();
            assert!(rearrange(&mut tensors).is_empty());
            assert_eq!(tensors, file);
        }
    }
}
