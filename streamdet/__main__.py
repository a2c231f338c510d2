"""Command line: `python -m streamdet` → the same as `streamdet`."""

from pipeline.app.start import main

if __name__ == "__main__":
    main()
