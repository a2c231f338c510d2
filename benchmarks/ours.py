"""Streamdet as a contender: a job in, the outcome of a whole run out.

python -m benchmarks.ours < job.json
"""

from __future__ import annotations

from benchmarks.job import IOU_THRESHOLD, SCORE_THRESHOLD, Job, Outcome, Stopwatch, do_job
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.overlay import OverlayText
from pipeline.app.process import prepare_process
from pipeline.flow.running import Running
from pipeline.picture.detections import Result


class Counting:
    """A sink that counts detections."""

    num_detections = 0

    def write(self, item: Result) -> None:
        self.num_detections += len(item.detections)

    def close(self) -> None: ...


def run_pipeline(job: Job) -> Outcome:
    """This pipeline, as `streamdet run` sets it up, and a sink that counts."""
    prepare_process()
    overlay, counting = OverlayText(), Counting()
    assembly = assemble(_config_of(job), overlay=overlay)
    running = Running(assembly.flow.to(counting, name="count"))
    overlay.statistics = running.statistics
    with Stopwatch() as watch, running:
        running.wait()
    delivered = running.statistics().frames.delivered
    return watch.outcome(delivered, counting.num_detections, assembly.engine.describe())


def _config_of(job: Job) -> RunConfig:
    options: dict[str, object] = {
        "sources": (job.video,),
        "model": job.model,
        "detection.score_threshold": SCORE_THRESHOLD,
        "detection.iou_threshold": IOU_THRESHOLD,
        "flow.max_frames": job.num_frames,
        "output.show": False,
        "output.video": None if job.folder is None else f"{job.folder}/ours.mp4",
    }
    # The job's own settings go above those that all contenders have in common.
    own_keys = {setting.split("=")[0] for setting in job.settings}
    common = {key: value for key, value in options.items() if key not in own_keys}
    return load_config(settings=job.settings, options=common)


if __name__ == "__main__":
    do_job(run_pipeline)
