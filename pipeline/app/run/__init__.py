"""`streamdet run` and `demo`: sources → drawn, recorded and reported detections."""
