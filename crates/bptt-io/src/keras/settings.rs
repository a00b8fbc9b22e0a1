//! What a model's configuration says of its recurrent layers: which cell they are, or why they cannot be read.
//!
//! Source: `get_config` of keras.layers.LSTM, GRU, SimpleRNN and Bidirectional in Keras 1.2, 2.15 and 3.15.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::ANY_STEP;

/// What the configuration says of each recurrent layer, by its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    layers: BTreeMap<String, Result<String, String>>,
    /// The layers of two directions.
    both: BTreeSet<String>,
    /// The activations of dense layers, by the last part of their paths.
    dense: BTreeMap<String, String>,
    /// Whether there is a configuration, so that it has every layer.
    is_whole: bool,
    /// The version of Keras that wrote a file without a configuration, if the file says it.
    version: Option<String>,
    /// What it says of the whole model, a sentence each.
    pub said: Vec<String>,
}

impl Settings {
    /// The cell of the module at `path`, or why it cannot be read; `None` if there is no configuration.
    pub fn cell(&self, path: &str, directions: usize) -> Option<Result<&str, &str>> {
        let parts: Vec<&str> = path.split('/').collect();
        // The names of a layer and of the models around it are among the parts of the path, in this order, from the first on.
        let leads_here = |key: &&String| {
            let mut rest = parts.iter();
            key.split('/').all(|name| rest.any(|part| *part == name))
                && key.split('/').next() == parts.first().copied()
        };
        let Some(key) = self.layers.keys().filter(leads_here).max_by_key(|key| key.split('/').count()) else {
            return self.is_whole.then_some(Err("the configuration in the file says nothing of it"));
        };
        let cell = self.layers.get(key)?.as_ref().map(String::as_str).map_err(String::as_str);
        if cell.is_ok() && self.both.contains(key) && directions == 1 {
            return Some(Err(
                "it is one direction of a Bidirectional layer, of which the other was not found; Bidirectional without a \
                 backward_layer takes the weights of both (set_weights)",
            ));
        }
        Some(cell)
    }

    /// The activation behind the dense layer at `path`, if there is one besides softmax, which cross-entropy has, too.
    pub fn activation(&self, path: &str) -> Option<&str> {
        let name = path.rsplit('/').next()?;
        self.dense
            .get(name)
            .map(String::as_str)
            .filter(|activation| !["linear", "softmax"].contains(activation))
    }

    /// Says which cell the layer called `name` is, or why it cannot be read.
    pub fn set(&mut self, name: &str, cell: Result<String, String>) {
        self.layers.insert(name.into(), cell);
    }

    /// Of a file that has weights alone, and perhaps the version of Keras that wrote it.
    pub fn without_configuration(version: Option<&str>) -> Self {
        Self { version: version.map(String::from), ..Self::default() }
    }

    /// The version of Keras that wrote weights without a configuration, if the default activation of gates was the hard sigmoid
    /// then: up to 2.2. TensorFlow's own versions, "2.2.4-tf", are of both kinds.
    pub fn version_of_hard_gates(&self) -> Option<&str> {
        let version = self.version.as_deref().filter(|version| !version.contains('-'))?;
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        let number = (numbers.next()?, numbers.next().unwrap_or(0));
        (number < (2, 3)).then_some(version)
    }

    /// From a model's configuration and the version of Keras that wrote it.
    pub fn new(config: &Value, version: &str) -> Self {
        let mut settings = Self { is_whole: true, ..Self::default() };
        let old = !version.starts_with(['3', '4']);
        settings.add(config, old, "", 0);
        settings
    }

