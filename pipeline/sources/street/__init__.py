"""Street: a drawn scene with known ground truth, for demos, tests and proofs."""
