"""Reads nested plain values into frozen dataclasses: every key known, typed and in range, or one sentence why not.

A field's type hint is its rule: `Annotated[float, Range(0.0, 1.0)]`, `Annotated[str, Choice(("a", "b"))]`, `bool`, a
dataclass for a section; with `| None` the word `none` is allowed.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Annotated, Any


class ParamsError(ValueError):
    """A key of params.yaml is unknown, missing, mistyped or out of range."""


@dataclass(frozen=True)
class Range:
    """Bounds of a number; `open_low` and `open_high` leave the bound itself out."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if self.low == -math.inf and self.high == math.inf:
            return "any finite number"
        if self.high == math.inf:
            return f"a number {'above' if self.open_low else 'of at least'} {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"a number in {left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Choice:
    """The allowed words."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return " | ".join(self.words)


def section(cls: type, values: Any, prefix: str = "") -> Any:
    """An instance of the dataclass `cls`; raises ParamsError for the first fault. `prefix` is the section's name."""
    name = prefix.rstrip(".") or "params.yaml"
    if not isinstance(values, dict):
        raise ParamsError(f"{name}: got {show(values)}, allowed: a section with the keys {_keys(cls)}")
    hints = typing.get_type_hints(cls, include_extras=True)
    for key in values:
        if key not in hints:
            raise ParamsError(f"{prefix}{key}: got {show(values[key])}, an unknown key; allowed: {_keys(cls)}")
    for key in hints:
        if key not in values:
            raise ParamsError(f"{prefix}{key}: is missing; allowed: {_allowed(hints[key])}")
    return cls(**{key: _value(hints[key], values[key], prefix + key) for key in hints})


def _value(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return section(hint, value, key + ".")
    kind, rule, optional = _unpack(hint)
    if optional and value == "none":
        return None
    good: Any = None
    if kind is bool and isinstance(value, bool):
        good = value
    elif kind is int and isinstance(value, int) and not isinstance(value, bool) and rule.holds(value):
        good = value
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and rule.holds(value):
        good = float(value)
    elif kind is str and isinstance(value, str) and value.strip() and (rule is None or value in rule.words):
        good = value
    elif kind is tuple and isinstance(value, list) and value and all(isinstance(v, str) and v for v in value):
        good = tuple(value)
    if good is None:
        raise ParamsError(f"{key}: got {show(value)}, allowed: {_allowed(hint)}")
    return good


def _unpack(hint: Any) -> tuple[type, Any, bool]:
    """(plain type, rule or None, whether `none` is allowed) of a field's type hint."""
    rule = None
    if typing.get_origin(hint) is Annotated:
        hint, rule = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return tuple, rule, False
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    if members:
        return typing.get_origin(members[0]) or members[0], rule, True
    return hint, rule, False


def _allowed(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return f"a section with the keys {_keys(hint)}"
    kind, rule, optional = _unpack(hint)
    text = {
        bool: "true | false",
        tuple: "a list of one or more names",
        str: str(rule) if rule else "a word",
        int: str(rule).replace("a number", "a whole number") if rule else "",
        float: str(rule) if rule else "",
    }[kind]
    return text + (" | none" if optional else "")


def _keys(cls: type) -> str:
    return ", ".join(field.name for field in dataclasses.fields(cls))


def show(value: Any) -> str:
    """The value as a sentence names it, short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
