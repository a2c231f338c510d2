"""Version: the one number, which packages and `--version` read."""

__version__ = "0.1.0"
