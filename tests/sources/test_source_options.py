"""Source options: wrong values are refused by their key, and a configuration has them as its sections."""

from __future__ import annotations

import pytest

from pipeline.app.config.loading import load_config, with_keys
from pipeline.errors import ConfigError
from pipeline.sources.options import CameraOptions, DecodeOptions, NetworkOptions, SourceOptions


def test_the_sections_of_a_configuration_are_the_options_of_the_sources() -> None:
    config = load_config()
    assert (config.network, config.decode, config.camera) == (NetworkOptions(), DecodeOptions(), CameraOptions())
    assert with_keys(config, {"camera.fps": 5.0}).camera == CameraOptions(fps=5.0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network.open_timeout_s", -1, "network.open_timeout_s must be greater than 0, got -1"),
        ("network.reconnect_s", -1, "network.reconnect_s must be greater than or equal to 0, got -1"),
        ("network.opn_timeout_s", 1, "there is no key network.opn_timeout_s; did you mean network.open_timeout_s?"),
        ("decode.threads", 0, "decode.threads must be greater than 0, got 0"),
        ("camera.width", "wide", "camera.width must be a valid integer, "),
        ("camera.pixel_format", "MJPEG", r"camera.pixel_format must be .*, got 'MJPEG'; did you mean 'MJPG'\?"),
    ],
)
def test_a_wrong_option_is_refused_by_its_key(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^the command line: {message}"):
        load_config(options={key: value})


def test_a_camera_size_needs_both_sides_once_everything_was_read() -> None:
    config = load_config(settings=["camera.width=640"], options={"camera.height": 480})
    assert config.camera.size_wh == (640, 480)
    with pytest.raises(ConfigError, match=r"^camera\.width and camera\.height must be given together$"):
        SourceOptions(camera=CameraOptions(width=640))
