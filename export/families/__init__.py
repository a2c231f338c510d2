"""Families: each file turns the PyTorch detectors of one library into an `Exportable`."""
