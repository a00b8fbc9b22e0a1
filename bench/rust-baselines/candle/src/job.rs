use candle_core::{Device, Tensor, Var, backprop::GradStore};
use common::{Case, Check, Job, Result};

/// What is learned, in PyTorch's shapes.
pub struct Parameters {
    pub w_ih: Var,
    pub w_hh: Var,
    pub b_ih: Var,
    pub b_hh: Var,
    pub w_hy: Var,
    pub b_y: Var,
}

impl Parameters {
    pub fn new(case: &Case) -> Result<Self> {
        let (rows, hidden, symbols) = (case.cell.gates() * case.hidden, case.hidden, case.symbols);
        Ok(Self {
            w_ih: Var::from_slice(&case.w_ih, (rows, symbols), &Device::Cpu)?,
            w_hh: Var::from_slice(&case.w_hh, (rows, hidden), &Device::Cpu)?,
            b_ih: Var::from_slice(&case.b_ih, rows, &Device::Cpu)?,
            b_hh: Var::from_slice(&case.b_hh, rows, &Device::Cpu)?,
            w_hy: Var::from_slice(&case.w_hy, (symbols, hidden), &Device::Cpu)?,
            b_y: Var::from_slice(&case.b_y, symbols, &Device::Cpu)?,
        })
    }
}

/// How a form computes the loss.
pub type Forward = Box<dyn Fn(&Parameters) -> candle_core::Result<Tensor>>;

/// A forward pass and candle's backward pass over it.
pub struct Training {
    parameters: Parameters,
    forward: Forward,
    result: Option<(f32, GradStore)>,
}

impl Training {
    pub fn new(parameters: Parameters, forward: Forward) -> Self {
        Self { parameters, forward, result: None }
    }
}

impl Job for Training {
    fn run(&mut self) -> Result<()> {
        let loss = (self.forward)(&self.parameters)?;
        self.result = Some((loss.to_scalar()?, loss.backward()?));
        Ok(())
    }

    fn check(&self) -> Result<Check> {
        let (loss, gradients) = self.result.as_ref().ok_or("nothing is computed")?;
        let norm = |parameter: &Var| -> Result<f64> {
            let gradient = gradients.get(parameter).ok_or("a parameter has no gradient")?;
            Ok(f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
        };
        let Parameters { w_ih, w_hh, b_ih, b_hh, w_hy, b_y } = &self.parameters;
        Ok(Check {
            loss: f64::from(*loss),
            w_ih: norm(w_ih)?,
            w_hh: norm(w_hh)?,
            b_ih: norm(b_ih)?,
            b_hh: norm(b_hh)?,
            w_hy: norm(w_hy)?,
            b_y: norm(b_y)?,
        })
    }
}

/// Symbols as a vector of indices.
pub fn indices(symbols: &[i64]) -> candle_core::Result<Tensor> {
    Tensor::from_slice(symbols, symbols.len(), &Device::Cpu)
}
