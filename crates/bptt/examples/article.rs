//! The article's question in 20 lines: what each of three steps contributed to the third loss.

use bptt::{CellParams, Inputs, ItemizeOptions, Losses, Network, Parameter, Sequence, Weights, cell_by_name};

fn main() -> Result<(), bptt::Error> {
    let cell = cell_by_name("rnn")?;
    let mut params = CellParams::<f64>::zeros(cell.spec(), 3, 4);
    for name in ["weight_ih", "weight_hh"] {
        params[name].data_mut().iter_mut().enumerate().for_each(|(i, w)| *w = 0.1 * (i as f64).sin());
    }
    let network = Network::new(cell, Weights { cells: vec![params], bidirectional: false, readout: None })?;
    let x = Sequence::new(3, 1, 3, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])?;
    let cache = network.scan(Inputs::Dense(x), &network.zero_state(1))?;
    let losses = Losses::from_seeds(Sequence::new(3, 1, 4, &[1.0; 12])?);
    let ledger = network.itemize(&cache, &losses, &ItemizeOptions::default())?;
    for parameter in [Parameter::WEIGHT_IH, Parameter::WEIGHT_HH] {
        let entry = ledger.entry(0, parameter).expect("an RNN has both");
        let norms: Vec<f64> = (0..3).filter_map(|t| entry.norm(2, t)).collect();
        println!("{}: {norms:.4?}", parameter.as_str());
    }
    println!("the components add up to the gradient with an error of {:.0e}", ledger.worst_balance());
    Ok(())
}
