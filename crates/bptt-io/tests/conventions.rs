//! Weights in each convention, compared with the framework's forward step written out from its documentation.

mod common;

use std::sync::Arc;

use bptt::{CellParams, Network, Number, Readout, Weights, cell_by_name};
use bptt_io::{choose, embedding, export, find, head};

use common::{Array, File, H, I, T, array, inputs, numbers, outputs};

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-14, "{i}: {found} is not {expected}");
    }
}

fn sigmoid(a: f64) -> f64 {
    1.0 / (1.0 + (-a).exp())
}

/// x W of a row and a (len, columns) matrix, from column `from` on, H columns.
fn times(x: &[f64], w: &[f64], columns: usize, from: usize) -> Vec<f64> {
    let sum = |j: usize| x.iter().enumerate().map(|(i, x)| x * w[i * columns + from + j]).sum();
    (0..H).map(sum).collect()
}

/// x Wx + h Wh + b, the block of columns that begins at `block`·H.
fn block(x: &[f64], h: &[f64], arrays: &[Array], columns: usize, block: usize) -> Vec<f64> {
    let (from, b) = (block * H, &arrays[2].2);
    let (of_x, of_h) = (times(x, &arrays[0].2, columns, from), times(h, &arrays[1].2, columns, from));
    (0..H).map(|j| of_x[j] + of_h[j] + b[from + j]).collect()
}

/// An LSTM whose blocks stand in the order of `places` = (i, f, g, o).
fn lstm(arrays: &[Array], [i, f, g, o]: [usize; 4]) -> Vec<f64> {
    let (mut h, mut c, mut all) = (vec![0.0; H], vec![0.0; H], Vec::new());
    for x in inputs().chunks(I) {
        let a = |place: usize| block(x, &h, arrays, 4 * H, place);
        let (i, f, g, o) = (a(i), a(f), a(g), a(o));
        for j in 0..H {
            c[j] = sigmoid(f[j]) * c[j] + sigmoid(i[j]) * g[j].tanh();
        }
        h = (0..H).map(|j| sigmoid(o[j]) * c[j].tanh()).collect();
        all.extend(&h);
    }
    all
}

fn keras_lstm() -> Vec<Array> {
    vec![
        array("lstm/lstm_cell/kernel", &[I, 4 * H], 1.0),
        array("lstm/lstm_cell/recurrent_kernel", &[H, 4 * H], 2.0),
        array("lstm/lstm_cell/bias", &[4 * H], 3.0),
    ]
}

/// `keras.layers.LSTM`: `z0, z1, z2, z3 = split(z, 4)`; i = σ(z0), f = σ(z1), c = f c + i tanh(z2), o = σ(z3).
#[test]
fn a_keras_lstm_has_its_gates_in_the_order_i_f_c_o() {
    let file = File::new(&keras_lstm());
    let tensors = file.tensors("m.safetensors");
    let module = choose(&tensors, Some("lstm/lstm_cell"), None).unwrap();
    assert_eq!(module.description(), "lstm, 1 layer, I 2, H 3");
    assert_close(&outputs(&module), &lstm(&keras_lstm(), [0, 1, 2, 3]));
}

/// CS231n's `lstm_step_forward`: ai, af, ao, ag = split(x Wx + h Wh + b).
#[test]
fn a_cs231n_lstm_has_its_gates_in_the_order_i_f_o_g() {
    let arrays = [array("Wx", &[I, 4 * H], 1.0), array("Wh", &[H, 4 * H], 2.0), array("b", &[4 * H], 3.0)];
    let file = File::new(&arrays);
    let module = choose(&file.tensors("m.safetensors"), None, None).unwrap();
    assert_close(&outputs(&module), &lstm(&arrays, [0, 1, 3, 2]));
}

#[test]
fn vanilla_layers_of_both_are_read() {
    for names in [["Wx", "Wh", "b"], ["rnn_kernel", "rnn_recurrent_kernel", "rnn_bias"]] {
        let arrays =
            [array(names[0], &[I, H], 1.0), array(names[1], &[H, H], 2.0), array(names[2], &[H], 3.0)];
        let (mut h, mut expected) = (vec![0.0; H], Vec::new());
        for x in inputs().chunks(I) {
            h = block(x, &h, &arrays, H, 0).into_iter().map(f64::tanh).collect();
            expected.extend(&h);
        }
        let module = choose(&File::new(&arrays).tensors("m.safetensors"), None, None).unwrap();
        assert!(module.assumptions[0].contains("is read with tanh"));
        assert_close(&outputs(&module), &expected);
    }
}

