"""Command map: many files on many processes or machines."""
