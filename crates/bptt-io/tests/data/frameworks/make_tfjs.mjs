// Makes the folders tfjs_* and tfjs.safetensors (@tensorflow/tfjs 4.22.0, Node 20): layers of TensorFlow.js as it saves them, and what
// they compute in f32. common.py says what the arrays are. Run with `node make_tfjs.mjs` where `npm install @tensorflow/tfjs@4.22.0` was run.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { createRequire } from 'node:module';

const tf = createRequire(pathToFileURL(path.resolve('node_modules/')))('@tensorflow/tfjs');
const folder = import.meta.dirname;
const [I, H, T] = [2, 3, 4];
const numbers = (seed, count) => Array.from({ length: count }, (_, i) => 0.8 * Math.sin(seed + 1.7 * i));
const arrays = {};

async function add(name, layer, rows) {
  const model = tf.sequential({ layers: [layer] });
  model.layers[0].setWeights(model.layers[0].getWeights().map((w, n) => tf.tensor(numbers(2 + 0.37 * n, w.size), w.shape)));
  const x = tf.variable(tf.tensor(numbers(0.3, T * I), [1, T, I]));
  const run = () => model.apply(x);
  const width = run().shape[2];
  const seeds = tf.tensor(numbers(0.9, T * width), [T, width]);
  const variables = model.layers[0].getWeights(true).map((_, n) => model.layers[0].trainableWeights[n].val);
  const [dx, norms] = [[], []];
  for (let k = 0; k < T; k++) {
    const of = () => run().squeeze([0]).gather([k]).squeeze([0]).mul(seeds.gather([k]).squeeze([0])).sum();
    const { grads } = tf.variableGrads(of, [x, ...variables]);
    dx.push(...grads[x.name].dataSync());
    for (const which of rows) norms.push(grads[variables[which].name].norm().dataSync()[0]);
  }
  arrays[`${name}.y`] = { shape: [T, width], data: run().dataSync() };
  arrays[`${name}.dx`] = { shape: [T, T, I], data: dx };
  arrays[`${name}.norms`] = { shape: [T, 3], data: norms };
  const to = path.join(folder, `tfjs_${name}`);
  await model.save(tf.io.withSaveHandler(async (artifacts) => {
    fs.mkdirSync(to, { recursive: true });
    const { modelTopology, format, generatedBy, convertedBy, weightSpecs, weightData } = artifacts;
    const weightsManifest = [{ paths: ['./weights.bin'], weights: weightSpecs }];
    fs.writeFileSync(path.join(to, 'model.json'), JSON.stringify({ modelTopology, format, generatedBy, convertedBy, weightsManifest }));
    fs.writeFileSync(path.join(to, 'weights.bin'), Buffer.from(tf.io.CompositeArrayBuffer.join(weightData)));
    return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
  }));
}

const options = { units: H, returnSequences: true, inputShape: [T, I] };
await add('lstm', tf.layers.lstm(options), [0, 1, 2]);
await add('gru', tf.layers.gru(options), [0, 1, 2]);
const layer = tf.layers.simpleRNN({ units: H, returnSequences: true });
await add('both', tf.layers.bidirectional({ layer, mergeMode: 'concat', inputShape: [T, I] }), [0, 1, 2]);

const [header, blocks] = [{}, []];
let offset = 0;
for (const [name, { shape, data }] of Object.entries(arrays)) {
  const bytes = Buffer.from(new Float64Array(data).buffer);
  header[name] = { dtype: 'F64', shape, data_offsets: [offset, offset + bytes.length] };
  offset += bytes.length;
  blocks.push(bytes);
}
const json = Buffer.from(JSON.stringify(header));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(json.length));
fs.writeFileSync(path.join(folder, 'tfjs.safetensors'), Buffer.concat([length, json, ...blocks]));
