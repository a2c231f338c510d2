"""ONNX graphs: how they are made, counted, reshaped and quantized."""
