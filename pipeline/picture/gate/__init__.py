"""Gate: frames of a camera → what of them a network must look at, and what may be carried on instead."""
