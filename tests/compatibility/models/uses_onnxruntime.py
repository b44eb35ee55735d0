"""ONNX Runtime: a graph that is made with onnx when the model is loaded."""

import io

import numpy as np
import onnxruntime
import pandas as pd
from mlflow.pyfunc.model import PythonModel
from onnx import TensorProto, helper, numpy_helper


class Model(PythonModel):
    """A layer of a network: relu(x W + b)."""

    def load_context(self, context):
        """Make the graph, and a session that runs it."""
        weights = numpy_helper.from_array(np.array([[2.0, -1.0], [3.0, 1.0]], dtype=np.float32), "w")
        bias = numpy_helper.from_array(np.array([1.0, 0.0], dtype=np.float32), "b")
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])
        graph = helper.make_graph(nodes, "layer", [x], [y], [weights, bias])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        self.session = onnxruntime.InferenceSession(model.SerializeToString())

    def predict(self, context, model_input):
        """Return the outputs of each row."""
        table = pd.read_csv(io.BytesIO(bytes(model_input[1]["table"]["content"])), dtype=np.float32)
        (y,) = self.session.run(["y"], {"x": table.to_numpy()})
        return y.ravel(), "inconclusive"
