//! What is written is read again as the same: arrays of every type, and networks of every cell.

use std::collections::BTreeMap;

use bptt::{CellParams, Inputs, Matrix, Network, Readout, Sequence, Weights, cell_by_name};
use bptt_io::{Dtype, Tensor, Tensors, arrays, choose, export, model};
use proptest::prelude::*;

fn cases(cases: u32) -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_242);
    ProptestConfig { cases, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

/// The types that NumPy and safetensors have.
const TYPES: [(Dtype, usize); 12] = [
    (Dtype::BOOL, 1),
    (Dtype::U8, 1),
    (Dtype::I8, 1),
    (Dtype::U16, 2),
    (Dtype::I16, 2),
    (Dtype::F16, 2),
    (Dtype::U32, 4),
    (Dtype::I32, 4),
    (Dtype::F32, 4),
    (Dtype::U64, 8),
    (Dtype::I64, 8),
    (Dtype::F64, 8),
];

/// An array of any type and shape, with any bits.
fn tensor() -> impl Strategy<Value = Tensor> {
    let (types, shape) =
        (proptest::sample::select(TYPES.to_vec()), proptest::collection::vec(0..4usize, 0..4));
    (types, shape).prop_flat_map(|((dtype, width), shape)| {
        let length = shape.iter().product::<usize>() * width;
        let byte = if dtype == Dtype::BOOL { (0..2u8).boxed() } else { any::<u8>().boxed() };
        proptest::collection::vec(byte, length).prop_map(move |bytes| Tensor {
            name: String::new(),
            dtype,
            shape: shape.clone(),
            bytes,
        })
    })
}

/// Arrays by names that no module has, so that they stay as they are.
fn named() -> impl Strategy<Value = Vec<Tensor>> {
    proptest::collection::btree_map("[a-p]{3,8}(\\.[a-p]{3,8})?", tensor(), 1..5).prop_map(|named| {
        named.into_iter().map(|(name, tensor)| Tensor { name: format!("own.{name}"), ..tensor }).collect()
    })
}

/// A network of any cell, with any finite weights.
#[derive(Clone, Debug)]
struct Made {
    cell: &'static str,
    inputs: usize,
    hidden: usize,
    layers: usize,
    bidirectional: bool,
    outputs: usize,
    seed: u64,
}

fn made() -> impl Strategy<Value = Made> {
    let cells = proptest::sample::select(bptt::cells());
    (cells, 1..4usize, 1..5usize, 1..4usize, any::<bool>(), 1..4usize, any::<u64>()).prop_map(
        |(cell, inputs, hidden, layers, bidirectional, outputs, seed)| Made {
            cell,
            inputs,
            hidden,
            layers,
            bidirectional,
            outputs,
            seed,
        },
    )
}

/// Numbers between −1 and 1 (Steele et al., 2014: `SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn draw(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }

    fn fill(&mut self, matrix: &mut Matrix<f32>) {
        matrix.data_mut().iter_mut().for_each(|number| *number = self.draw());
    }
}

impl Made {
    fn network(&self) -> Network<f32> {
        let (cell, directions) = (cell_by_name(self.cell).unwrap(), 1 + usize::from(self.bidirectional));
        let mut numbers = Numbers(self.seed);
        let mut cells: Vec<CellParams<f32>> = Vec::new();
        for index in 0..directions * self.layers {
            let width = cells.first().map_or(0, |first| directions * first.sizes().output);
            let inputs = if index < directions { self.inputs } else { width };
            let mut params = CellParams::<f32>::zeros(cell.spec(), inputs, self.hidden);
            params.tensors_mut().iter_mut().for_each(|tensor| numbers.fill(tensor));
            cells.push(params);
        }
        let width = directions * cells[0].sizes().output;
        let mut readout =
            Readout { w_hy: Matrix::zeros(self.outputs, width), b_y: Matrix::zeros(1, self.outputs) };
        numbers.fill(&mut readout.w_hy);
        numbers.fill(&mut readout.b_y);
        Network::new(cell, Weights { cells, bidirectional: self.bidirectional, readout: Some(readout) })
            .unwrap()
    }

