//! Files that hold more than what is read: refused by name, asked for, or let go where that is said.

mod common;

use bptt_io::{Error, choose, embedding, head, inspect};

use common::{Array, File, H, I, array, outputs};

fn keras(gates: usize) -> Vec<Array> {
    vec![
        array("a/kernel", &[I, gates * H], 1.0),
        array("a/recurrent_kernel", &[H, gates * H], 2.0),
        array("a/bias", &[gates * H], 3.0),
    ]
}

fn pytorch() -> Vec<Array> {
    vec![
        array("a.weight_ih_l0", &[4 * H, I], 1.0),
        array("a.weight_hh_l0", &[4 * H, H], 2.0),
        array("a.bias_ih_l0", &[4 * H], 3.0),
        array("a.bias_hh_l0", &[4 * H], 4.0),
    ]
}

fn with(mut arrays: Vec<Array>, more: &[Array]) -> File {
    arrays.extend_from_slice(more);
    File::new(&arrays)
}

fn refusal(file: &File) -> String {
    choose(&file.tensors("m.safetensors"), None, None).unwrap_err().to_string()
}

#[test]
fn a_tensor_of_the_cell_that_nothing_reads_is_refused_by_name() {
    let without_biases = || pytorch()[..2].to_vec();
    let cases: [(Vec<Array>, Array); 12] = [
        (keras(4), array("a/input_gate_peephole_weights", &[H], 5.0)),
        (keras(4), array("a/kernel_norm/gamma", &[4 * H], 5.0)),
        (keras(4), array("a/recurrent_bias", &[4 * H], 5.0)),
        (keras(4), array("a/attention/kernel", &[H, H], 5.0)),
        (without_biases(), array("a.bias_l0", &[4 * H], 5.0)),
        (pytorch(), array("a.ln_hh.weight", &[4 * H], 5.0)),
        (pytorch(), array("a.weight_ph_l0", &[3 * H], 5.0)),
        (pytorch(), array("a.weight_hh_l0_raw", &[4 * H, H], 5.0)),
        (pytorch(), array("a.weight_hh_l0_mask", &[4 * H, H], 5.0)),
        (pytorch(), array("a.h0", &[1, 1, H], 5.0)),
        (pytorch(), array("a.parametrizations.weight_ih_l1.original0", &[4 * H, 1], 5.0)),
        (pytorch(), array("a.weight_ih_l1_g", &[4 * H, 1], 5.0)),
    ];
    for (arrays, more) in cases {
        let name = more.0;
        let file = with(arrays, &[more]);
        let refused = refusal(&file);
        assert!(refused.contains(&format!("tensor {name} ")), "{refused}");
        assert!(refused.contains(&format!("--ignore {name}")), "{refused}");
        let mut tensors = file.tensors("m.safetensors");
        tensors.ignore(name).unwrap();
        choose(&tensors, None, None).unwrap();
        inspect(&tensors, None).unwrap();
    }
}

#[test]
fn without_a_prefix_too() {
    let plain = || -> Vec<Array> { pytorch().into_iter().map(|(name, s, v)| (&name[2..], s, v)).collect() };
    for more in
        [array("bias_l0", &[4 * H], 5.0), array("ln_hh.weight", &[4 * H], 5.0), array("c0", &[1, H], 5.0)]
    {
        let name = more.0;
        let refused = refusal(&with(plain(), &[more]));
        assert!(refused.contains(&format!("tensor {name} ")), "{refused}");
    }
    // The rest of a model: maps with their biases.
    let rest =
        [array("head.weight", &[2, H], 5.0), array("head.bias", &[2], 6.0), array("fc.weight", &[5, 2], 7.0)];
    choose(&with(plain(), &rest).tensors("m.safetensors"), None, None).unwrap();
    // CS231n's captioning model.
    let cs231n =
        vec![array("Wx", &[I, 4 * H], 1.0), array("Wh", &[H, 4 * H], 2.0), array("b", &[4 * H], 3.0)];
    let rest = [array("W_embed", &[9, I], 5.0), array("W_vocab", &[H, 9], 6.0), array("b_vocab", &[9], 7.0)];
    choose(&with(cs231n.clone(), &rest).tensors("m.safetensors"), None, None).unwrap();
    let refused = refusal(&with(cs231n, &[array("W_attn", &[H, H], 5.0)]));
    assert!(refused.contains("tensor W_attn "), "{refused}");
}

#[test]
fn what_belongs_to_another_module_is_its_own() {
    let mut arrays = pytorch();
    arrays.extend([
        array("a.inner.weight_ih_l0", &[H, I], 5.0),
        array("a.inner.weight_hh_l0", &[H, H], 6.0),
        array("a.innermost.weight", &[H, H], 7.0),
    ]);
    let tensors = File::new(&arrays).tensors("m.safetensors");
    choose(&tensors, Some("a.inner"), None).unwrap();
    let refused = choose(&tensors, Some("a"), None).unwrap_err().to_string();
    assert!(refused.contains("tensor a.innermost.weight of shape (3, 3) stands beside"), "{refused}");
    // A file's other modules are listed all the same.
    let report = inspect(&tensors, None).unwrap();
    assert_eq!(report.modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(), ["a.inner"]);
    assert_eq!(report.unreadable[0].name, "a");
}

