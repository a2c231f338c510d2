"""Activation: a detector, a picture and one of its objects → the feature map that its score rests on, as heat."""
