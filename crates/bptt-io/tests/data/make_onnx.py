"""Makes onnx.onnx and onnx.npz (onnx 1.23, onnxruntime 1.32): a graph of recurrent nodes, its input and its outputs."""
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

here = Path(__file__).parent
random = numpy.random.default_rng(0)
I, H, T = 2, 3, 4
nodes, arrays, outputs = [], [], []


def array(name, *shape, dtype=numpy.float32):
    numbers = random.normal(size=shape) if dtype == numpy.float32 else random.integers(-100, 100, size=shape)
    arrays.append(numpy_helper.from_array(numbers.astype(dtype), name))
    return name


def add(name, kind, gates, directions=1, **attributes):
    w = array(f"{name}_w", directions, gates * H, I)
    r = array(f"{name}_r", directions, gates * H, H)
    b = array(f"{name}_b", directions, 2 * gates * H)
    nodes.append(helper.make_node(kind, ["x", w, r, b], [name], name=f"/{name}/{kind}", hidden_size=H, **attributes))
    outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [T, directions, 1, H]))


add("lstm", "LSTM", 4)
add("both", "LSTM", 4, 2, direction="bidirectional")
add("hard", "LSTM", 4, activations=["HardSigmoid", "Tanh", "Relu"])
add("after", "GRU", 3, linear_before_reset=1)
add("before", "GRU", 3)
add("relu", "RNN", 1, activations=["Relu"])
refused = {"clipped": {"clip": 0.5}, "joined": {"input_forget": 1}, "backward": {"direction": "reverse"}}
for name, attributes in refused.items():
    add(name, "LSTM", 4, **attributes)
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [T, 1, I])
graph = helper.make_graph(nodes, "recurrent", [x], outputs, arrays)
opsets = [helper.make_opsetid("", 17)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, here / "onnx.onnx")
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
numbers = random.normal(size=(T, 1, I)).astype(numpy.float32)
names = [output.name for output in outputs]
numpy.savez(here / "onnx.npz", x=numbers, **dict(zip(names, session.run(names, {"x": numbers}))))

# Quantized weights, of which one direction's scale is for all rows and the zero point for each direction.
nodes, arrays = [], []
q, scale, zero = numpy.int8, numpy.float32, numpy.int8
inputs = ["x", array("w", 2, I, 4 * H, dtype=q), array("r", 2, H, 4 * H, dtype=q), array("b", 2, 8 * H), "", "", "", ""]
inputs += [array("w_scale", 2), array("w_zero", 2, dtype=zero), array("r_scale", 2, 4 * H), array("r_zero", 2, 4 * H, dtype=zero)]
node = helper.make_node(
    "DynamicQuantizeLSTM", inputs, ["y"], name="q", hidden_size=H, direction="bidirectional", domain="com.microsoft"
)
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [T, 2, 1, H])
graph = helper.make_graph([node], "quantized", [x], [y], arrays)
opsets += [helper.make_opsetid("com.microsoft", 1)]
onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), here / "quantized.onnx")
arrays = {array.name: numpy_helper.to_array(array).astype(float) for array in arrays}
w = (arrays["w"] - arrays["w_zero"][:, None, None]) * arrays["w_scale"][:, None, None]
r = (arrays["r"] - arrays["r_zero"][:, None]) * arrays["r_scale"][:, None]
# Gates i, o, f, c as i, f, c, o.
order = numpy.concatenate([numpy.arange(g * H, (g + 1) * H) for g in (0, 2, 3, 1)])
numpy.savez(here / "quantized.npz", w=w.transpose(0, 2, 1)[:, order], r=r.transpose(0, 2, 1)[:, order])
