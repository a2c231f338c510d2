"""Sphinx: the pages of this folder, and reference pages made from the code, in; a site that needs no network, out."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.version import __version__  # noqa: E402
from tools.reference import write_reference  # noqa: E402

write_reference(ROOT / "docs" / "reference")

project = "streamdet"
author = "the streamdet contributors"
release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"streamdet {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "none"
suppress_warnings = ["misc.highlighting_failure"]
