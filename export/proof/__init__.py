"""Proof: shows that an exported file detects what its PyTorch model detects."""
