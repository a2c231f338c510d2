"""Isolated sources: those that a process of their own reads, which may crash or hang without harm to the others."""
