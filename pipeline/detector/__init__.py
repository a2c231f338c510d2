"""Detector: an ONNX file → the meaning of its outputs, and runs of it."""
