use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use common::{Check, Job, Result};

/// Burn's CPU backend with autodiff.
pub fn device() -> Device {
    Device::flex().autodiff()
}

/// A float tensor of the case, without a gradient.
pub fn floats<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device())
}

/// Symbols as a vector of indices.
pub fn indices(symbols: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(symbols.to_vec(), [symbols.len()]), &device())
}

/// A model: how it computes the loss and where its parameters are.
pub trait Model {
    /// The loss.
    fn loss(&self) -> Tensor<1>;
    /// The sums of squares of the gradients of W_ih, W_hh, b_ih, b_hh, W_hy and b_y.
    fn squares(&self, gradients: &Gradients) -> Result<[f64; 6]>;
}

/// The sum of squares of the gradient of one parameter.
pub fn square<const D: usize>(parameter: &Tensor<D>, gradients: &Gradients) -> Result<f64> {
    let gradient = parameter.grad(gradients).ok_or("a parameter has no gradient")?;
    let sum = gradient.clone().mul(gradient).sum();
    Ok(f64::from(sum.into_scalar::<f32>()))
}

/// A forward pass and burn's backward pass over it.
pub struct Training<M> {
    model: M,
    result: Option<(f32, Gradients)>,
}

impl<M> Training<M> {
    pub fn new(model: M) -> Self {
        Self { model, result: None }
    }
}

impl<M: Model> Job for Training<M> {
    fn run(&mut self) -> Result<()> {
        let loss = self.model.loss();
        let gradients = loss.backward();
        self.result = Some((loss.into_scalar::<f32>(), gradients));
        Ok(())
    }

    fn check(&self) -> Result<Check> {
        let (loss, gradients) = self.result.as_ref().ok_or("nothing is computed")?;
        let [w_ih, w_hh, b_ih, b_hh, w_hy, b_y] = self.model.squares(gradients)?.map(f64::sqrt);
        Ok(Check { loss: f64::from(*loss), w_ih, w_hh, b_ih, b_hh, w_hy, b_y })
    }
}
