"""Stages: the flow's items → pictures, detections and drawn frames; one file a stage."""
