"""What an ONNX file means, and how it is run."""
