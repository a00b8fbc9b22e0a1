//! `--layout` and `--gate-order`, and sources that do not run here, against their equations written out.

mod common;

use bptt_io::{Layout, Module, Tensors, choose};

use common::{Array, File, H, I, array, inputs, outputs};

fn read(arrays: &[Array], source: Option<&str>, gates: Option<&str>) -> Result<Module, String> {
    let file = File::new(arrays);
    let tensors = if source.is_none() && gates.is_none() {
        file.tensors("m.safetensors")
    } else {
        let layout = Layout::new(source, gates).unwrap();
        Tensors::read_as(&file.path("m.safetensors"), &layout).unwrap()
    };
    choose(&tensors, None, None).map_err(|error| error.to_string())
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-14, "{i}: {found} is not {expected}");
    }
}

fn sigmoid(a: f64) -> f64 {
    1.0 / (1.0 + (-a).exp())
}

/// An LSTM from a^gate_u of x and h, gates i, f, g, o, with the activation of the first three of sigmoids.
fn lstm(gate: impl Fn(&[f64], &[f64], usize, usize) -> f64, squash: fn(f64) -> f64) -> Vec<f64> {
    let (mut h, mut c, mut all) = (vec![0.0; H], [0.0; H], Vec::new());
    for x in inputs().chunks(I) {
        let a = |place| (0..H).map(|u| gate(x, &h, place, u)).collect::<Vec<f64>>();
        let [i, f, g, o] = [a(0), a(1), a(2), a(3)];
        for u in 0..H {
            c[u] = squash(f[u]) * c[u] + squash(i[u]) * g[u].tanh();
        }
        h = (0..H).map(|u| squash(o[u]) * c[u].tanh()).collect();
        all.extend(&h);
    }
    all
}

/// x W of column `column`, of `columns`.
fn times(x: &[f64], w: &[f64], columns: usize, column: usize) -> f64 {
    x.iter().enumerate().map(|(i, x)| x * w[i * columns + column]).sum()
}

fn keras_names() -> Vec<Array> {
    vec![
        array("lstm/kernel", &[I, 4 * H], 1.0),
        array("lstm/recurrent_kernel", &[H, 4 * H], 2.0),
        array("lstm/bias", &[4 * H], 3.0),
    ]
}

/// The gate in block `blocks[place]` of (features, 4·H) matrices.
fn of_blocks(arrays: &[Array], blocks: [usize; 4]) -> impl Fn(&[f64], &[f64], usize, usize) -> f64 {
    move |x, h, place, u| {
        let column = blocks[place] * H + u;
        times(x, &arrays[0].2, 4 * H, column) + times(h, &arrays[1].2, 4 * H, column) + arrays[2].2[column]
    }
}

/// haste 0.4.0, lib/lstm_forward_gpu.cu.cc, `PointwiseOperations`: blocks i, g, f, o; c = f c + i g, h = o tanh(c).
#[test]
fn hastes_lstm_is_kerass_with_another_order_of_gates() {
    let arrays = keras_names();
    let haste = read(&arrays, Some("haste"), None).unwrap();
    assert_eq!(
        haste.reading(),
        "lstm is read as Haste: matrices (inputs, gates · H), gates in the order i, g, f, o"
    );
    assert_close(&outputs(&haste), &lstm(of_blocks(&arrays, [0, 2, 1, 3]), sigmoid));
    let keras = read(&arrays, None, None).unwrap();
    assert_eq!(
        keras.reading(),
        "lstm is read as Keras: matrices (inputs, gates · H), gates in the order i, f, c, o"
    );
    assert_close(&outputs(&keras), &lstm(of_blocks(&arrays, [0, 1, 2, 3]), sigmoid));
    let ordered = read(&arrays, None, Some("i,c,f,o")).unwrap();
    assert_eq!(outputs(&ordered), outputs(&haste));
    assert!(ordered.reading().ends_with("gates in the order i, g, f, o"));
    let cyclic = read(&arrays, None, Some("f,g,o,i")).unwrap();
    assert_close(&outputs(&cyclic), &lstm(of_blocks(&arrays, [3, 0, 1, 2]), sigmoid));

    let refused = read(&arrays, None, Some("z,r,n")).unwrap_err();
    assert!(refused.ends_with("lstm: --gate-order does not fit, it has 4 gates"), "{refused}");
    let refused = read(&arrays, Some("mlx"), None).unwrap_err();
    assert!(
        refused.contains("no recurrent module with the names of --layout mlx; its names are those of Keras"),
        "{refused}"
    );
}

