"""Layers: a folder imports only from lower ones, and the heavy libraries stay in their few files."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A folder imports only from lower layers, or from itself.
LAYERS = {
    "pipeline.errors": 1,
    "pipeline.events": 1,
    "pipeline.version": 1,
    "pipeline.telemetry": 1,
    "pipeline.cache_folder": 1,
    "pipeline.cuda_driver": 1,
    "pipeline.turns": 1,
    "pipeline.remembered": 2,
    "pipeline.python_process": 1,
    "pipeline.json_values": 1,
    "pipeline.masking": 1,
    "pipeline.meaning": 1,
    "pipeline.path_identity": 1,
    "pipeline.pixel_limit": 1,
    "pipeline.segment_limits": 1,
    "pipeline.text_file": 1,
    "pipeline.user_path": 2,
    "pipeline.web_file": 2,
    "pipeline.whole_file": 1,
    "pipeline.yaml_file": 2,
    "pipeline.yaml_edit": 3,
    "pipeline.accuracy": 3,
    "pipeline.flow": 2,
    "pipeline.picture": 2,
    "pipeline.detector": 3,
    "pipeline.sources": 3,
    "pipeline.sinks": 3,
    "pipeline.testing": 3,
    "pipeline.fleet": 4,
    "pipeline.measure": 4,
    "pipeline.saliency": 4,
    "pipeline.clips": 4,
    "pipeline.serve": 4,
    "pipeline.stages": 4,
    "export": 4,
    "pipeline.app": 5,
    "pipeline": 6,  # __init__: the public names
    "streamdet": 7,  # the same, under the name that is installed
}
EXPORT_MAY_USE = {
    "export",
    "pipeline.cache_folder",
    "pipeline.whole_file",
    "pipeline.accuracy",
    "pipeline.picture",
    "pipeline.detector",
    "pipeline.sources",
    "pipeline.errors",
    "pipeline.text_file",
    "pipeline.user_path",
    "pipeline.version",
    "pipeline.telemetry",
}
COMMANDS = (  # folders of pipeline.app
    *("run", "map", "bench", "compare", "tune", "optimise", "evaluate", "models", "settings", "explain", "lineage"),
)
HEAVY = {
    "torch": ("export/",),
    "torchvision": ("export/",),
    "onnx": ("export/",),
    "onnxruntime": ("pipeline/detector/", "export/"),
    "av": (
        *("pipeline/sources/video/", "pipeline/sinks/recording", "pipeline/sinks/soundtrack"),
        *("pipeline/sinks/encoder", "pipeline/sinks/network/", "pipeline/serve/encode"),
        *("pipeline/clips/clip_file", "pipeline/clips/frame_packets"),
    ),
    "nats": ("pipeline/sinks/events/nats_subject",),
    "paho": ("pipeline/sinks/events/mqtt",),
    "skimage": ("pipeline/detector/selective_search",),
    "rich": ("pipeline/app/",),
    "typer": ("pipeline/app/",),
    "pydantic": ("pipeline/app/config", "pipeline/picture/detector_spec"),
    "prometheus_client": ("pipeline/app/run/exposition", "pipeline/app/run/metrics", "pipeline/app/run/fleet/metrics"),
    "starlette": ("pipeline/serve/site", "pipeline/serve/trust"),
    "uvicorn": ("pipeline/serve/server",),
}


def modules() -> list[Path]:
    return sorted(path for folder in ("pipeline", "export", "streamdet") for path in (ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that a reader sees the layer"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder_of(module: str) -> str | None:
    """The entry of LAYERS that a module belongs to, None for other people's modules."""
    known = [name for name in LAYERS if module == name or module.startswith(name + ".")]
    return max(known, key=len) if known else None


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_look_down(path: Path) -> None:
    here = folder_of(name_of(path))
    assert here is not None, f"{path} is in no layer"
    for imported in imports_of(path):
        there = folder_of(imported)
        if there is None or there == here:
            continue
        assert LAYERS[there] < LAYERS[here], f"{path}: {here} must not import {imported}, which is not in a lower layer"
        if here == "export":
            assert there in EXPORT_MAY_USE, f"{path}: export must not import {imported}"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_not_import_another(command: str) -> None:
    others = tuple(f"pipeline.app.{other}." for other in COMMANDS if other != command)
    for path in (ROOT / "pipeline" / "app" / command).rglob("*.py"):
        strays = [imported for imported in imports_of(path) if f"{imported}.".startswith(others)]
        assert not strays, f"{path} imports {strays}: what commands share stands in pipeline/app/ itself"


def test_no_module_imports_itself_in_a_circle() -> None:
    names = {name_of(path) for path in modules()}
    arrows = {name_of(path): {each for each in imports_of(path) if each in names} for path in modules()}
    visiting: list[str] = []
    done: set[str] = set()

    def visit(module: str) -> None:
        assert module not in visiting, " → ".join([*visiting[visiting.index(module) :], module])
        if module in done:
            return
        visiting.append(module)
        for each in arrows[module] - {module}:
            visit(each)
        done.add(visiting.pop())

    for module in names:
        visit(module)


def test_heavy_libraries_are_imported_where_they_belong() -> None:
    strays = defaultdict(list)
    for path in modules():
        place = path.relative_to(ROOT).as_posix()
        for imported in imports_of(path):
            allowed = HEAVY.get(imported.split(".")[0])
            if allowed is not None and not place.startswith(allowed):
                strays[place].append(imported)
    assert not strays


def test_no_test_imports_a_test() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        tests = {imported for imported in imports_of(path) if re.search(r"^tests\.(conftest|(.*\.)?test_)", imported)}
        assert not tests, f"{path} imports {tests}: what tests share goes to tests/support/"


def test_no_file_is_named_for_nothing() -> None:
    forbidden = {"utils.py", "common.py", "core.py", "helpers.py"}
    assert not [path for path in modules() if path.name in forbidden]


def test_only_the_app_prints() -> None:
    for path in modules():
        if path.relative_to(ROOT).as_posix().startswith("pipeline/app/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            prints = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            assert not prints, f"{path}:{getattr(node, 'lineno', 0)} prints"


def test_only_running_starts_threads() -> None:
    """But for a process that measures, a stop, which sets events, monitors, sockets, deliveries, signals, openings,
    locks of storages, connections, of which libav is read meanwhile, and the second stream of a camera, which is read
    beside the first.

    Signals must be answered while the main thread is in native code; so must a stop while a mute camera is opened.
    """
    package = ROOT / "pipeline"
    may = {package / "flow" / "running.py", package / "flow" / "stop_request.py", package / "app" / "measure_apart.py"}
    may |= {package / "fleet" / "local_workers.py"}  # a process that ends with its parent
    may |= {package / "detector" / "engine.py"}  # the one that records and plays CUDA graphs
    may |= {package / "fleet" / "map_storage.py"}  # a lock that shows signs of life
    may |= {package / "app" / "signals.py", package / "sources" / "absent.py"}
    may |= {package / "sources" / "video" / "lost_framing.py", package / "sources" / "substream.py"}
    may |= {package / "serve" / "server.py", package / "sinks" / "events" / "delivery.py"}
    may |= {package / "sinks" / "events" / "nats_subject.py"}  # a loop of asyncio, which the library wants
    may |= {package / "app" / "run" / name for name in ("control.py", "endpoint.py", "fleet/host.py")}
    for path in modules():
        if path in may:
            continue
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        names |= {each.rpartition(".")[2] for each in imports_of(path)}
        assert not names & {"Thread", "ThreadPoolExecutor", "start_new_thread"}, f"{path} starts threads"
