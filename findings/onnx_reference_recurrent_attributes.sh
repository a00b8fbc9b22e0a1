#!/usr/bin/env bash
# The reference evaluator of ONNX on LSTM, GRU and RNN.
#
# Expected: onnx.reference.ReferenceEvaluator computes what the operators' specification says, or refuses what it does not
#           implement. It is what converters and runtimes are tested with.
# Actual:   for the recurrent operators it accepts the input `sequence_lens` and the attributes `clip`, `activations` (LSTM, GRU)
#           and `input_forget`, and computes as if they were not there. onnxruntime implements them. Without them both agree to
#           rounding, in both directions.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-cache-dir onnx==1.23.2 onnxruntime==1.32.0 numpy==2.3.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
T, B, I, H = 4, 2, 2, 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def outputs(operator, lengths=None, **attributes):
    """Y of the reference evaluator and of onnxruntime."""
    random = numpy.random.default_rng(0)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[operator] * H
    shapes = {"X": (T, B, I), "W": (directions, rows, I), "R": (directions, rows, H), "B": (directions, 2 * rows)}
    feeds = {name: random.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    if lengths is not None:
        feeds["sequence_lens"] = numpy.array(lengths, "int32")
    node = helper.make_node(operator, list(feeds), ["Y"], hidden_size=H, **attributes)
    types = {"sequence_lens": TensorProto.INT32}
    inputs = [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), v.shape) for n, v in feeds.items()]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, (T, directions, B, H))
    graph = helper.make_graph([node], "graph", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return ReferenceEvaluator(model).run(None, feeds)[0], session.run(None, feeds)[0]


same = True
print(f"{'':44} reference = plain   |reference - onnxruntime|")
for operator in GATES:
    plain, _ = outputs(operator)
    cases = [({"direction": "bidirectional"}, False), ({"lengths": [2, 4]}, True), ({"clip": 0.3}, True)]
    if operator != "RNN":
        names = {"GRU": ["HardSigmoid", "Relu"], "LSTM": ["HardSigmoid", "Relu", "Relu"]}
        cases.append(({"activations": names[operator]}, True))
    if operator == "LSTM":
        cases.append(({"input_forget": 1}, True))
    for options, ignored in cases:
        reference, runtime = outputs(operator, **options)
        as_plain = reference.shape == plain.shape and bool((reference == plain).all())
        difference = numpy.abs(reference - runtime).max()
        print(f"{operator:5}{options!s:60} {as_plain!s:6} {difference:.1e}")
        same &= (as_plain and difference > 0.01) if ignored else difference < 1e-5
sys.exit(0 if same else "the behavior has changed")
PYTHON
