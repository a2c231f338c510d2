"""`streamdet config`: the keys of the configuration → a list, a template, a schema."""
