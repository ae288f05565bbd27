"""Frozen dataclasses as plain JSON values and back, every wrong value named with its place."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from SpinalCordSegLib.errors import ConfigurationError

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(kind: type[T], data: Any, where: str = "configuration") -> T:
    """Inverse of to_dict; fields left out keep their defaults.

    Raises ConfigurationError naming the field for an unknown name, a wrong type or a value out of range.
    """
    return _decode(kind, data, where)


def _decode(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _decode(next(arg for arg in args if arg is not type(None)), value, where)
    if origin is Literal:
        if value not in args:
            raise ConfigurationError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(f"{where}: expected a list, found {value!r}")
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        if len(kinds) != len(value):
            raise ConfigurationError(f"{where}: expected {len(kinds)} values, found {len(value)}")
        return tuple(
            _decode(one, item, f"{where}[{n}]") for n, (one, item) in enumerate(zip(kinds, value, strict=True))
        )
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value, where)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigurationError(f"{where}: expected {kind.__name__}, found {value!r}")
    return value


def _finite(value: float, where: str) -> float:
    """JSON may hold Infinity, NaN, and whole numbers that no float holds."""
    if not abs(value) <= sys.float_info.max:
        raise ConfigurationError(
            f"{where}: expected a finite number, found {str(value)[:20] if value == value else 'NaN'}"
        )
    return float(value)


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: expected an object, found {value!r}")
    hints = get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise ConfigurationError(f"{where}: unknown setting {unknown[0]!r}; known are {', '.join(hints)}")
    try:
        return kind(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    except TypeError as error:
        raise ConfigurationError(f"{where}: {error}") from error
