"""Shared assets: real models, photographs and videos beside the repository, and the mark of tests that need them."""

from __future__ import annotations

from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[2] / ".." / "shared" / "assets"
MODELS = ASSETS / "models"
VOC100 = ASSETS / "images" / "voc100"

needs_assets = pytest.mark.skipif(not ASSETS.is_dir(), reason="needs ../shared/assets")
