"""Event sinks: the events of results → files, messages, commands and pictures."""