#[test]
fn parts_of_a_weight_are_named_with_the_way_to_join_them() {
    let missing: Vec<Array> = pytorch().into_iter().filter(|(name, ..)| *name != "a.weight_hh_l0").collect();
    let cases: [(&[&str], &str); 4] = [
        (
            &[
                "a.parametrizations.weight_hh_l0.original",
                "a.parametrizations.weight_hh_l0.0._u",
                "a.parametrizations.weight_hh_l0.0._v",
            ],
            "remove_parametrizations(module, \"weight_hh_l0\")",
        ),
        (
            &["a.weight_hh_l0_orig", "a.weight_hh_l0_u", "a.weight_hh_l0_v"],
            "remove_spectral_norm(module, \"weight_hh_l0\")",
        ),
        (&["a.weight_hh_l0_orig", "a.weight_hh_l0_mask"], "prune.remove(module, \"weight_hh_l0\")"),
        (&["a.weight_hh_l0_raw"], "weight dropout"),
    ];
    for (names, way_out) in cases {
        let parts: Vec<Array> = names.iter().map(|name| array(name, &[4 * H, H], 5.0)).collect();
        let refused = refusal(&with(missing.clone(), &parts));
        assert!(refused.contains(way_out), "{refused}");
    }
    // A wrapper's, above the module.
    let moved: Vec<Array> = pytorch();
    let refused = refusal(&with(moved, &[array("weight_hh_l0_raw", &[4 * H, H], 5.0)]));
    assert!(refused.contains("tensor weight_hh_l0_raw of a is a weight before weight dropout"), "{refused}");
}

#[test]
fn a_weight_normed_module_is_read_and_that_is_said() {
    let v = array("a.weight_hh_l0_v", &[4 * H, H], 5.0);
    let g = array("a.weight_hh_l0_g", &[4 * H, 1], 6.0);
    let rows = v.2.chunks(H).zip(&g.2);
    let w = rows.flat_map(|(v, g)| {
        let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        v.iter().map(move |v| g * v / length)
    });
    let mut plain = pytorch();
    plain[1].2 = w.collect();
    let mut normed = pytorch();
    normed.splice(1..2, [v, g]);
    let module = |arrays: &[Array]| choose(&File::new(arrays).tensors("m.safetensors"), None, None).unwrap();
    assert_eq!(outputs(&module(&normed)), outputs(&module(&plain)));
    assert!(module(&normed).assumptions[0].starts_with("a.weight_hh_l0 is weight-normed"));
}

#[test]
fn a_head_is_taken_only_if_nothing_else_may_follow() {
    let readout = || vec![array("out.weight", &[2, H], 5.0), array("out.bias", &[2], 6.0)];
    let tensors = |more: Vec<Array>| with(pytorch(), &more).tensors("m.safetensors");
    let embedded = [readout(), vec![array("emb.weight", &[9, I], 7.0)]].concat();
    for alone in [readout(), embedded] {
        let tensors = tensors(alone);
        let module = choose(&tensors, None, None).unwrap();
        assert_eq!(head(&tensors, &module, None, None).unwrap().0, "out");
    }
    let others = [
        array("fc2.weight", &[5, 2], 7.0),
        array("norm.weight", &[H], 7.0),
        array("attention.weight", &[H, H], 7.0),
        array("conv.weight", &[2, H, 3], 7.0),
        array("b.weight_hh_l0", &[4 * H, H], 7.0),
    ];
    for other in others {
        let tensors = tensors([readout(), vec![other]].concat());
        let module = choose(&tensors, Some("a"), None).unwrap();
        let Err(Error::Choice { option, choices, .. }) = head(&tensors, &module, None, None) else {
            panic!("a head was taken")
        };
        assert_eq!(
            (option, choices.last().unwrap().starts_with("out  (2, 3)")),
            ("head", true),
            "{choices:?}"
        );
        assert_eq!(head(&tensors, &module, Some("out"), None).unwrap().0, "out");
    }
    // What is known to be read does not stand between.
    let read = [readout(), vec![array("encoder.weight", &[9, I], 7.0)]].concat();
    let read = with(pytorch(), &read).tensors("m.safetensors");
    let module = choose(&read, None, None).unwrap();
    assert!(head(&read, &module, None, None).is_err());
    assert_eq!(head(&read, &module, None, Some("encoder")).unwrap().0, "out");
    // Vectors that inputs and outputs share.
    let tensors = tensors(vec![array("emb.weight", &[9, H], 7.0)]);
    let module = choose(&tensors, None, None).unwrap();
    let refused = head(&tensors, &module, None, None).unwrap_err().to_string();
    assert!(refused.contains("--head emb"), "{refused}");
    assert_eq!(head(&tensors, &module, Some("emb"), None).unwrap().1.outputs(), 9);
}

#[test]
fn integers_are_one_hot_only_if_no_matrix_fits_or_it_is_said() {
    let tensors = |more: &[Array]| with(pytorch(), more).tensors("m.safetensors");
    let find = |more: &[Array], name: Option<&str>| {
        let tensors = tensors(more);
        let module = choose(&tensors, None, None).unwrap();
        embedding(&tensors, &module, name, None).map(|found| found.map(|(name, _)| name))
    };
    assert_eq!(find(&[array("fc.weight", &[5, 2 * I], 5.0)], None).unwrap(), None);
    assert_eq!(find(&[array("word_emb.weight", &[5, I], 5.0)], None).unwrap().unwrap(), "word_emb");
    for name in ["encoder.weight", "lookup.weight", "wte.weight"] {
        let vectors = [array(name, &[5, I], 5.0)];
        let Err(Error::Choice { option, choices, .. }) = find(&vectors, None) else { panic!("{name}") };
        assert_eq!((option, choices.len()), ("embedding", 2));
        let module = name.trim_end_matches(".weight");
        assert_eq!(find(&vectors, Some(module)).unwrap().unwrap(), module);
        assert_eq!(find(&vectors, Some("none")).unwrap(), None);
    }
    let two = [array("emb.weight", &[5, I], 5.0), array("encoder.weight", &[5, I], 5.0)];
    assert!(matches!(find(&two, None), Err(Error::Choice { .. })));
}
