"""Fleet: many files on many processes or machines; the unit of work, its table, the driver, and those that work."""
