//! Several modules of a file as one network.

mod common;

use bptt_io::choose;

use common::{Array, File, H, I, array, outputs};

/// A layer whose tensors have these names.
fn layer(names: [&'static str; 4], gates: usize, inputs: usize, seed: f64) -> Vec<Array> {
    vec![
        array(names[0], &[gates * H, inputs], seed),
        array(names[1], &[gates * H, H], seed + 1.0),
        array(names[2], &[gates * H], seed + 2.0),
        array(names[3], &[gates * H], seed + 3.0),
    ]
}

fn parts() -> File {
    let lower = ["rnns.0.weight_ih_l0", "rnns.0.weight_hh_l0", "rnns.0.bias_ih_l0", "rnns.0.bias_hh_l0"];
    let upper = ["rnns.1.weight_ih_l0", "rnns.1.weight_hh_l0", "rnns.1.bias_ih_l0", "rnns.1.bias_hh_l0"];
    let gru = ["gru.weight_ih_l0", "gru.weight_hh_l0", "gru.bias_ih_l0", "gru.bias_hh_l0"];
    File::new(&[layer(lower, 4, I, 1.0), layer(upper, 4, H, 9.0), layer(gru, 3, H, 20.0)].concat())
}

#[test]
fn listed_modules_are_the_layers_of_one_network() {
    let lower = ["a.weight_ih_l0", "a.weight_hh_l0", "a.bias_ih_l0", "a.bias_hh_l0"];
    let upper = ["a.weight_ih_l1", "a.weight_hh_l1", "a.bias_ih_l1", "a.bias_hh_l1"];
    let whole = File::new(&[layer(lower, 4, I, 1.0), layer(upper, 4, H, 9.0)].concat());
    let whole = choose(&whole.tensors("m.safetensors"), None, None).unwrap();
    let stacked = choose(&parts().tensors("m.safetensors"), Some("rnns.0,rnns.1"), None).unwrap();
    assert_eq!(outputs(&stacked), outputs(&whole));
    assert_eq!(stacked.description(), whole.description());
    assert_eq!(stacked.outline.name, "rnns.0,rnns.1");
    let said = stacked.assumptions.last().unwrap();
    assert_eq!(said, "rnns.0, rnns.1 follow one another directly, with nothing between them (--module)");
}

#[test]
fn modules_that_cannot_follow_one_another_are_refused() {
    let tensors = parts().tensors("m.safetensors");
    let refusal = |names: &str| choose(&tensors, Some(names), None).unwrap_err().to_string();
    let wrong = refusal("rnns.1,rnns.1,rnns.0");
    assert!(wrong.contains("do not follow one another: 3 numbers come out and 2 are read"), "{wrong}");
    let wrong = refusal("rnns.0,gru");
    assert!(wrong.contains("are not of one kind"), "{wrong}");
    let wrong = refusal("rnns.0,rnns.2");
    assert!(wrong.contains("\"rnns.2\", which is not in"), "{wrong}");
    let wrong = refusal("rnns.0,");
    assert!(wrong.contains("\"\", which is not in"), "{wrong}");
}
