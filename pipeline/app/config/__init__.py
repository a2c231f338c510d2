"""Settings: every key of a run, a file a section, with type, default, meaning and flag."""
