"""Tracking: the detections of one source's frames → the same ones with identities, and predictions of lost objects."""