    fn add(&mut self, layer: &Value, old: bool, around: &str, depth: usize) {
        let (class, config) = (layer["class_name"].as_str().unwrap_or_default(), &layer["config"]);
        // A Sequential of Keras 1 is a list.
        let within = config["layers"].as_array().or_else(|| config.as_array());
        let name = config["name"].as_str().unwrap_or_default();
        if let (Some(layers), true) = (within, depth < 16) {
            let around = if depth == 0 { String::new() } else { format!("{around}{name}/") };
            for layer in layers {
                self.add(layer, old, &around, depth + 1);
            }
            return;
        }
        if class == "Dense"
            && let Some(activation) = config["activation"].as_str()
        {
            self.dense.insert(name.into(), activation.into());
        }
        if class == "Masking" || (class == "Embedding" && config["mask_zero"] == true) {
            self.said
                .push(format!("the layer {name} masks steps of its inputs; give --lengths if there are any"));
        }
        if let Some(cell) = cell_of(class, config, old) {
            let path = format!("{around}{name}");
            if class == "Bidirectional" {
                if config.get("merge_mode").is_some_and(Value::is_null) && cell.is_ok() {
                    self.said.push(format!(
                        "{name} gives out its two directions apart (merge_mode None); they are read side by side, the forward one first"
                    ));
                }
                self.both.insert(path.clone());
            }
            self.layers.insert(path, cell);
        }
    }
}

/// What the gradients by the outputs of both directions are, from that by what `merge_mode` makes of them.
fn gradient_of_both(mode: &str) -> Option<&'static str> {
    match mode {
        "sum" => Some("that by the sum, twice"),
        "ave" => Some("half of that by the average, twice"),
        "mul" => Some("that by the product, times the output of the other direction"),
        _ => None,
    }
}