/// `keras.layers.GRU` with `reset_after=True`: z, r, h in this order; hh = tanh(x_h + r · (h W_h + b_h)),
/// h = z · h + (1 − z) · hh.
#[test]
fn a_keras_gru_has_its_gates_in_the_order_z_r_h_and_two_rows_of_bias() {
    let arrays = [
        array("gru/kernel:0", &[I, 3 * H], 1.0),
        array("gru/recurrent_kernel:0", &[H, 3 * H], 2.0),
        array("gru/bias:0", &[2, 3 * H], 3.0),
    ];
    let (b_x, b_h) = arrays[2].2.split_at(3 * H);
    let (mut h, mut expected) = (vec![0.0; H], Vec::new());
    for x in inputs().chunks(I) {
        let of_x = |place: usize| times(x, &arrays[0].2, 3 * H, place * H);
        let of_h = |place: usize| times(&h, &arrays[1].2, 3 * H, place * H);
        let (x_z, x_r, x_h) = (of_x(0), of_x(1), of_x(2));
        let (h_z, h_r, h_h) = (of_h(0), of_h(1), of_h(2));
        let unit = |j: usize| {
            let z = sigmoid(x_z[j] + b_x[j] + h_z[j] + b_h[j]);
            let r = sigmoid(x_r[j] + b_x[H + j] + h_r[j] + b_h[H + j]);
            let hh = (x_h[j] + b_x[2 * H + j] + r * (h_h[j] + b_h[2 * H + j])).tanh();
            z * h[j] + (1.0 - z) * hh
        };
        h = (0..H).map(unit).collect();
        expected.extend(&h);
    }
    let module = choose(&File::new(&arrays).tensors("m.safetensors"), Some("gru"), None).unwrap();
    assert_close(&outputs(&module), &expected);
}

#[test]
fn a_keras_bidirectional_layer_is_one_module_of_two_directions() {
    let mut arrays = Vec::new();
    for (seed, names) in [
        (1.0, ["b/forward_lstm/kernel", "b/forward_lstm/recurrent_kernel", "b/forward_lstm/bias"]),
        (5.0, ["b/backward_lstm/kernel", "b/backward_lstm/recurrent_kernel", "b/backward_lstm/bias"]),
    ] {
        arrays.push(array(names[0], &[I, 4 * H], seed));
        arrays.push(array(names[1], &[H, 4 * H], seed + 1.0));
        arrays.push(array(names[2], &[4 * H], seed + 2.0));
    }
    let tensors = File::new(&arrays).tensors("m.safetensors");
    let names: Vec<String> = find(&tensors).into_iter().map(|outline| outline.name).collect();
    assert_eq!(names, ["b/lstm"]);
    let module = choose(&tensors, None, None).unwrap();
    assert_eq!(module.description(), "lstm, 1 layer, both directions, I 2, H 3");
    let found = outputs(&module);
    let forward = lstm(&arrays[..3], [0, 1, 2, 3]);
    for t in 0..T {
        assert_close(&found[2 * t * H..(2 * t + 1) * H], &forward[t * H..(t + 1) * H]);
    }
    assert_eq!(module.weights.cells[1]["bias_ih"].data(), arrays[5].2);
}

#[test]
fn what_was_keras_is_written_with_pytorchs_names_and_computes_the_same() {
    let mut arrays = keras_lstm();
    arrays.push(array("dense/kernel", &[H, 2], 4.0));
    arrays.push(array("dense/bias", &[2], 5.0));
    arrays.push(array("embedding/embeddings", &[7, I], 6.0));
    let file = File::new(&arrays);
    let tensors = file.tensors("m.safetensors");
    let module = choose(&tensors, None, None).unwrap();
    let (chosen, readout) = head(&tensors, &module, None, None).unwrap();
    assert_eq!(chosen, "dense");
    assert_eq!(readout.w_hy.row(1), [1, 3, 5].map(|i| arrays[3].2[i]));
    assert_eq!(readout.b_y.data(), arrays[4].2);
    let (name, vectors) = embedding(&tensors, &module, None, Some("dense")).unwrap().unwrap();
    assert_eq!((name.as_str(), vectors.data()), ("embedding", &arrays[5].2[..]));

    export(&tensors, None, None, &file.path("pytorch.safetensors")).unwrap();
    let written = file.tensors("pytorch.safetensors");
    let again = choose(&written, Some("lstm.lstm_cell"), None).unwrap();
    assert_eq!(outputs(&again), outputs(&module));
    assert_eq!(again.python(), "torch.nn.LSTM(2, 3)");
    let names: Vec<&str> = written.iter().map(|tensor| tensor.name.as_str()).collect();
    let lstm =
        ["bias_hh_l0", "bias_ih_l0", "weight_hh_l0", "weight_ih_l0"].map(|p| format!("lstm.lstm_cell.{p}"));
    let others = ["dense.bias", "dense.weight", "embedding.weight"];
    assert_eq!(names, others.into_iter().chain(lstm.iter().map(String::as_str)).collect::<Vec<_>>());
}

