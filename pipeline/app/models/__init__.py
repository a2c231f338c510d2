"""Commands on model files: export, verify, quantize, inspect, adopt, build, flops."""
