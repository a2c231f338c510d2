"""Start: the first moment of the process → the command line, with signals answered while it is still imported."""

from __future__ import annotations

import os

from pipeline.app.signals import Signals, exit_code_of
from pipeline.errors import shortage


def main() -> None:
    """Run the command line; see `pipeline.app.cli.main`."""
    try:
        with Signals():
            from pipeline.app.cli import main as run_command_line

            run_command_line()
    except KeyboardInterrupt as error:  # before the command line was there to answer it
        os.write(2, b"streamdet: interrupted\n")
        os._exit(exit_code_of(error))
    except Exception as error:  # of a library that did not fit
        reason = shortage(error)
        if reason is None:
            raise
        os.write(2, f"streamdet: error: {reason}\n".encode())
        os._exit(1)


if __name__ == "__main__":
    main()
