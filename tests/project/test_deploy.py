"""deploy/: the configuration loads, the commands exist, and systemd accepts the unit; no container is built here."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.app.config.loading import load_config
from pipeline.masking import MASK, masked_address
from tools.reference import commands, options_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def options_in(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("-")}


def test_the_cameras_are_a_configuration_whose_secrets_are_masked() -> None:
    config = load_config(str(DEPLOY / "cameras.yaml"))
    assert len(config.source_words) == 2
    assert all(MASK in masked_address(source) for source in config.source_words)
    assert (config.output.segment, config.output.keep) == ("10m", ("14d", "200GB"))


def test_the_unit_runs_a_command_that_exists() -> None:
    unit = (DEPLOY / "streamdet.service").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    program, name, *words = shlex.split(line)
    assert program.endswith("/streamdet")
    assert options_in(words) <= options_of(commands()[name])
    assert {"Type=notify", "WatchdogSec=60"} <= set(unit.splitlines())


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (DEPLOY / "streamdet.service").read_text(encoding="utf-8")
    (tmp_path / "streamdet.service").write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "streamdet.service")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_copies_files_that_exist_and_its_command_does() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE)]
    names = {name for words in copied for name in words}
    assert {"pipeline", "export", "streamdet", "configs", "pyproject.toml"} <= names  # what the wheel is made of
    assert [name for name in names if not (ROOT / name).exists()] == []
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert names == {line[1:] for line in ignored if line.startswith("!")}
    (command,) = re.findall(r"^CMD (\[\"run.*)$", text, re.MULTILINE)
    name, *words = json.loads(command)
    assert options_in(words) <= options_of(commands()[name])


@pytest.mark.parametrize("extras", ["cpu,openvino,metrics", "cuda,metrics"])
def test_the_image_names_extras_that_exist(extras: str) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert extras in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", pyproject, re.MULTILINE) for extra in extras.split(","))


def test_compose_mounts_what_exists_and_starts_again() -> None:
    (service,) = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"].values()
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert service["restart"] == "unless-stopped"
    mounted = [volume.partition(":")[0] for volume in service["volumes"] if volume.startswith("./")]
    assert mounted
    assert all((DEPLOY / path).exists() for path in mounted)
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def streamdet_words(text: str) -> list[str]:
    """The words of a `streamdet` command in a comment or a shell line."""
    return shlex.split(text.partition("streamdet ")[2].rstrip("'"))


def kubernetes() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    containers: list[dict[str, Any]] = document["spec"]["template"]["spec"]["containers"]
    return containers


def test_the_pods_run_commands_that_exist_as_no_root_and_mount_what_they_declare() -> None:
    pods = [document for document in kubernetes() if "template" in document["spec"]]
    assert [document["kind"] for document in pods] == ["Deployment", "Deployment", "Job", "Deployment"]
    for document in pods:
        spec = document["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in containers(document):
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert not any("subPath" in mount for mount in container["volumeMounts"])
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            name, *words = container.get("args", ["map"])
            assert options_in(words) <= options_of(commands()[name])


def test_labels_and_ports_of_the_cluster_agree() -> None:
    documents = {(document["kind"], document["metadata"]["name"]): document for document in kubernetes()}
    head = documents["Deployment", "streamdet-ray-head"]
    ports = {port["port"] for port in documents["Service", "streamdet-ray-head"]["spec"]["ports"]}
    (container,) = containers(head)
    assert {int(number) for number in re.findall(r"port=(\d+)", " ".join(container["command"]))} == ports
    assert 10001 in ports  # that of ray://HOST
    assert documents["Service", "streamdet-ray-head"]["spec"]["selector"] == {"app": "streamdet-ray-head"}
    for document in documents.values():
        if document["kind"] == "Deployment":
            labels = document["spec"]["template"]["metadata"]["labels"]
            assert labels["app"] == document["metadata"]["name"]
            assert labels["part-of"] == "streamdet"  # whom the network policy lets in
            assert document["spec"]["selector"]["matchLabels"]["app"] == labels["app"]


def test_ray_accepts_the_file_of_the_cluster_and_its_commands_exist() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    text = (DEPLOY / "ray-cluster.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("#") and "streamdet " in line and "ray exec" in line]
    assert len(lines) == 2
    for line in lines:
        name, *words = streamdet_words(line)
        assert options_in(words) <= options_of(commands()[name])
    spec = importlib.util.find_spec("ray")
    if spec is None or spec.origin is None:
        pytest.skip("needs ray's schema")
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(text), schema)
