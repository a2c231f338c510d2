"""Scripts about the code itself, for those who work on it."""
