"""Start-up: seconds until the first JSON line, and the peak memory of a whole run.

python -m benchmarks.start_up VIDEO --model MODEL
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    options = parser.parse_args()
    print(describe_machine())
    command = [sys.executable, "-m", "pipeline.app.cli"]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([*command, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    print(f"streamdet --help                {min(times):6.2f} s (bar: 0.4)")
    with tempfile.TemporaryDirectory() as folder:
        run = [*command, "run", str(options.video), "--model", str(options.model), "--jsonl", "-"]
        began = time.perf_counter()
        with subprocess.Popen(
            [*run, "-o", f"{folder}/out.mp4"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            first = time.perf_counter() - began
            for _ in process.stdout:
                pass
    print(f"first JSON line after           {first:6.2f} s (bar: 2)")
    # The largest of the children; on Linux in KiB.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory, with a recording   {peak:6.0f} MiB (bar: 600 MB)")


if __name__ == "__main__":
    main()
