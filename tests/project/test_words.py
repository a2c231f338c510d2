"""Words: the names, first lines and phrases that the code is rid of stay away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.figures import ROOT, SourceFile, by_folder, source_files


class Words(NamedTuple):
    """How many there are in a folder; `python -m tools.figures --words` lists the names."""

    names: int = 0  # variables of `tools.figures.STRUCK_NAMES`
    questions: int = 0  # modules whose docstring begins with a question
    phrases: int = 0  # of `PHRASES`


PHRASES = re.compile(r"\bso many\b|\bas told\b|(?<!there )\bis no (?!longer)[a-z]|\bso-manieth\b")

# Old names, and the words of a private vocabulary: at none since they were renamed.
GONE = re.compile(r"\b(Shot|WholePath|Conclusion|KnowsTruth|Lay|_Lie|doubt_about|liven|guest_python)\b")
GONE_IN_BENCHMARKS = re.compile(r"\b(guests?|party|parties)\b", re.IGNORECASE)
WRITTEN = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "reference"]  # not made
FOLDERS = by_folder(source_files("pipeline", "export", "streamdet", "benchmarks", "tools"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN]


def words_of(files: list[SourceFile]) -> Words:
    return Words(
        sum(1 for file in files for _ in file.struck_names()),
        sum(file.first_line.endswith("?") for file in files),
        sum(len(PHRASES.findall(file.text)) for file in files),
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_has_no_struck_words(folder: str) -> None:
    assert words_of(FOLDERS[folder]) == Words()


def test_old_names_do_not_come_back() -> None:
    texts = {str(file.path): file.text for files in FOLDERS.values() for file in files}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in PAGES}
    assert not {name: GONE.findall(text) for name, text in texts.items() if GONE.search(text)}


def test_a_benchmark_has_contenders_and_competitors() -> None:
    texts = {str(file.path): file.text for file in FOLDERS["benchmarks"]}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in PAGES}
    assert not {
        name: GONE_IN_BENCHMARKS.findall(text) for name, text in texts.items() if GONE_IN_BENCHMARKS.search(text)
    }


def test_the_prose_of_a_page_is_plain() -> None:
    lines = [(path.name, line) for path in PAGES for line in path.read_text(encoding="utf-8").splitlines()]
    prose = [(name, line) for name, line in lines if not line.startswith("    ")]  # not the output of a command
    assert not [(name, line) for name, line in prose if PHRASES.search(line)]


@pytest.mark.parametrize(
    ("path", "calls_untyped"),
    [("export/graph/ops.py", True), ("export/families/effdet_detectors.py", True), ("tools/figures.py", False)],
    ids=["by an import", "by the name of a module", "not at all"],
)
def test_figures_know_who_calls_a_library_without_types(path: str, calls_untyped: bool) -> None:
    assert SourceFile(Path(path)).calls_untyped == calls_untyped
