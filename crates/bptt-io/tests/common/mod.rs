//! Files of tensors, and what their modules compute.

use std::path::PathBuf;

use bptt::{Inputs, Sequence};
use bptt_io::{Module, Tensors};
use safetensors::tensor::{Dtype, TensorView};

pub const I: usize = 2;
pub const H: usize = 3;
pub const T: usize = 4;

/// Numbers without a pattern that a wrong order could hide in.
pub fn numbers(seed: f64, count: usize) -> Vec<f64> {
    (0..count).map(|i| (seed + 1.7 * i as f64).sin() * 0.8).collect()
}

pub type Array = (&'static str, Vec<usize>, Vec<f64>);

pub fn array(name: &'static str, shape: &[usize], seed: f64) -> Array {
    (name, shape.to_vec(), numbers(seed, shape.iter().product()))
}

/// A file of these tensors, as long as the folder lives.
pub struct File {
    folder: tempfile::TempDir,
}

impl File {
    pub fn new(arrays: &[Array]) -> Self {
        let bytes: Vec<Vec<u8>> =
            arrays.iter().map(|(.., data)| data.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let views = arrays.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (*name, TensorView::new(Dtype::F64, shape.clone(), bytes).unwrap())
        });
        let file = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(file.path("m.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
        file
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn tensors(&self, name: &str) -> Tensors {
        Tensors::read(&self.path(name)).unwrap()
    }
}

pub fn inputs() -> Vec<f64> {
    numbers(0.3, T * I)
}

/// What a module gives for the inputs, T rows.
pub fn outputs(module: &Module) -> Vec<f64> {
    let network = module.network(None).unwrap();
    let x = Inputs::Dense(Sequence::new(T, 1, I, &inputs()).unwrap());
    network.scan(x, &network.zero_state(1)).unwrap().output().data().to_vec()
}
