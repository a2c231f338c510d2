"""Demo clip: a drawn street → the H.264 file that `streamdet demo` reads, and its ground truth.

    python -m tools.make_demo_clip            # writes pipeline/sources/street/clip.mp4 and clip.npz, in some minutes
    python -m tools.make_demo_clip --compare  # what the demo detector finds in the clip, and in the pictures as drawn

The seed is one that the detector was not trained on. The drawing has the noise of a camera, which costs most of the
bytes and which the encoder smooths away; the rate is the highest at which the file stays below 3 MB, and at it the
detector finds what it finds in the drawn pictures. The same versions of PyAV and numpy write the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

import pipeline
from pipeline.app.run.truth_tally import ClassTally, TruthTally
from pipeline.picture.frame import PixelArray
from pipeline.sources.street.clip import CLIP_FILE, TRUTH_FILE, StreetClip, write_truth
from pipeline.sources.street.traffic import SCHEME, TrafficOptions, TrafficSource
from pipeline.sources.words import DEMO_CLIP

OPTIONS = TrafficOptions(seed=1006, seconds=20, fps=30, size_wh=(1280, 720))
ENCODER = {
    "preset": "slow",
    "crf": "26",
    "g": "60",  # a key frame every two seconds
    "threads": "1",  # the same bytes on every machine
    "movflags": "+faststart",
}
MOST_BYTES = 3_000_000
_BT709, _LIMITED = 1, 1  # in AVColorSpace, AVColorPrimaries and AVColorTransferCharacteristic; in AVColorRange


def main() -> None:
    """Make the files, or compare what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--compare", action="store_true", help="count what is found, and write nothing")
    options = parser.parse_args()
    if options.compare:
        compare()
    else:
        make()


def make() -> None:
    """Write the clip and its truth, and say how large they are."""
    source = TrafficSource(OPTIONS)
    num_frames = source.num_frames or 0
    encode((source.paint(index) for index in range(num_frames)), CLIP_FILE)
    frames = [(source.truth(index), source.ignored(index)) for index in range(num_frames)]
    write_truth(TRUTH_FILE, source.class_names, frames)
    for path in (CLIP_FILE, TRUTH_FILE):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    assert CLIP_FILE.stat().st_size + TRUTH_FILE.stat().st_size <= MOST_BYTES


def encode(pictures: Iterable[PixelArray], path: Path, settings: dict[str, str] | None = None) -> None:
    """Write pictures uint8 [H, W, 3] BGR as H.264 in BT.709, at the rate of OPTIONS."""
    with av.open(str(path), "w", options={"movflags": ENCODER["movflags"]}) as container:
        stream = container.add_stream("libx264", rate=Fraction(OPTIONS.fps), options=ENCODER | (settings or {}))
        assert isinstance(stream, VideoStream)
        (stream.width, stream.height), stream.pix_fmt = OPTIONS.size_wh, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = _BT709, _LIMITED
        context.color_primaries = context.color_trc = _BT709
        for pixels in pictures:
            container.mux(stream.encode(_planar(pixels)))
        container.mux(stream.encode(None))


def _planar(pixels: PixelArray) -> VideoFrame:
    return VideoFrame.from_ndarray(pixels, format="bgr24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )


def compare() -> None:
    """Print what the demo detector finds, of what is there, in the drawn pictures and in the clip."""
    wh = "x".join(map(str, OPTIONS.size_wh))
    drawn = f"{SCHEME}?seed={OPTIONS.seed}&seconds={OPTIONS.seconds:g}&fps={OPTIONS.fps:g}&size={wh}"
    clip = StreetClip(source_id=DEMO_CLIP)
    for name, word, source in (
        ("drawn", drawn, TrafficSource(OPTIONS)),
        ("clip", DEMO_CLIP, clip),
    ):
        tally = TruthTally(source, every=1)
        for result in pipeline.detect(word):
            tally.write(result)
        print(f"{name:5}  {', '.join(map(_in_words, tally.tally()))}")
        source.close()


def _in_words(row: ClassTally) -> str:
    return f"{row.name} {row.num_found}/{row.num_there} and {row.num_false} false"


if __name__ == "__main__":
    main()
