"""Labels: results → annotations in the formats of training and labelling tools; a format is a file and a row."""
