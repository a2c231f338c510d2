"""Start: the first moment of the process → the command line, with signals answered while it is still imported."""

from __future__ import annotations

import os

from pipeline.app.signals import Signals, exit_code_of
from pipeline.errors import shortage

_LEAST_STACK_BYTES, _LEAST_ADDRESS_SPACE_BYTES = 256 << 10, 768 << 20  # with less, native libraries crash


def main() -> None:
    """Run the command line; see `pipeline.app.cli.main`."""
    _refuse_small_limits()
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


def _refuse_small_limits() -> None:
    """End with one line where a limit of the shell would end the process by a signal later."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = (
        ("ulimit -s", resource.RLIMIT_STACK, _LEAST_STACK_BYTES),
        ("ulimit -v", resource.RLIMIT_AS, _LEAST_ADDRESS_SPACE_BYTES),
    )
    for name, limit, least in limits:
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and soft < least:
            needed = f"{name} must be at least {least >> 10} kB for the native libraries, got {soft >> 10}"
            os.write(2, f"streamdet: error: {needed}\n".encode())
            os._exit(1)


if __name__ == "__main__":
    main()
