"""Has every key of the configuration a meaning, and do list, template and schema say the same of all of them?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.app.cli import app
from pipeline.app.config.keys import config_keys, config_schema, select_keys
from pipeline.app.config.loading import load_config, preset_names
from pipeline.app.config.run import RunConfig
from pipeline.app.settings.command import listed
from pipeline.app.settings.template import template
from pipeline.errors import ConfigError
from tests.support.command_line import run_streamdet


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of a configuration as pydantic dumps it, but for those below a mapping."""
    for name, value in values.items():
        if isinstance(value, dict) and prefix == "" and value:
            yield from leaves(value, f"{name}.")
        else:
            yield prefix + name


def test_every_key_is_listed_with_a_meaning_that_is_a_sentence() -> None:
    keys = {key.name: key for key in config_keys()}
    assert set(keys) == set(leaves(RunConfig().model_dump(mode="json")))
    for key in keys.values():
        assert key.meaning[:1].isupper(), key
        assert key.meaning.endswith((".", "…")), key
        assert key.values, key


def test_the_template_sets_every_key_and_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine é.yaml"
    file.write_text(template(), encoding="utf-8")
    assert load_config(str(file)).model_dump() == RunConfig().model_dump()
    assert set(leaves(yaml.safe_load(template()))) == {key.name for key in config_keys()}
    assert max(map(len, template().splitlines())) <= 120


def test_the_schema_describes_every_key_and_names_the_choices() -> None:
    schema = config_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    properties = schema["$defs"]["EngineConfig"]["properties"]
    assert properties["device"]["enum"] == ["auto", "cpu", "openvino", "cuda", "tensorrt"]
    described = {
        f"{section}.{name}": part["description"]
        for section, reference in schema["properties"].items()
        if "$ref" in reference
        for name, part in schema["$defs"][reference["$ref"].rpartition("/")[2]]["properties"].items()
    }
    described |= {name: part["description"] for name, part in schema["properties"].items() if "$ref" not in part}
    assert described == {key.name: key.meaning for key in config_keys()}


def test_an_editor_accepts_the_template_and_refuses_a_mistake() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="checks as editors do")
    checker = jsonschema.Draft202012Validator(config_schema())
    checker.check_schema(config_schema())
    assert not list(checker.iter_errors(yaml.safe_load(template())))
    for mistake in ("flow: {mode: lve}", "engin: {}", "flow: {queue_capacity: 0}"):
        assert list(checker.iter_errors(yaml.safe_load(mistake))), mistake


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("flow.mode", ["flow.mode"]),
        ("camera", ["camera.width", "camera.height", "camera.fps", "camera.pixel_format"]),
        ("threads", ["engine.threads", "decode.threads"]),
        ("engine.cuda_", ["engine.cuda_graph"]),
        ("--score-threshold", ["detection.score_threshold"]),
    ],
)
def test_a_word_selects_a_key_a_section_a_last_part_a_beginning_or_a_flag(word: str, names: list[str]) -> None:
    assert [key.name for key in select_keys([word])] == names


def test_a_word_that_selects_nothing_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"there is no key 'engine.devise' .*; did you mean engine.device\?"):
        select_keys(["engine.devise"])
    with pytest.raises(ConfigError, match="`streamdet config` lists them"):
        select_keys([""])


def test_the_list_fits_80_columns_and_breaks_no_flag() -> None:
    text = "\n\n".join(listed(config_keys(), width=80))
    assert max(map(len, text.splitlines())) <= 80
    assert {flag for key in config_keys() for flag in key.flags} <= set(re.findall(r"--?[\w-]+", text))


def test_config_prints_all_keys_and_the_presets() -> None:
    done = run_streamdet("config")
    assert done.returncode == 0, done.stderr
    for name in [key.name for key in config_keys()] + preset_names():
        assert re.search(rf"^  {re.escape(name)} ", done.stdout, re.MULTILINE), name


def test_what_config_prints_is_read_by_a_machine() -> None:
    assert json.loads(CliRunner().invoke(app, ["config", "--schema"]).output) == config_schema()
    assert yaml.safe_load(CliRunner().invoke(app, ["config", "--yaml"]).output)["flow"]["queue_capacity"] == 2
    assert (
        yaml.safe_load(CliRunner().invoke(app, ["config", "--preset", "rtsp"]).output)["network"]["reconnect_s"] == 60
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["config", "nonsense"], "there is no key 'nonsense' of the configuration"),
        (["config", "--preset", "rstp"], "--preset must be one of the presets (demo, file,"),
        (["config", "--yaml", "--schema"], "must be typed at a time, got --yaml and --schema"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str) -> None:
    done = run_streamdet(*words)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert message in done.stderr