/// haste 0.4.0, lib/gru_forward_gpu.cu.cc, `PointwiseOperations`: blocks z, r, g; g = tanh(Wx + r (Rh + br) + bx), h = z h + (1 − z) g.
#[test]
fn hastes_gru_is_known_by_its_second_bias() {
    let arrays = [
        array("kernel", &[I, 3 * H], 1.0),
        array("recurrent_kernel", &[H, 3 * H], 2.0),
        array("bias", &[3 * H], 3.0),
        array("recurrent_bias", &[3 * H], 4.0),
    ];
    let (mut h, mut expected) = (vec![0.0; H], Vec::new());
    for x in inputs().chunks(I) {
        let of_x = |j: usize| times(x, &arrays[0].2, 3 * H, j) + arrays[2].2[j];
        let of_h = |j: usize| times(&h, &arrays[1].2, 3 * H, j) + arrays[3].2[j];
        let unit = |u: usize| {
            let (z, r) = (sigmoid(of_x(u) + of_h(u)), sigmoid(of_x(H + u) + of_h(H + u)));
            let g = (of_x(2 * H + u) + r * of_h(2 * H + u)).tanh();
            z * h[u] + (1.0 - z) * g
        };
        h = (0..H).map(unit).collect();
        expected.extend(&h);
    }
    let module = read(&arrays, None, None).unwrap();
    assert_eq!(module.outline.convention.title(), "Haste");
    let said = "the module without a name is of Haste, whose names it has: recurrent_bias, recurrent_kernel, kernel, bias";
    assert!(module.assumptions.contains(&said.to_owned()), "{:?}", module.assumptions);
    assert_close(&outputs(&module), &expected);
}

/// @tensorflow/tfjs-layers 4.22.0, dist/layers/recurrent.js, `LSTMCell.call`: the gates' default is 0.2 a + 0.5, clipped.
#[test]
fn tensorflow_js_has_the_hard_sigmoid() {
    let arrays = keras_names();
    let module = read(&arrays, Some("tensorflow.js"), None).unwrap();
    assert!(module.assumptions[0].contains(
        "is read with the hard sigmoid in its gates; if its activation is another, give --cell lstm"
    ));
    let hard = |a: f64| (0.2 * a + 0.5).clamp(0.0, 1.0);
    assert_close(&outputs(&module), &lstm(of_blocks(&arrays, [0, 1, 2, 3]), hard));
}

/// Keras 2.2.4, keras/engine/saving.py: from a layer of known weights to CuDNN's arrangement, `transform(kernel)` is
/// `kernel.T.reshape(kernel.shape)` of each gate, of a recurrent kernel its transpose; the bias of an LSTM is a sum of two.
#[test]
fn cudnn_layers_of_keras_2_are_rearranged() {
    let keras = keras_names();
    let mut cudnn = keras.clone();
    for place in 0..2 {
        let width = [I, H][place];
        for gate in 0..4 {
            let entry = |row: usize, unit: usize| keras[place].2[row * 4 * H + gate * H + unit];
            let transposed: Vec<f64> = (0..H)
                .flat_map(|u| (0..width).map(move |row| (row, u)))
                .map(|(row, u)| entry(row, u))
                .collect();
            for (at, value) in transposed.into_iter().enumerate() {
                cudnn[place].2[(at / H) * 4 * H + gate * H + at % H] = value;
            }
        }
    }
    let second = array("", &[4 * H], 7.0).2;
    let first: Vec<f64> = keras[2].2.iter().zip(&second).map(|(sum, second)| sum - second).collect();
    cudnn[2] = ("lstm/bias", vec![8 * H], [first, second].concat());
    let module = read(&cudnn, None, None).unwrap();
    assert!(module.assumptions.iter().any(|said| said.contains("are in CuDNN's arrangement")));
    assert_close(&outputs(&module), &outputs(&read(&keras, None, None).unwrap()));
}

/// burn-nn 0.20.0, src/modules/rnn/lstm.rs, `Lstm::forward_iter`, and gate_controller.rs, `GateController::gate_product`: x W + b of
/// two linear layers (inputs, H) for each gate.
#[test]
fn burns_gates_are_joined() {
    let names = ["input", "forget", "cell", "output"];
    let mut arrays: Vec<Array> = Vec::new();
    for (n, gate) in names.iter().enumerate() {
        for (m, (side, width)) in [("input", I), ("hidden", H)].into_iter().enumerate() {
            let name = |end: &str| -> &'static str { format!("{gate}_gate.{side}_transform.{end}").leak() };
            arrays.push(array(name("weight"), &[width, H], n as f64 + 0.4 * m as f64));
            arrays.push(array(name("bias"), &[H], 5.0 + n as f64 + 0.4 * m as f64));
        }
    }
    let gate = |x: &[f64], h: &[f64], place: usize, u: usize| {
        let own = &arrays[4 * place..];
        times(x, &own[0].2, H, u) + own[1].2[u] + times(h, &own[2].2, H, u) + own[3].2[u]
    };
    let module = read(&arrays, None, None).unwrap();
    assert_close(&outputs(&module), &lstm(gate, sigmoid));
    assert!(module.reading().ends_with("read as burn: matrices (inputs, H) for each gate"));
    let refused = read(&arrays, None, Some("i,f,o,g")).unwrap_err();
    assert!(refused.contains("--gate-order does not fit: it has 4 gates, in separate matrices"), "{refused}");
    let refused = read(&arrays[..15], None, None).unwrap_err();
    assert!(refused.contains("tensor output_gate/hidden_transform/bias is missing"), "{refused}");
}

