"""Pictures: real detections → figures of one idea, drawn from what the code computes."""