#[test]
fn single_cells_and_cells_without_biases_keep_their_names_and_bits() {
    let arrays = [
        array("actor.weight_hh", &[4 * H, H], 1.0),
        array("actor.weight_ih", &[4 * H, I], 2.0),
        array("critic.weight_hh_l0", &[H, H], 3.0),
        array("critic.weight_ih_l0", &[H, I], 4.0),
    ];
    let file = File::new(&arrays);
    let tensors = file.tensors("m.safetensors");
    let actor = choose(&tensors, Some("actor"), None).unwrap();
    assert_eq!(actor.python(), "torch.nn.LSTMCell(2, 3, bias=False)");
    let critic = choose(&tensors, Some("critic"), Some("rnn_relu")).unwrap();
    assert_eq!(critic.python(), "torch.nn.RNN(2, 3, nonlinearity=\"relu\", bias=False)");
    export(&tensors, None, None, &file.path("again.safetensors")).unwrap();
    let again = file.tensors("again.safetensors");
    assert!(again.iter().eq(tensors.iter()));

    assert!(actor.assumptions[0].starts_with("actor is torch.nn's lstm cell"));

    let refused = choose(&tensors, Some("actor"), Some("gru")).unwrap_err().to_string();
    assert_eq!(refused, "cell: gru for actor with 4 gates is not possible; expected lstm");
}

/// `keras.layers.GRU` with `reset_after=False`: hh = tanh(x_h + (r · h) W_h), one row of bias.
#[test]
fn a_keras_gru_that_resets_before_the_product_is_a_cell_of_its_own() {
    let arrays = [
        array("gru/kernel", &[I, 3 * H], 1.0),
        array("gru/recurrent_kernel", &[H, 3 * H], 2.0),
        array("gru/bias", &[3 * H], 3.0),
    ];
    let (mut h, mut expected) = (vec![0.0; H], Vec::new());
    for x in inputs().chunks(I) {
        let gate = |place: usize, h: &[f64]| block(x, h, &arrays, 3 * H, place);
        let z: Vec<f64> = gate(0, &h).into_iter().map(sigmoid).collect();
        let r: Vec<f64> = gate(1, &h).into_iter().map(sigmoid).collect();
        let reset: Vec<f64> = r.iter().zip(&h).map(|(r, h)| r * h).collect();
        let hh = gate(2, &reset).into_iter().map(f64::tanh);
        h = hh.enumerate().map(|(j, hh)| z[j] * h[j] + (1.0 - z[j]) * hh).collect();
        expected.extend(&h);
    }
    let file = File::new(&arrays);
    let tensors = file.tensors("m.safetensors");
    let module = choose(&tensors, None, None).unwrap();
    assert_eq!(module.cell, "gru_reset_before");
    assert_close(&outputs(&module), &expected);

    // PyTorch's names say nothing of it, so the file does.
    export(&tensors, None, None, &file.path("again.safetensors")).unwrap();
    let again = choose(&file.tensors("again.safetensors"), Some("gru"), None).unwrap();
    assert_eq!(again.cell, "gru_reset_before");
    assert_eq!(outputs(&again), outputs(&module));
    assert_eq!(
        choose(&tensors, None, Some("gru")).unwrap_err().to_string(),
        "cell: gru for gru with 3 gates is not possible; expected gru_reset_before"
    );
}

#[test]
fn every_registered_cell_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for name in bptt::cells() {
        let cell = cell_by_name(name).unwrap();
        let spec = cell.spec();
        let output = if spec.name == "lstm_projected" { 2 } else { H };
        let layer = |inputs: usize, seed: f64| {
            let mut params = CellParams::<f32>::zeros_with_output(spec, inputs, H, output);
            for (i, tensor) in params.tensors_mut().iter_mut().enumerate() {
                let drawn = numbers(seed + i as f64, tensor.data().len());
                tensor.data_mut().iter_mut().zip(drawn).for_each(|(to, number)| *to = Number::of(number));
            }
            params
        };
        let cells = vec![layer(I, 0.1), layer(I, 0.7), layer(2 * output, 1.3), layer(2 * output, 2.9)];
        let mut readout = Readout::zeros(2 * output, 1);
        readout.w_hy.data_mut().fill(0.5);
        let weights = Weights { cells, bidirectional: true, readout: Some(readout) };
        let network = Network::new(Arc::clone(&cell), weights).unwrap();
        bptt_io::model::save(&network, &path).unwrap();
        let read = bptt_io::model::load(&path).unwrap();
        assert_eq!(read.spec().name, spec.name);
        assert_eq!(read.weights(), network.weights(), "{name}");
    }
}

