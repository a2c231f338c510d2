"""Lineage: the ideas of object detection, from HOG to DETR, shown and trained by the code that runs."""
