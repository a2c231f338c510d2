"""Command fleet: many cameras over processes or machines; each of those runs some of them, as `run` does."""
