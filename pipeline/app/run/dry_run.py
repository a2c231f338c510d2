"""Dry run: an assembly that is never run → its stage graph, and the settings that differ with where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.app.assemble import Assembly
from pipeline.app.config.keys import config_keys, yaml_value
from pipeline.app.config.loading import ConfigRequest, without_secrets
from pipeline.app.config.origins import origin_of, origins_of
from pipeline.app.config.run import RunConfig
from pipeline.app.model_files import DEMO
from pipeline.app.terminal import tell
from pipeline.json_values import Json


class Setting(NamedTuple):
    """A key, the value that a run would have, and where that comes from."""

    key: str
    value: str
    origin: str


def print_dry_run(
    request: ConfigRequest, config: RunConfig, assembly: Assembly, console: Console, *, all_keys: bool
) -> None:
    """Print the graph and the settings; all_keys: those as well that have their defaults."""
    tell(console, str(assembly.flow))
    tell(console, "")
    if any(entry.model is not None for entry in config.source_configs):
        console.print(_model_table(assembly), markup=False, highlight=False)
        tell(console, "")
    settings = list(settings_of(request, config, chosen_by(config, assembly)))
    shown = [setting for setting in settings if all_keys or setting.origin != "default"]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for setting in shown:
        table.add_row(*setting)
    console.print(table, markup=False, highlight=False)
    rest = len(settings) - len(shown)
    if rest:
        tell(
            console,
            f"{rest} others have their defaults: --verbose shows them, `streamdet config` what they mean",
        )


def _model_table(assembly: Assembly) -> Table:
    """A row a model: what runs it, and the sources whose pictures it gets."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("model", "file", "device", "threads × inferences", "sources"):
        table.add_column(column, overflow="fold")
    for branch in assembly.branches:
        engine, words = branch.engine, branch.source_ids
        at_once = f"{branch.threads} × {branch.inflight}"
        cells = (
            branch.name,
            str(branch.path or engine.path),
            f"{engine.device} {engine.precision}",
            at_once,
            ", ".join(words),
        )
        table.add_row(*map(Text, cells))
    return table


def settings_of(request: ConfigRequest, config: RunConfig, chosen: Mapping[str, Setting]) -> Iterator[Setting]:
    """Every key with its value as YAML, secrets masked, and its origin; one that is the default is "default".

    chosen: what was chosen for keys that leave it open.
    """
    origins = origins_of(request)
    values = config.model_dump(mode="json")
    values["sources"] = [_without_nulls(source) for source in values["sources"]]
    for key in config_keys():
        value = _value_of(key.name, values)
        if key.name in chosen and value == key.default:
            yield chosen[key.name]
        else:
            origin = "default" if value == key.default else origin_of(key.name, origins)
            yield Setting(key.name, yaml_value(without_secrets(value)), origin)


def chosen_by(config: RunConfig, assembly: Assembly) -> dict[str, Setting]:
    """What an assembly has chosen where the configuration leaves it open, by key."""
    engine, spec = assembly.engine, assembly.engine.spec
    live_sources = len(assembly.sources) if assembly.is_live else 0
    models = f" and {len(assembly.branches)} models" if len(assembly.branches) > 1 else ""
    by_cores = f"chosen: for {f'{live_sources} live' if live_sources else 'recorded'} sources{models} on these cores"
    own = "the model's own"
    is_live = {source.is_live for source in assembly.sources.values()}
    modes = [word for word, is_meant in (("live", True), ("every-frame", False)) if is_meant in is_live]
    demo = Setting("model", DEMO, "chosen: the detector that comes with streamdet")
    chosen = [
        *([demo] if any(branch.choice.word is None for branch in assembly.branches) else []),
        Setting("detection.score_threshold", f"{spec.suppression.score_threshold:g}", own),
        Setting("detection.iou_threshold", f"{spec.suppression.iou_threshold:g}", own),
        Setting("detection.max_detections", str(spec.suppression.max_detections), own),
        Setting("engine.device", engine.device, f"chosen: {engine.reason.removeprefix(f'{engine.device}: ')}"),
        Setting("engine.precision", engine.precision, f"chosen: as {engine.device} has it"),
        Setting("engine.threads", _of_all(branch.threads for branch in assembly.branches), by_cores),
        Setting("engine.inflight", _of_all(branch.inflight for branch in assembly.branches), by_cores),
        Setting("flow.mode", " and ".join(modes), "chosen: as the source is"),
    ]
    settled = {
        f"engine.{name}": Setting(f"engine.{name}", yaml_value(value), "chosen: by a short trial on this GPU")
        for name, value in assembly.config.engine.model_dump(mode="json").items()
        if value != getattr(config.engine, name)
    }
    return {setting.key: setting for setting in chosen} | settled


def _without_nulls(value: Json) -> Json:
    """A source without the settings that it leaves to the run."""
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(part) for name, part in value.items() if part is not None}


def _of_all(numbers: Iterable[int]) -> str:
    """A number that all models have, or those of each."""
    return " and ".join(dict.fromkeys(map(str, numbers)))


def _value_of(key: str, values: Mapping[str, Json]) -> Json:
    section, _, name = key.rpartition(".")
    part = values[section] if section else values
    assert isinstance(part, Mapping)
    return part[name]