/// candle-nn 0.9.0, src/rnn.rs, `LSTM::new` and `RNN::seq_init`: `Direction::Backward` changes the names alone.
#[test]
fn a_backward_direction_alone_is_asked_for() {
    let backward = [
        array("weight_ih_l0_reverse", &[4 * H, I], 0.2),
        array("weight_hh_l0_reverse", &[4 * H, H], 0.4),
        array("bias_ih_l0_reverse", &[4 * H], 0.6),
        array("bias_hh_l0_reverse", &[4 * H], 0.8),
    ];
    let mut forward = backward.clone();
    for array in &mut forward {
        array.0 = array.0.trim_end_matches("_reverse");
    }
    let refused = read(&backward, None, None).unwrap_err();
    assert!(
        refused.contains("backward direction alone") && refused.ends_with("give --layout candle"),
        "{refused}"
    );
    let candle = read(&backward, Some("candle"), None).unwrap();
    assert!(candle.assumptions[0].contains("reads forward"));
    assert_eq!(outputs(&candle), outputs(&read(&forward, None, None).unwrap()));
    let ordered = read(&forward, None, Some("f,i,o,g")).unwrap();
    assert!(ordered.reading().ends_with("gates in the order f, i, o, g"));
    assert_ne!(outputs(&ordered), outputs(&candle));
}

/// CS231n's names with W x where both matrices are square.
#[test]
fn square_matrices_are_read_as_the_layout_says() {
    let arrays = [array("Wx", &[I, I], 1.0), array("Wh", &[I, I], 2.0), array("b", &[I], 3.0)];
    let [plain, other] = [None, Some("mlx")].map(|source| read(&arrays, source, None).unwrap());
    assert_eq!(other.weights.cells[0]["weight_hh"].data(), arrays[1].2);
    assert_ne!(plain.weights.cells[0]["weight_hh"].data(), arrays[1].2);
}

/// @tensorflow/tfjs-layers 4.22.0, dist/layers/recurrent.js, `GRUCell.call`: blocks z, r, h; h = z h + (1 − z) tanh(x W + (r h) U + b), and
/// the gates' default is 0.2 a + 0.5, clipped.
#[test]
fn tensorflow_js_gru_resets_before_the_product() {
    let arrays = [
        array("gru/kernel", &[I, 3 * H], 1.0),
        array("gru/recurrent_kernel", &[H, 3 * H], 2.0),
        array("gru/bias", &[3 * H], 3.0),
    ];
    let hard = |a: f64| (0.2 * a + 0.5).clamp(0.0, 1.0);
    let (mut h, mut expected) = (vec![0.0; H], Vec::new());
    for x in inputs().chunks(I) {
        let a = |h: &[f64], place: usize, u: usize| {
            let column = place * H + u;
            times(x, &arrays[0].2, 3 * H, column)
                + times(h, &arrays[1].2, 3 * H, column)
                + arrays[2].2[column]
        };
        let reset: Vec<f64> = (0..H).map(|u| hard(a(&h, 1, u)) * h[u]).collect();
        let unit = |u: usize| {
            let z = hard(a(&h, 0, u));
            z * h[u] + (1.0 - z) * a(&reset, 2, u).tanh()
        };
        h = (0..H).map(unit).collect();
        expected.extend(&h);
    }
    let module = read(&arrays, Some("tensorflow.js"), None).unwrap();
    assert_eq!(module.cell, "gru_reset_before_with:hard_sigmoid_0.2,tanh");
    assert_close(&outputs(&module), &expected);
}

/// Wxh and Whh of mlx 0.32.4 without a bias; with another bias beside them they are not MLX' alone.
#[test]
fn what_stands_beside_mlx_names_is_not_left_out() {
    let arrays = [
        array("Wxh", &[H, I], 1.0),
        array("Whh", &[H, H], 2.0),
        array("bh", &[H], 3.0),
        array("Why", &[2, H], 4.0),
    ];
    assert_eq!(read(&arrays[..2], None, None).unwrap().cell, "rnn");
    let refused = read(&arrays, None, None).unwrap_err();
    assert!(refused.contains("tensor Why of shape (2, 3) and 1 more stands beside the weights"), "{refused}");
}
