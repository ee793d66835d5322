"""Frozen values, as dataclasses write them, without what importing dataclasses costs.

A hook runs on every ifup and a monitor every ten seconds; `import dataclasses` alone more than doubles the start of a
Python process, because it imports inspect. So our values derive from `Value`: annotate the fields, give defaults, and
get `__init__`, `__eq__`, `__hash__` and `__repr__`; assignment raises. Type checkers see a frozen dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from typing_extensions import dataclass_transform

    T = TypeVar("T", bound="Value")
else:

    def dataclass_transform(**_: object):
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Value:
    """Base of every frozen value. A subclass may define `__post_init__` to check its fields."""

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        own = tuple(name for name in cls.__dict__.get("__annotations__", {}) if not name.startswith("_"))
        cls._fields = tuple(name for name in cls._fields if name not in own) + own
        if "__init__" not in cls.__dict__:
            cls.__init__ = _Unwritten(cls)  # type: ignore[assignment,method-assign]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *(self.__dict__[name] for name in self._fields)))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({inside})"


def replace(value: T, /, **changes: Any) -> T:
    """The same value with some fields changed. Raises TypeError for a field that it does not have."""
    return type(value)(**{**{name: getattr(value, name) for name in value._fields}, **changes})


def made(cls: type[T], fields: dict[str, Any]) -> T:
    """A value of these fields as they are: nothing is checked or filled in. For what is read many times a second."""
    value = cls.__new__(cls)
    value.__dict__.update(fields)
    return value


def as_dict(value: Value) -> dict[str, object]:
    """The fields in their order, shallow."""
    return {name: value.__dict__[name] for name in value._fields}


class _Unwritten:
    """Stands for `__init__` until somebody looks at it: most programs make few of the values that they import."""

    def __init__(self, cls: type[Value]) -> None:
        self.cls = cls

    def __get__(self, value: Value | None, _: type[Value]) -> Any:
        init = self.cls.__init__ = _make_init(self.cls)  # type: ignore[method-assign]
        return init if value is None else init.__get__(value)


def _make_init(cls: type[Value]) -> Any:
    """Write `__init__` with the real signature, so that help() and error messages read as for any function."""
    defaults = {name: getattr(cls, name) for name in cls._fields if hasattr(cls, name)}
    parameters = ", ".join(f"{name}=_defaults[{name!r}]" if name in defaults else name for name in cls._fields)
    stores = "".join(f"    d[{name!r}] = {name}\n" for name in cls._fields)
    after = "    self.__post_init__()\n" if hasattr(cls, "__post_init__") else ""
    body = f"    d = self.__dict__\n{stores}{after}" if stores or after else "    pass\n"
    scope: dict[str, Any] = {"_defaults": defaults}
    exec(f"def __init__(self, {parameters}):\n{body}", scope)  # noqa: S102  field names of our own classes only
    init = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init
