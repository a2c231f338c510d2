"""Frame condition: `person>=2 and not car` → whether a frame's detections meet it.

    condition   = and { "or" and }
    and         = comparison { "and" comparison }
    comparison  = "not" comparison | "(" condition ")" | class [ (">=" | ">" | "==" | "!=" | "<=" | "<") number ]

A class alone means at least one; `any` counts all classes. A name may have spaces, or stand in quotes.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from pipeline.errors import ConfigError

Counts = Mapping[str, int]
"""Detections of a frame by class name; a class without any may be left out."""

Condition = Callable[[Counts], bool]

ANY = "any"
_OPERATORS: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_TOKENS = re.compile(r"""\s*(>=|<=|==|!=|[=<>()]|"[^"]*"|'[^']*'|[^\s()<>=!"']+)""")
_WORDS = ("and", "or", "not")
_LONGEST = 1000  # characters
_DEEPEST = 50  # brackets and nots in one another


def frame_condition(text: str, class_names: Sequence[str], *, flag: str) -> Condition:
    """Read a condition. flag: the option that it comes from, in errors.

    Raises ConfigError, which says where, for what cannot be read, and for a class that the model does not have.

    >>> condition = frame_condition("person>=2 and not car", ["person", "car"], flag="--save-frames")
    >>> condition({"person": 2}), condition({"person": 2, "car": 1}), condition({})
    (True, False, False)
    """
    return _Reader(text, class_names, flag).condition()


class _Reader:
    """Reads a condition from left to right."""

    def __init__(self, text: str, class_names: Sequence[str], flag: str) -> None:
        if len(text) > _LONGEST:
            raise ConfigError(f"{flag} must have at most {_LONGEST} characters, got {len(text)}")
        self._text, self._flag = text, flag
        self._depth = 0
        self._names = {name.lower(): name for name in (*class_names, ANY)}
        self._tokens = self._split()
        self._position = 0

    def condition(self) -> Condition:
        read = self._either()
        if self._next is not None:
            raise self._error("'and', 'or' or the end")
        return read

    @property
    def _next(self) -> str | None:
        return self._tokens[self._position][0] if self._position < len(self._tokens) else None

    def _split(self) -> list[tuple[str, int]]:
        """The tokens, and where each begins."""
        tokens, at = [], 0
        while self._text[at:].strip():
            match = _TOKENS.match(self._text, at)
            if match is None:
                raise ConfigError(f"{self._flag}: {self._text[at:].strip()[:20]!r} cannot be read, in {self._text!r}")
            tokens.append((match[1], match.start(1)))
            at = match.end()
        return tokens

    def _take(self, *tokens: str) -> bool:
        if self._next is not None and self._next.lower() in tokens:
            self._position += 1
            return True
        return False

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda counts: any(part(counts) for part in parts)

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda counts: all(part(counts) for part in parts)

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ConfigError(f"{self._flag} must not be nested deeper than {_DEEPEST}, got {self._text[:60]!r}…")
        condition = self._negated_or_plain()
        self._depth -= 1
        return condition

    def _negated_or_plain(self) -> Condition:
        if self._take("not"):
            inner = self._one()
            return lambda counts: not inner(counts)
        if self._take("("):
            inner = self._either()
            if not self._take(")"):
                raise self._error("')'")
            return inner
        return self._comparison()

    def _comparison(self) -> Condition:
        name = self._class()
        if self._next not in _OPERATORS:
            return lambda counts: _count(counts, name) >= 1
        compare = _OPERATORS[self._tokens[self._position][0]]
        self._position += 1
        number = self._next
        if number is None or not number.isdecimal():
            raise self._error("a number")
        self._position += 1
        return lambda counts: compare(_count(counts, name), int(number))

    def _class(self) -> str:
        words: list[str] = []
        while self._next is not None and self._next not in {*_OPERATORS, "(", ")"} and self._next.lower() not in _WORDS:
            words.append(self._next.strip("\"'"))
            self._position += 1
        if not words:
            raise self._error("a class")
        name = " ".join(words)
        if name.lower() not in self._names:
            similar = difflib.get_close_matches(name.lower(), self._names, n=1)
            hint = f"did you mean {self._names[similar[0]]!r}?" if similar else f"it has {', '.join(self._names)}"[:200]
            raise ConfigError(f"{self._flag}: the model has no class {name!r}; {hint}")
        return self._names[name.lower()]

    def _error(self, expected: str) -> ConfigError:
        at = self._tokens[self._position][1] if self._next is not None else len(self._text)
        before, after = self._text[:at].strip(), self._text[at:].strip()
        where = f"after {before!r}" if before else "at the beginning"
        came = f"got {after[:20]!r}" if after else "got the end"
        return ConfigError(f"{self._flag}: {expected} was expected {where}, {came}; such as: person>=2 and not car")


def _count(counts: Counts, name: str) -> int:
    return sum(counts.values()) if name == ANY and ANY not in counts else counts.get(name, 0)