/// The cell of a layer of this class, or why it cannot be read; `None` if it is not recurrent.
fn cell_of(class: &str, config: &Value, old: bool) -> Option<Result<String, String>> {
    let problem = |what: String| Some(Err(what));
    match class {
        "Bidirectional" => {
            if let Some(mode) = config["merge_mode"].as_str().filter(|mode| *mode != "concat") {
                return problem(match gradient_of_both(mode) {
                    Some(both) => format!(
                        "its two directions are merged by {mode}, which is not read; set its merge_mode to concat, and give the \
                         gradient of both directions with --grad-output, the forward one first: {both}"
                    ),
                    None => format!("its two directions are merged by {mode}, which is not known here"),
                });
            }
            let inner = &config["layer"];
            let other = &config["backward_layer"];
            if !other.is_null() {
                let mut forward = other["config"].clone();
                forward["go_backwards"] = Value::Bool(false);
                let [first, second] = [&inner["config"], &forward].map(|config| {
                    cell_of(inner["class_name"].as_str().unwrap_or_default(), config, old)
                        .and_then(Result::ok)
                });
                if inner["class_name"] != other["class_name"] || first != second {
                    return problem(
                        "its two directions are different layers, which is not read; make a layer of each, the second without \
                         go_backwards and with its inputs reversed"
                            .into(),
                    );
                }
            }
            return match cell_of(inner["class_name"].as_str().unwrap_or_default(), &inner["config"], old) {
                None => problem(format!("its layer is of a class that is not known here; {ANY_STEP}")),
                cell => cell,
            };
        }
        "RNN" => {
            return problem(format!(
                "it is an RNN of given cells, which is not read; the layers LSTM, GRU and SimpleRNN take the weights of their cells \
                 (set_weights); otherwise {ANY_STEP}"
            ));
        }
        "ConvLSTM1D" | "ConvLSTM2D" | "ConvLSTM3D" => {
            return problem(format!("it is a {class}, which is not read; {ANY_STEP}"));
        }
        "LSTM" | "GRU" | "SimpleRNN" | "CuDNNLSTM" | "CuDNNGRU" => {}
        _ => return None,
    }
    if config["go_backwards"] == true {
        return problem(
            "it reads backwards (go_backwards), which is not read; set go_backwards to false and give its inputs reversed, its outputs \
             are then the same"
                .into(),
        );
    }
    let name = |key: &str, usual: &str| match &config[key] {
        Value::Null => Ok(usual.to_owned()),
        Value::String(name) => Ok(name.clone()),
        other => Err(format!("its {key} is {other}, which is not known here; {ANY_STEP}")),
    };
    let known = |key: &str, usual: &str| -> Result<&'static str, String> {
        Ok(match name(key, usual)?.as_str() {
            "tanh" => "tanh",
            "sigmoid" => "sigmoid",
            "relu" => "relu",
            "linear" => "identity",
            "hard_sigmoid" if old => "hard_sigmoid_0.2",
            "hard_sigmoid" => "hard_sigmoid",
            other => return Err(format!("its {key} is {other}, which is not known here; {ANY_STEP}")),
        })
    };
    // Before 2.3 the gates' default was the hard sigmoid; configurations name it, those of Keras 1 by another key.
    let key = if config["inner_activation"].is_null() { "recurrent_activation" } else { "inner_activation" };
    let gates = known(key, "sigmoid");
    let cell = known("activation", "tanh").and_then(|state| {
        Ok(match (class, gates?, state) {
            ("CuDNNGRU", ..) => "gru".into(),
            ("SimpleRNN", _, "tanh") => "rnn".into(),
            ("SimpleRNN", _, "relu") => "rnn_relu".into(),
            ("SimpleRNN", _, "identity") => "rnn_identity".into(),
            ("SimpleRNN", _, other) => {
                return Err(format!(
                    "its activation is {other}, which a vanilla layer has not here; {ANY_STEP}"
                ));
            }
            ("CuDNNLSTM", ..) | ("LSTM", "sigmoid", "tanh") => "lstm".into(),
            ("LSTM", gates, state) => format!("lstm_with:{gates},{state}"),
            (_, gates, state) => {
                // Keras 2.0 has no reset_after: the gate multiplies before the product.
                let base = if config["reset_after"] == true { "gru" } else { "gru_reset_before" };
                if (gates, state) == ("sigmoid", "tanh") {
                    base.into()
                } else {
                    format!("{base}_with:{gates},{state}")
                }
            }
        })
    });
    Some(cell)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(class: &str, config: &Value, version: &str) -> Result<String, String> {
        let layer = json!({"class_name": class, "config": config});
        let mut named = layer.clone();
        named["config"]["name"] = json!("a");
        let model = json!({"class_name": "Sequential", "config": {"layers": [named]}});
        let settings = Settings::new(&model, version);
        settings.cell("a/cell", 2).unwrap().map(String::from).map_err(String::from)
    }

    #[test]
    fn configurations_name_the_cell() {
        let cases = [
            ("LSTM", json!({}), "2.14.0", "lstm"),
            (
                "LSTM",
                json!({"recurrent_activation": "hard_sigmoid"}),
                "2.2.4",
                "lstm_with:hard_sigmoid_0.2,tanh",
            ),
            (
                "LSTM",
                json!({"recurrent_activation": "hard_sigmoid"}),
                "3.15.0",
                "lstm_with:hard_sigmoid,tanh",
            ),
            ("LSTM", json!({"inner_activation": "hard_sigmoid"}), "1.2.2", "lstm_with:hard_sigmoid_0.2,tanh"),
            ("LSTM", json!({"activation": "relu"}), "2.14.0", "lstm_with:sigmoid,relu"),
            ("CuDNNLSTM", json!({}), "2.2.4", "lstm"),
            ("CuDNNGRU", json!({}), "2.2.4", "gru"),
            ("GRU", json!({"reset_after": true}), "3.15.0", "gru"),
            ("GRU", json!({"reset_after": false}), "2.14.0", "gru_reset_before"),
            (
                "GRU",
                json!({"recurrent_activation": "hard_sigmoid"}),
                "2.0.8",
                "gru_reset_before_with:hard_sigmoid_0.2,tanh",
            ),
            ("SimpleRNN", json!({"activation": "relu"}), "3.15.0", "rnn_relu"),
            (
                "Bidirectional",
                json!({"merge_mode": "concat", "layer": {"class_name": "LSTM", "config": {}}}),
                "2.14.0",
                "lstm",
            ),
        ];
        for (class, config, version, expected) in cases {
            assert_eq!(cell(class, &config, version).as_deref(), Ok(expected), "{class} {config}");
            bptt::cell_by_name(expected).unwrap();
        }
        let refused = [
            ("LSTM", json!({"go_backwards": true}), "go_backwards"),
            ("LSTM", json!({"activation": "gelu"}), "its activation is gelu"),
            ("GRU", json!({"recurrent_activation": {"class_name": "Mine"}}), "its recurrent_activation is {"),
            ("SimpleRNN", json!({"activation": "sigmoid"}), "its activation is sigmoid"),
            ("CuDNNLSTM", json!({"go_backwards": true}), "go_backwards"),
            (
                "RNN",
                json!({}),
                "it is an RNN of given cells, which is not read; the layers LSTM, GRU and SimpleRNN",
            ),
            (
                "ConvLSTM2D",
                json!({}),
                "it is a ConvLSTM2D, which is not read; in Python, bptt.torch.cell_ledger",
            ),
            (
                "Bidirectional",
                json!({"merge_mode": "sum", "layer": {"class_name": "LSTM", "config": {}}}),
                "merged by sum, which is not read; set its merge_mode to concat",
            ),
        ];
        for (class, config, problem) in refused {
            let found = cell(class, &config, "2.14.0").unwrap_err();
            assert!(found.contains(problem), "{found}");
        }
    }

    #[test]
    fn hard_gates_were_the_default_before_2_3() {
        let cases = [
            ("1.2.2", true),
            ("2.0.6", true),
            ("2.2.5", true),
            ("2.3.0", false),
            ("2.2.4-tf", false),
            ("3.15.0", false),
        ];
        for (version, hard) in cases {
            let settings = Settings::without_configuration(Some(version));
            assert_eq!(settings.version_of_hard_gates(), hard.then_some(version));
        }
        assert_eq!(Settings::without_configuration(None).version_of_hard_gates(), None);
    }

    #[test]
    fn layers_are_told_by_the_models_around_them() {
        let layer = |class: &str, config: Value| json!({"class_name": class, "config": config});
        let within = |name: &str, activation: &str| {
            let lstm = layer("LSTM", json!({"name": "lstm", "activation": activation}));
            layer("Sequential", json!({"name": name, "layers": [lstm]}))
        };
        let forward = layer("LSTM", json!({"activation": "tanh"}));
        let backward = layer("LSTM", json!({"activation": "relu", "go_backwards": true}));
        let layers = [
            within("enc", "tanh"),
            within("dec", "relu"),
            layer("Bidirectional", json!({"name": "both", "layer": forward})),
            layer("Bidirectional", json!({"name": "unlike", "layer": forward, "backward_layer": backward})),
            layer("Dense", json!({"name": "out", "activation": "relu"})),
            layer("Dense", json!({"name": "scores", "activation": "softmax"})),
        ];
        let settings =
            Settings::new(&layer("Functional", json!({"name": "all", "layers": layers})), "3.15.1");
        assert_eq!(settings.cell("enc/lstm/lstm_cell", 1), Some(Ok("lstm")));
        assert_eq!(settings.cell("dec/lstm/lstm_cell", 1), Some(Ok("lstm_with:sigmoid,relu")));
        assert_eq!(settings.cell("both/forward_lstm/lstm_cell", 2), Some(Ok("lstm")));
        let problem = |path: &str, directions| settings.cell(path, directions).unwrap().unwrap_err();
        assert!(problem("both/lstm_1/lstm_cell", 1).contains("one direction of a Bidirectional"));
        assert!(problem("unlike/forward_lstm/lstm_cell", 2).contains("different layers"));
        assert!(problem("another/lstm_cell", 1).contains("says nothing of it"));
        assert_eq!((settings.activation("out"), settings.activation("scores")), (Some("relu"), None));
        assert_eq!(Settings::default().cell("a/lstm_cell", 1), None);
    }
}
