"""Flow: items go from sources through stages to sinks, with threads, without arrays, and with every cost counted."""
