"""Weights: checkpoints of training scripts → tensors in a network."""
