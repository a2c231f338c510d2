"""Command `models`: the table of published detectors, and what `export` can make → a table, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.app.extras import load
from pipeline.app.models.options import ModelsOptions
from pipeline.app.output_paths import refuse_overwriting
from pipeline.app.report_file import write_report
from pipeline.app.terminal import SafeConsole, tell
from pipeline.detector.model_cache import MIRROR, local_file, mirror, models_folder, remembered_hash
from pipeline.detector.published import PublishedModel, published_models
from pipeline.errors import SinkError, reason_of
from pipeline.masking import masked_address
from pipeline.sinks.writable import refuse_unwritable

# Of the library's code; that of weights stands where they are published.
_LICENCES = {"torchvision": "BSD-3-Clause", "transformers": "Apache-2.0", "effdet": "Apache-2.0", "yolox": "Apache-2.0"}


def run_models(options: ModelsOptions) -> int:
    """List them; 0. Raises SinkError for JSON that cannot be written, ModelError for a mirror that is not there."""
    if options.json_file is None:
        print_models(SafeConsole())
    elif str(options.json_file) == "-":
        _write_to_stdout(f"{json.dumps(_as_json(), indent=2)}\n")
    else:
        refuse_overwriting([("--json", options.json_file)], {}, overwrite=options.overwrite)
        refuse_unwritable(options.json_file, "the JSON file")
        write_report(_as_json(), options.json_file)
    return 0


def _write_to_stdout(text: str) -> None:
    """Write data past the masking of what people read; a reader who leaves early wanted no more."""
    try:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return
    except OSError as error:
        raise SinkError(f"standard output cannot be written: {reason_of(error)}") from error


def print_models(console: Console) -> None:
    """Print both lists for a person, in 80 columns."""
    console.print(_published_table(), markup=False, highlight=False)
    for line in _remarks():
        tell(console, line)
    console.print(_exported_table(), markup=False, highlight=False)


def _published_table() -> Table:
    table = _table("name", "licence", "file", "network", "AP", "here", "published by", right=(2, 3, 4))
    for model in published_models():
        width, height = model.network_wh
        cells = (model.size_in_words, f"{width} × {height}", f"{model.ap:.1f}", "yes" if local_file(model) else "–")
        table.add_row(model.name, model.licence, *cells, model.publisher)
    return table


def _remarks() -> tuple[str, ...]:
    return (
        "",
        f"run one   streamdet run VIDEO -m {published_models()[0].name}",
        "AP        COCO's, in percent, as the authors publish it",
        "source    streamdet models --json - has the addresses and hashes",
        f"here      {models_folder()}",
        *([f"mirror    {MIRROR}={masked_address(mirror())}"] if mirror() else []),
        "",
        "Others are made from PyTorch: streamdet export NAME, and --list for all names.",
        "",
    )


def _exported_table() -> Table:
    table = _table("library", "licence", "names", "such as", right=(2,))
    for library, names in _exported().items():
        table.add_row(library, _LICENCES[library], str(len(names)), names[0])
    return table


def _table(*titles: str, right: Sequence[int]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index in right else "left", no_wrap=True)
    return table


def _exported() -> Mapping[str, tuple[str, ...]]:
    names: Mapping[str, tuple[str, ...]] = load("export.known").NAMES
    return names


def _as_json() -> dict[str, Any]:
    return {
        "folder": str(models_folder()),
        "mirror": masked_address(mirror()) or None,
        "published": [_row(model) for model in published_models()],
        "exported": {
            library: {"licence": _LICENCES[library], "names": list(names)} for library, names in _exported().items()
        },
    }


def _row(model: PublishedModel) -> dict[str, Any]:
    path = local_file(model)
    return {
        "name": model.name,
        "licence": model.licence,
        "megabytes": round(model.megabytes, 1),
        "bytes": model.num_bytes,
        "network_wh": list(model.network_wh),
        "ap": model.ap,
        "address": model.address,
        "sha256": model.sha256,
        "remembered_sha256": remembered_hash(model),
        "file": None if path is None else str(path),
    }
