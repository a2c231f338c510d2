"""Proof of an export: shows that a file detects what its PyTorch model detects, and writes its certificate."""
