#!/usr/bin/env bash
# One Keras configuration with "hard_sigmoid" in Keras 3 and in TensorFlow.js.
#
# Expected: tfjs-layers is Keras in JavaScript and reads Keras' configurations, so one configuration and the same weights give the
#           same LSTM.
# Actual:   "hard_sigmoid" is x/6 + 1/2 in Keras 3, as in PyTorch and JAX, and 0.2 x + 1/2 in tfjs, as in Keras 2. Nothing in the
#           configuration says which is meant, and both load it without a warning. With all weights 1 the outputs differ in the second
#           digit. A configuration that names no recurrent activation also means two things: sigmoid in Keras, hard sigmoid in
#           tfjs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.3.5 scipy==1.17.1
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" @tensorflow/tfjs@4.22.0

cat > "$folder/layer.py" <<'PYTHON'
import json
import keras
import numpy

print("keras", keras.__version__)
x = numpy.array([[[0.5], [1.0], [-1.0]]], "float32")
found = {}
for name, options in (("hard_sigmoid", {"recurrent_activation": "hard_sigmoid"}), ("unnamed", {})):
    layer = keras.layers.LSTM(1, return_sequences=True, **options)
    layer.build(x.shape)
    layer.set_weights([numpy.ones(w.shape) * (w.name != "bias") for w in layer.weights])
    found[name] = numpy.asarray(layer(x)).flatten().tolist()
found["at 1"] = float(keras.activations.hard_sigmoid(numpy.float32(1)))
json.dump(found, open("keras.json", "w"))
PYTHON

cat > "$folder/layer.js" <<'JAVASCRIPT'
const warnings = console.warn;
console.warn = () => {};
const tf = require("@tensorflow/tfjs");
const expected = JSON.parse(require("fs").readFileSync("keras.json"));

function lstm(options) {
  const config = { units: 1, returnSequences: true, kernelInitializer: "ones", recurrentInitializer: "ones", unitForgetBias: false };
  const layer = tf.layers.lstm({ inputShape: [3, 1], ...config, ...options });
  const x = tf.tensor3d([[[0.5], [1], [-1]]]);
  return Array.from(tf.sequential({ layers: [layer] }).predict(x).dataSync());
}

tf.setBackend("cpu").then(() => {
  console.warn = warnings;
  console.log("tfjs", tf.version.tfjs);
  const found = { hard_sigmoid: lstm({ recurrentActivation: "hardSigmoid" }), unnamed: lstm({}), sigmoid: lstm({ recurrentActivation: "sigmoid" }) };
  const at1 = tf.layers.activation({ activation: "hardSigmoid", inputShape: [1] }).apply(tf.tensor2d([[1]])).dataSync()[0];
  const distance = (a, b) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));
  console.log("hard sigmoid of 1:          keras", expected["at 1"], "tfjs", at1);
  for (const name of ["hard_sigmoid", "unnamed"]) console.log("LSTM,", name, "\n  keras", expected[name], "\n  tfjs ", found[name]);
  const asDescribed =
    Math.abs(expected["at 1"] - 2 / 3) < 1e-6 && Math.abs(at1 - 0.7) < 1e-6 &&
    distance(found.hard_sigmoid, expected.hard_sigmoid) > 0.005 &&
    distance(found.unnamed, found.hard_sigmoid) === 0 && distance(found.sigmoid, expected.unnamed) < 1e-6;
  if (!asDescribed) console.log("the behavior has changed");
  process.exitCode = asDescribed ? 0 : 1;
});
JAVASCRIPT

cd "$folder"
KERAS_BACKEND=numpy KERAS_HOME="$folder" "$folder/venv/bin/python" layer.py
node layer.js
