"""The scripts that the numbers in README.md and docs/ come from."""

from pipeline.telemetry import opt_out

opt_out()  # before any script imports ONNX Runtime