#[test]
fn an_lstm_with_projection_is_known_by_its_tensors() {
    let p = 2;
    let arrays = [
        array("rnn.weight_ih_l0", &[4 * H, I], 0.2),
        array("rnn.weight_hh_l0", &[4 * H, p], 0.4),
        array("rnn.weight_hr_l0", &[p, H], 0.6),
    ];
    let file = File::new(&arrays);
    let module = choose(&file.tensors("m.safetensors"), None, None).unwrap();
    assert_eq!((module.description(), module.width()), ("lstm_projected, 1 layer, I 2, H 3, P 2".into(), p));
    assert_eq!(module.python(), "torch.nn.LSTM(2, 3, proj_size=2, bias=False)");
    assert!(!module.biased());
    // Its equations, written out.
    let (w_ih, w_hh, w_hr) = (&arrays[0].2, &arrays[1].2, &arrays[2].2);
    let (mut h, mut c, mut expected) = (vec![0.0; p], vec![0.0; H], Vec::new());
    let sigmoid = |a: f64| 1.0 / (1.0 + (-a).exp());
    for x in inputs().chunks(I) {
        let dot = |w: &[f64], v: &[f64]| w.iter().zip(v).map(|(w, v)| w * v).sum::<f64>();
        let a: Vec<f64> = (0..4 * H)
            .map(|row| dot(&w_ih[row * I..(row + 1) * I], x) + dot(&w_hh[row * p..(row + 1) * p], &h))
            .collect();
        let mut m = vec![0.0; H];
        for u in 0..H {
            let (i, f, g, o) = (sigmoid(a[u]), sigmoid(a[H + u]), a[2 * H + u].tanh(), sigmoid(a[3 * H + u]));
            c[u] = f * c[u] + i * g;
            m[u] = o * c[u].tanh();
        }
        h = (0..p).map(|row| dot(&w_hr[row * H..(row + 1) * H], &m)).collect();
        expected.extend_from_slice(&h);
    }
    for (found, expected) in outputs(&module).iter().zip(expected) {
        assert!((found - expected).abs() < 1e-14, "{found} {expected}");
    }

    let refused = choose(&file.tensors("m.safetensors"), None, Some("lstm")).unwrap_err().to_string();
    assert!(
        refused.contains("tensor rnn.weight_hr_l0: lstm has no weight_hr; expected lstm_projected"),
        "{refused}"
    );
}

#[test]
fn a_cell_that_is_asked_for_by_name_is_read_by_its_own_parameters() {
    let mut arrays = vec![
        array("weight_ih_l0", &[4 * H, I], 0.2),
        array("weight_hh_l0", &[4 * H, H], 0.4),
        array("bias_ih_l0", &[4 * H], 0.6),
        array("bias_hh_l0", &[4 * H], 0.8),
    ];
    let spec = Arc::clone(cell_by_name("lstm_peephole").unwrap().spec());
    let (last, peepholes) = spec.params[4..].split_last().unwrap();
    arrays.extend(peepholes.iter().map(|param| (param.name, vec![H], numbers(1.0, H))));
    // Names have the layer behind them in PyTorch's layout, and none in that of its cells.
    for (name, ..) in &mut arrays {
        *name = name.trim_end_matches("_l0");
    }
    let missing = choose(&File::new(&arrays).tensors("m.safetensors"), None, Some("lstm_peephole"));
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains(&format!("tensor {} is missing; expected shape (3,)", last.name)), "{missing}");
    arrays.push((last.name, vec![H], numbers(2.0, H)));
    let module = choose(&File::new(&arrays).tensors("m.safetensors"), None, Some("lstm_peephole")).unwrap();
    assert_eq!(module.weights.cells[0][last.name].data(), numbers(2.0, H));
    assert_eq!(module.cell, "lstm_peephole");
}

