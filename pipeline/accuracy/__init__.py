"""Accuracy: detections and labelled images → figures, charts and files of how well they agree."""
