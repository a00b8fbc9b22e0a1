//! Makes burn_*.safetensors and burn.npz in the folder above (burn 0.22.1 on its CPU backend flex): its modules, as `SafetensorsStore` saves
//! them, and what they compute in f64. `common.py` says what the arrays are. Run with `cargo run` in the folder of this Cargo.toml.

use std::error::Error;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{BiGruConfig, BiLstmConfig, BiRnnConfig, GruConfig, LstmConfig, RnnConfig};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{DType, Device, DeviceConfig, FloatDType, Gradients, Tensor, TensorData};
use npyz::WriterBuilder;
use npyz::npz::NpzWriter;

const I: usize = 2;
const H: usize = 3;
const T: usize = 4;

/// As in common.py.
fn numbers(seed: f64, count: usize) -> Vec<f64> {
    (0..count).map(|i| (seed + 1.7 * i as f64).sin() * 0.8).collect()
}

/// Gives each parameter other numbers than the initial ones.
struct Draw<'a> {
    device: &'a Device,
    drawn: usize,
}

impl ModuleMapper for Draw<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let shape: [usize; D] = tensor.dims();
            let values = numbers(2.0 + 0.37 * self.drawn as f64, shape.iter().product());
            self.drawn += 1;
            Tensor::from_data(TensorData::new(values, shape), (self.device, DType::F64)).require_grad()
        })
    }
}

/// Sums of squares of the gradients of input weights, recurrent weights and the biases of the input side, of the forward direction.
struct Squares<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    sums: [f64; 3],
}

impl ModuleVisitor for Squares<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let is = |name: &str| self.path.iter().any(|part| part == name);
        let place = match (is("input_transform"), is("weight")) {
            _ if is("reverse") => return,
            (true, true) => 0,
            (false, true) => 1,
            (true, false) => 2,
            (false, false) => return,
        };
        let gradient = floats(param.val().grad(self.gradients).expect("every parameter has a gradient"));
        self.sums[place] += gradient.iter().map(|g| g * g).sum::<f64>();
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().try_to_vec().expect("tensors of this program are of f64")
}

struct Proofs {
    device: Device,
    arrays: NpzWriter<std::io::BufWriter<std::fs::File>>,
}

impl Proofs {
    fn add(&mut self, name: &str, shape: &[u64], values: &[f64]) -> Result<(), Box<dyn Error>> {
        let mut array = self.arrays.array(name, Default::default())?.default_dtype().shape(shape).begin_nd()?;
        array.extend(values)?;
        Ok(array.finish()?)
    }

    fn case<M: Module>(
        &mut self,
        name: &str,
        module: M,
        run: impl Fn(&M, Tensor<3>) -> Tensor<3>,
    ) -> Result<(), Box<dyn Error>> {
        let device = self.device.clone();
        let module = module.map(&mut Draw { device: &device, drawn: 0 });
        let tensor = |values: Vec<f64>, width: usize| {
            Tensor::<3>::from_data(TensorData::new(values, [1, T, width]), (&device, DType::F64))
        };
        let x = tensor(numbers(0.3, T * I), I).require_grad();
        let y = run(&module, x.clone());
        let width = y.dims()[2];
        let seeds = numbers(0.9, T * width);
        let (mut dx, mut norms) = (Vec::new(), Vec::new());
        for k in 0..T {
            let of_k = seeds.iter().enumerate().map(|(i, s)| if i / width == k { *s } else { 0.0 });
            let gradients = (run(&module, x.clone()) * tensor(of_k.collect(), width)).sum().backward();
            dx.extend(floats(x.grad(&gradients).expect("x has a gradient")));
            let mut squares = Squares { gradients: &gradients, path: Vec::new(), sums: [0.0; 3] };
            module.visit(&mut squares);
            norms.extend(squares.sums.map(f64::sqrt));
        }
        let (t, i, width) = (T as u64, I as u64, width as u64);
        self.add(&format!("{name}.y"), &[t, width], &floats(y))?;
        self.add(&format!("{name}.dx"), &[t, t, i], &dx)?;
        self.add(&format!("{name}.norms"), &[t, 3], &norms)?;
        let path = folder().join(format!("burn_{name}.safetensors"));
        Ok(module.save_into(&mut SafetensorsStore::from_file(path).overwrite(true))?)
    }
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut device = Device::flex().autodiff();
    device.configure(DeviceConfig::default().float_dtype(FloatDType::F64))?;
    let mut proofs = Proofs { device: device.clone(), arrays: NpzWriter::create(folder().join("burn.npz"))? };
    proofs.case("lstm", LstmConfig::new(I, H, true).init(&device), |m, x| m.forward(x, None).0)?;
    proofs.case("bilstm", BiLstmConfig::new(I, H, true).init(&device), |m, x| m.forward(x, None).0)?;
    proofs.case("gru", GruConfig::new(I, H, true).init(&device), |m, x| m.forward(x, None))?;
    let before = GruConfig::new(I, H, true).with_reset_after(false);
    proofs.case("gru_before", before.init(&device), |m, x| m.forward(x, None))?;
    proofs.case("bigru", BiGruConfig::new(I, H, true).init(&device), |m, x| m.forward(x, None).0)?;
    proofs.case("rnn", RnnConfig::new(I, H, true).init(&device), |m, x| m.forward(x, None).0)?;
    proofs.case("birnn", BiRnnConfig::new(I, H, true).init(&device), |m, x| m.forward(x, None).0)?;
    Ok(())
}
