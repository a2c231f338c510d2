"""PyTorch detectors to ONNX files that say what they are."""

from pipeline.telemetry import opt_out

opt_out()  # before any module of this folder imports ONNX Runtime or a client of the hub
