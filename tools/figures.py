"""Figures of the code: source files in; sizes, branches, docstrings and words by folder, as a table, out.

    python -m tools.figures [--words]

A struck word is the name of a variable that says nothing of its value: see `STRUCK_NAMES`. `Any/kloc` is the number of
`Any` per 1,000 lines, `typed Any` the same without the modules that call a library of `UNTYPED`.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("pipeline", "export", "streamdet", "benchmarks", "tools")
STRUCK_NAMES = frozenset(
    ("each", "found", "place", "wanted", "known", "asked", "near", "said", "here", "whole", "told", "given")
)
"""Participles and adverbs as variables; the noun says more: `node`, `box`, `detections`, `index`, `request`, `path`."""

UNTYPED = (
    *("effdet", "inference", "onnxruntime", "onnxscript", "openvino", "pycocotools", "supervision", "torchvision"),
    *("trackers", "transformers", "ultralytics", "yolox"),
    "pipeline.detector.installation",  # its `load_runtime` returns onnxruntime
)
"""Modules without types, or with types that say nothing of what we call; whoever calls them needs `Any`."""

_COLUMNS = (
    *("folder", "files", "lines", "file median", "largest", "function median", "p90", "largest", "branches p90"),
    *("documented", "asks", "Any/kloc", "typed Any", ">>>", "raises", "struck"),
)
_BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.match_case)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SourceFile:
    """A Python file and its syntax tree."""

    path: Path  # from the root of the repository

    @cached_property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def folder(self) -> str:
        """`pipeline/flow`, `export`, `benchmarks`: in pipeline the folder below it."""
        depth = 2 if self.path.parts[0] == "pipeline" and len(self.path.parts) > 2 else 1
        return "/".join(self.path.parts[:depth])

    @property
    def name(self) -> str:
        """As it is imported."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def num_lines(self) -> int:
        return self.text.count("\n")

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @property
    def first_line(self) -> str:
        """Of the module's docstring; "" where there is none."""
        return (ast.get_docstring(self.tree) or "").partition("\n")[0]

    @property
    def public(self) -> Iterator[ast.Module | ast.ClassDef | Function]:
        """The module and its public classes and functions, methods included."""
        yield self.tree
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                yield node

    @property
    def num_any(self) -> int:
        """How often `Any` is used, imports left out."""
        return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(self.tree))

    @property
    def calls_untyped(self) -> bool:
        """Whether it imports a module of `UNTYPED`, by a statement or by a function that gets its name."""
        names = _imports(self) | {
            str(node.args[0].value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        }
        return any(f"{name}.".startswith(f"{untyped}.") for name in names for untyped in UNTYPED)

    def count(self, kind: type[ast.AST]) -> int:
        return sum(isinstance(node, kind) for node in ast.walk(self.tree))

    def struck_names(self) -> Iterator[str]:
        """Struck words that are assigned, looped over, or parameters, once for each time."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                name = node.id
            elif isinstance(node, ast.arg):
                name = node.arg
            else:
                continue
            if name in STRUCK_NAMES:
                yield name


def source_files(*folders: str) -> list[SourceFile]:
    """Every Python file below folders of the repository."""
    return [SourceFile(path.relative_to(ROOT)) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def by_folder(files: Iterable[SourceFile]) -> dict[str, list[SourceFile]]:
    """The files by `SourceFile.folder`, sorted by its name."""
    folders: dict[str, list[SourceFile]] = {}
    for file in files:
        folders.setdefault(file.folder, []).append(file)
    return dict(sorted(folders.items()))


def num_branches(function: Function) -> int:
    """Branches, loops, handlers and conditions of a function; `and` and `or` count as well."""
    nodes = list(ast.walk(function))
    conditions = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    return conditions + sum(isinstance(node, _BRANCHES) for node in nodes)


def cycles(files: Sequence[SourceFile]) -> list[set[str]]:
    """Groups of modules that import one another in a circle."""
    names = {file.name for file in files}
    arrows = {file.name: _imports(file) & names - {file.name} for file in files}
    reach = {name: _reachable(name, arrows) for name in names}
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in names}
    return [set(group) for group in groups if group]


def _imports(file: SourceFile) -> set[str]:
    imports = set()
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return imports


def _reachable(start: str, arrows: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = arrows[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def row_of(folder: str, files: Sequence[SourceFile]) -> list[str]:
    """One row of the table, as `_COLUMNS`."""
    values = [
        *_sizes(files),
        *(documented_share(files), sum(file.first_line.endswith("?") for file in files)),
        *(any_per_1000_lines(files), any_per_1000_lines([file for file in files if not file.calls_untyped])),
        sum(file.text.count(">>> ") for file in files),
        sum(file.count(ast.Raise) for file in files),
        sum(len(list(file.struck_names())) for file in files),
    ]
    return [folder, *(value if isinstance(value, str) else f"{value:g}" for value in values)]


def _sizes(files: Sequence[SourceFile]) -> list[float]:
    """Lines of files and of functions, and branches of functions."""
    lines = [file.num_lines for file in files]
    functions = [function for file in files for function in file.functions]
    sizes = [num_lines_of(function) for function in functions] or [0]
    branches = [num_branches(function) for function in functions] or [0]
    return [
        *(len(files), sum(lines), statistics.median(lines), max(lines)),
        *(statistics.median(sizes), percentile(sizes, 0.9), max(sizes), percentile(branches, 0.9)),
    ]


def any_per_1000_lines(files: Sequence[SourceFile]) -> str:
    """How often `Any` is used in 1,000 lines of these files."""
    return f"{1000 * sum(file.num_any for file in files) / max(sum(file.num_lines for file in files), 1):.1f}"


def documented_share(files: Sequence[SourceFile]) -> str:
    """Public modules, classes and functions with a docstring, as a percentage."""
    has_docstring = [ast.get_docstring(node) is not None for file in files for node in file.public]
    return f"{sum(has_docstring) / len(has_docstring):.0%}"


def num_lines_of(function: Function) -> int:
    """From `def` to the last line of the body."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that at least this share of values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(100 * share) // 100) - 1)]


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows under one another, the first column to the left."""
    first_width, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths, strict=True)]
        print("  ".join([first.ljust(first_width), *cells]))


def print_struck_words(folders: Mapping[str, Sequence[SourceFile]]) -> None:
    """Print the struck words of each folder with their numbers, the most frequent first."""
    for folder, files in folders.items():
        counts = Counter(name for file in files for name in file.struck_names())
        print(f"{folder}: {', '.join(f'{name} {num}' for name, num in counts.most_common()) or 'none'}")


def main() -> None:
    """Print the table, or the struck words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", action="store_true", help="print the struck words of each folder instead")
    files = source_files(*CODE)
    folders = by_folder(files)
    if parser.parse_args().words:
        print_struck_words(folders)
        return
    print_table([_COLUMNS, *(row_of(folder, members) for folder, members in folders.items()), row_of("all", files)])
    tests = sum(file.num_lines for file in source_files("tests"))
    print(f"\ncycles {len(cycles(files))}, tests : code {tests / sum(file.num_lines for file in files):.2f}")


if __name__ == "__main__":
    main()
