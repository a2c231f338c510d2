"""What runs the network: device, precision, shape, threads, batch."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.app.config.values import Count, Section, Threads
from pipeline.app.options import Flag
from pipeline.meaning import Meaning


def _device(value: object) -> object:
    """The device that a word means: gpu, cuda:0 and 0 are cuda. Another GPU is chosen by the environment."""
    match = re.fullmatch(r"(?:(?:cuda|gpu):?)?(\d+)|gpu|nvidia", str(value).strip().lower())
    if match is None or isinstance(value, bool):
        return value.strip().lower() if isinstance(value, str) else value
    if int(match[1] or 0) == 0:
        return "cuda"
    raise PydanticCustomError(
        "device",
        "must be cuda, the first visible GPU; for another, set CUDA_VISIBLE_DEVICES={number} in the environment",
        {"number": match[1]},
    )


class EngineConfig(Section):
    """What runs the network; what is left out is chosen: files for throughput, live sources for latency."""

    device: Annotated[
        Literal["auto", "cpu", "openvino", "cuda", "tensorrt"],
        BeforeValidator(_device, json_schema_input_type=Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]),
        Flag("The device that runs the network; if you name one that cannot, the command fails."),
    ] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "fp16", "bf16"],
        Flag("The precision of the network, if the device offers several; fp32 rules out OpenVINO's bf16."),
    ] = "auto"
    shape: Annotated[
        Literal["auto", "model", "video"],
        Flag(
            "The shape in which a model runs: as its file says (model), that of the video at the same scale, made anew "
            "where the file has another (video), or that only where the file leaves its size open, and behind a gate "
            "that packs or interpolates (auto)."
        ),
    ] = "auto"
    threads: Annotated[
        Threads | None,
        Meaning("Threads of one inference; by default as cores and sources are."),
    ] = None
    inflight: Annotated[Threads | None, Meaning("Inferences at once; by default as cores and sources are.")] = None
    unproved: Annotated[
        bool,
        Flag("If the device's detections differ from CPU fp32, warn and run instead of failing.", typed=bool | None),
    ] = False
    spin_us: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Meaning("Microseconds for which an idle thread keeps its core busy before it sleeps; 200 if left out."),
    ] = None
    batch: Annotated[
        Count | None,
        Flag("The most frames that the network runs at once; by default 1, on a GPU the best of a short trial."),
    ] = None
    cuda_graph: Annotated[
        bool | None,
        Meaning("Record each run on the GPU once and play it back; by default as a short trial finds it faster."),
    ] = None
    channels_last: Annotated[
        bool | None,
        Meaning("Convolve in channels-last layout on CUDA, for float16; by default as a short trial finds it faster."),
    ] = None