/// equinox 0.13.8, nn/_rnn.py: `bias` is added to W_ih x, and a GRU's `bias_n` to the recurrent product of its candidate.
#[test]
fn equinoxs_cells_are_pytorchs_with_one_bias() {
    for gates in [4, 3] {
        let weights = || {
            vec![array("cell.weight_ih", &[gates * H, I], 0.2), array("cell.weight_hh", &[gates * H, H], 0.4)]
        };
        let bias = numbers(0.6, gates * H);
        let mut recurrent = vec![0.0; gates * H];
        let mut equinox = weights();
        equinox.push(("cell.bias", vec![gates * H], bias.clone()));
        if gates == 3 {
            recurrent[2 * H..].copy_from_slice(&numbers(0.8, H));
            equinox.push(("cell.bias_n", vec![H], numbers(0.8, H)));
        }
        let mut pytorch = weights();
        pytorch.push(("cell.bias_ih", vec![gates * H], bias));
        pytorch.push(("cell.bias_hh", vec![gates * H], recurrent));
        let module =
            |arrays: &[Array]| choose(&File::new(arrays).tensors("m.safetensors"), None, None).unwrap();
        let (of_equinox, of_pytorch) = (module(&equinox), module(&pytorch));
        assert_eq!(of_equinox.outline.convention.title(), "Equinox");
        assert_eq!(outputs(&of_equinox), outputs(&of_pytorch));
        assert_eq!(of_equinox.python(), of_pytorch.python());
    }
    let mut gru = vec![array("weight_ih", &[3 * H, I], 0.2), array("weight_hh", &[3 * H, H], 0.4)];
    gru.push(array("bias", &[3 * H], 0.6));
    let refused = choose(&File::new(&gru).tensors("m.safetensors"), None, None).unwrap_err().to_string();
    assert!(refused.contains("tensor bias_n is missing; expected shape (3,)"), "{refused}");
}

/// The encoder of g2p-en 2.1.0: PyTorch's GRU in short names, with its embedding and a map of the decoder beside it.
#[test]
fn pytorchs_parameters_are_known_in_short_names() {
    let short = [
        array("enc_w_ih", &[3 * H, I], 0.2),
        array("enc_w_hh", &[3 * H, H], 0.4),
        array("enc_b_ih", &[3 * H], 0.6),
        array("enc_b_hh", &[3 * H], 0.8),
        array("enc_emb", &[7, I], 1.0),
        array("fc_w", &[5, H], 1.2),
        array("fc_b", &[5], 1.4),
    ];
    let long = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
    let long: Vec<Array> = short
        .iter()
        .zip(long)
        .map(|((_, shape, numbers), name)| (name, shape.clone(), numbers.clone()))
        .collect();
    let (short, long) =
        (File::new(&short).tensors("m.safetensors"), File::new(&long).tensors("m.safetensors"));
    let module = choose(&short, None, None).unwrap();
    assert_eq!((module.outline.name.as_str(), module.cell.as_str()), ("enc", "gru"));
    assert_eq!(outputs(&module), outputs(&choose(&long, None, None).unwrap()));
    assert_eq!(embedding(&short, &module, None, None).unwrap().unwrap().0, "enc_emb");
    let (name, readout) = head(&short, &module, None, Some("enc_emb")).unwrap();
    assert_eq!((name.as_str(), readout.outputs(), readout.b_y.data()), ("fc", 5, &numbers(1.4, 5)[..]));
}

/// The layers of torchrecurrent 0.2.5 keep their cells under this path, with PyTorch's names for other equations.
#[test]
fn cells_on_another_librarys_path_are_asked_for() {
    for (gates, cell) in [(1, "rnn"), (3, "gru"), (4, "lstm")] {
        let arrays = [
            array("net.cells.0.weight_ih", &[gates * H, I], 0.2),
            array("net.cells.0.weight_hh", &[gates * H, H], 0.4),
            array("net.cells.0.bias_ih", &[gates * H], 0.6),
            array("net.cells.0.bias_hh", &[gates * H], 0.8),
        ];
        let tensors = File::new(&arrays).tensors("m.safetensors");
        let refused = choose(&tensors, None, None).unwrap_err().to_string();
        assert!(
            refused.contains("torchrecurrent") && refused.contains(&format!("--cell {cell}")),
            "{refused}"
        );
        assert_eq!(choose(&tensors, None, Some(cell)).unwrap().cell, cell);
        // A cell of the same parameters that PyTorch lacks, and one of others.
        if gates == 3 {
            let module = choose(&tensors, None, Some("lstm_1997")).unwrap();
            assert_eq!(
                (module.cell.as_str(), module.description().as_str()),
                ("lstm_1997", "lstm_1997, 1 layer, I 2, H 3")
            );
        } else {
            assert!(choose(&tensors, None, Some("lstm_1997")).is_err());
        }
    }
}
