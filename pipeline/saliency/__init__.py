"""Saliency: a detector, a picture and one of its objects → where in the picture the detector looked for it."""

NUM_MASKS = 1000  # of D-RISE; the paper takes 5000, and the map changes little from 1000 on, see the tests