    /// The outputs for some inputs, as bits.
    fn outputs(&self, network: &Network<f32>) -> Vec<u32> {
        let mut numbers = Numbers(!self.seed);
        let x: Vec<f32> = (0..4 * 2 * self.inputs).map(|_| numbers.draw()).collect();
        let x = Sequence::new(4, 2, self.inputs, &x).unwrap();
        let trace = network.scan(Inputs::Dense(x), &network.zero_state(2)).unwrap();
        trace.cells().iter().flat_map(|cell| cell.h().data().iter().map(|h| h.to_bits())).collect()
    }
}

fn bits(weights: &Weights<f32>) -> BTreeMap<String, Vec<u32>> {
    let bits = |matrix: &Matrix<f32>| matrix.data().iter().map(|w| w.to_bits()).collect();
    weights.tensors().into_iter().map(|(name, matrix)| (name, bits(matrix))).collect()
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn arrays_come_back_from_both_formats(arrays in named()) {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.npz", "a.safetensors"] {
            let path = folder.path().join(file);
            arrays::write(&path, &arrays, &BTreeMap::new()).unwrap();
            let read = Tensors::read(&path).unwrap();
            prop_assert_eq!(read.unreadable().count(), 0);
            prop_assert_eq!(read.iter().cloned().collect::<Vec<_>>(), arrays.clone());
        }
        let (read, notes) = arrays::of_safetensors(&std::fs::read(folder.path().join("a.safetensors")).unwrap()).unwrap();
        let read: BTreeMap<String, Tensor> = read.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        prop_assert_eq!(read.into_values().collect::<Vec<_>>(), arrays);
        prop_assert!(notes.is_empty());
    }

    #[test]
    fn one_array_comes_back_from_its_member(tensor in tensor()) {
        let folder = tempfile::tempdir().unwrap();
        let (archive, path) = (folder.path().join("a.npz"), folder.path().join("x.npy"));
        let tensor = Tensor { name: "x".into(), ..tensor };
        arrays::write(&archive, std::slice::from_ref(&tensor), &BTreeMap::new()).unwrap();
        let mut archive = zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap();
        let mut member = archive.by_name("x.npy").unwrap();
        std::io::copy(&mut member, &mut std::fs::File::create(&path).unwrap()).unwrap();
        let read = arrays::read(&path).unwrap();
        prop_assert_eq!((read.dtype, read.shape, read.bytes), (tensor.dtype, tensor.shape, tensor.bytes));
    }

    #[test]
    fn a_network_of_any_cell_comes_back_and_computes_the_same(made in made()) {
        let (network, folder) = (made.network(), tempfile::tempdir().unwrap());
        let path = folder.path().join("model.safetensors");
        model::save(&network, &path).unwrap();
        let read = model::load(&path).unwrap();
        prop_assert_eq!(&read.spec().name, &network.spec().name);
        prop_assert_eq!(bits(read.weights()), bits(network.weights()));
        prop_assert_eq!(made.outputs(&read), made.outputs(&network));
    }

    #[test]
    fn an_exported_module_comes_back_and_computes_the_same(made in made()) {
        let (network, folder) = (made.network(), tempfile::tempdir().unwrap());
        let path = folder.path().join("model.safetensors");
        model::save(&network, &path).unwrap();
        let tensors = Tensors::read(&path).unwrap();
        let module = choose(&tensors, Some("rnn"), None).unwrap();
        let expected = made.outputs(&network);
        // An archive of NumPy's has no metadata that says which cell it is.
        for (file, cell) in [("exported.safetensors", None), ("exported.npz", Some(made.cell))] {
            let to = folder.path().join(file);
            export(&tensors, Some(&module), None, &to).unwrap();
            let written = Tensors::read(&to).unwrap();
            let read = choose(&written, None, cell).unwrap();
            prop_assert_eq!(&read.cell, &network.spec().name);
            prop_assert_eq!(made.outputs(&read.network(None).unwrap().cast::<f32>().unwrap()), expected.clone());
        }
    }
}
