"""Makes onnx.onnx and onnx.npz (onnx 1.23, onnxruntime 1.32): a graph of recurrent nodes, its input and its outputs; quantized.onnx with
its weights; computed.onnx and computed.npz, whose nodes' weights are computed in the graph from arrays; ways_out.onnx and ways_out.npz,
peepholes, and nodes that are refused beside those that the refusals ask for, of the same weights.
"""
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

# Weights that are computed from arrays, as exporters write them without folding constants.
nodes, arrays, outputs = [], [], []


def constant(name, numbers):
    arrays.append(numpy_helper.from_array(numpy.array(numbers, dtype=numpy.int64), name))
    return name


def operator(kind, inputs, output, **attributes):
    nodes.append(helper.make_node(kind, inputs, output if isinstance(output, list) else [output], **attributes))
    return output


zero = constant("zero", [0])


def rows(weight, start, end):
    """Rows of a weight, with one axis in front."""
    bounds = [constant(f"{weight}_{start}_{end}_{at}", [at * H]) for at in (start, end)]
    part = operator("Slice", [weight, *bounds, zero], f"{weight}_rows_{start}")
    return operator("Unsqueeze", [part, zero], f"{weight}_block_{start}")


def ordered(weight, order):
    """PyTorch's gates in the order of ONNX, as torch.onnx.export writes it."""
    parts = [operator("Squeeze", [rows(weight, gate, gate + 1), zero], f"{weight}_gate_{gate}") for gate in order]
    joined = operator("Concat", parts, f"{weight}_joined", axis=0)
    return operator("Unsqueeze", [joined, zero], f"{weight}_ordered")


def recurrent(name, kind, w, r, b, *more, **attributes):
    nodes.append(helper.make_node(kind, ["x", w, r, b, *more], [name], name=name, hidden_size=H, **attributes))
    outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [T, 1, 1, H]))


# Both biases in one, as PyTorch has them.
biases = [ordered(array(f"b_{side}", 4 * H), [0, 3, 1, 2]) for side in "xh"]
b = operator("Concat", biases, "b", axis=1)
w, r = ordered(array("w", 4 * H, I), [0, 3, 1, 2]), ordered(array("r", 4 * H, H), [0, 3, 1, 2])
arrays.append(numpy_helper.from_array(numpy.array([T], dtype=numpy.int32), "lengths"))
h0, c0 = array("h0", 1, 1, H), array("c0", 1, 1, H)
recurrent("sliced", "LSTM", w, r, b)
recurrent("started", "LSTM", w, r, b, "lengths", h0, c0)
none = numpy_helper.from_array(numpy.zeros(1, dtype=numpy.float32))
zeros = operator("ConstantOfShape", [constant("state_shape", [1, 1, H])], "zeros", value=none)
# As TensorFlow has weights: (I, 3 H), and in doubles.
kernel = operator("Transpose", [array("kernel", I, 3 * H)], "kernel_t", perm=[1, 0])
w = operator("Reshape", [operator("Identity", [kernel], "kernel_again"), constant("shape", [1, 3 * H, -1])], "kernel_1")
arrays.append(numpy_helper.from_array(random.normal(size=(1, 3 * H, H)), "double"))
r = operator("Cast", ["double"], "single", to=TensorProto.FLOAT)
halves = operator("Split", [array("both", 1, 12 * H)], ["b_here", "b_there"], axis=1)
recurrent("turned", "GRU", w, r, halves[0], "", zeros)
scaled = operator("Mul", [array("factor", 1), array("unscaled", 1, H, I)], "product")
recurrent("scaled", "RNN", scaled, array("r_scaled", 1, H, H), array("b_scaled", 1, 2 * H))
recurrent("fed", "RNN", array("w_fed", 1, H, I), array("r_fed", 1, H, H), array("b_fed", 1, 2 * H), "", "state")
state = helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 1, H])
graph = helper.make_graph(nodes, "computed", [x, state], outputs, arrays)
model = helper.make_model(graph, opset_imports=opsets[:1], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, here / "computed.onnx")
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
names = [output.name for output in outputs]
given = {"x": numbers, "state": numpy.zeros((1, 1, H), dtype=numpy.float32)}
arrays = {array.name: numpy_helper.to_array(array) for array in arrays}
numpy.savez(here / "computed.npz", x=numbers, h0=arrays["h0"], c0=arrays["c0"], **dict(zip(names, session.run(names, given))))

# Peepholes; then of each pair of nodes the first is refused and the others are what the refusal asks for.
nodes, arrays, outputs = [], [], []


def weights(name, gates, directions=1):
    return [array(f"{name}_{part}", directions, *size) for part, size in (("w", (gates * H, I)), ("r", (gates * H, H)), ("b", (2 * gates * H,)))]


def node(name, kind, inputs, directions=1, **attributes):
    nodes.append(helper.make_node(kind, ["x", *inputs], [name], name=name, hidden_size=H, **attributes))
    outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [T, directions, 1, H]))


def half(name, of, direction):
    arrays.append(numpy_helper.from_array(numpy_helper.to_array(next(a for a in arrays if a.name == of))[direction : direction + 1], name))
    return name


node("peephole", "LSTM", [*weights("p", 4), "", "", "", array("p_p", 1, 3 * H)])
w, r, _ = weights("q", 4, 2)
node("peepholes", "LSTM", [w, r, "", "", "", "", array("q_p", 2, 3 * H)], 2, direction="bidirectional")
node("relu_peephole", "LSTM", [*weights("s", 4), "", "", "", "p_p"], activations=["Sigmoid", "Tanh", "Relu"])
for kind, gates in (("LSTM", 4), ("GRU", 3)):
    shared = weights(f"turned_{kind}", gates)
    node(f"reverse_{kind}", kind, shared, direction="reverse")
    node(f"turned_{kind}", kind, shared)
shared = weights("wide", 4)
node("clipped", "LSTM", shared, clip=50.0)
node("unclipped", "LSTM", shared)
shared = weights("hard", 4)
hard = {"activations": ["HardSigmoid", "Tanh", "Tanh"]}
node("explicit", "LSTM", shared, activation_alpha=[0.2], activation_beta=[0.5], **hard)
node("implicit", "LSTM", shared, **hard)
shared = weights("unlike", 1, 2)
node("unlike", "RNN", shared, 2, direction="bidirectional", activations=["Tanh", "Relu"])
for direction, activation in enumerate(["Tanh", "Relu"]):
    node(f"unlike_{direction}", "RNN", [half(f"unlike_{direction}_{of}", of, direction) for of in shared], activations=[activation])
node("joined", "LSTM", weights("joined", 4), input_forget=1)
node("soft", "GRU", weights("soft", 3), activations=["Sigmoid", "Softsign"])
node("vanilla", "RNN", weights("vanilla", 1), activations=["Sigmoid"])
graph = helper.make_graph(nodes, "ways_out", [x], outputs, arrays)
model = helper.make_model(graph, opset_imports=opsets[:1], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, here / "ways_out.onnx")
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
names = [output.name for output in outputs]
numpy.savez(here / "ways_out.npz", x=numbers, **dict(zip(names, session.run(names, {"x": numbers}))))
