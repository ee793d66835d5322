"""Frozen values, as dataclasses write them, without what importing dataclasses costs.

A hook runs on every ifup and a monitor every ten seconds; `import dataclasses` alone more than doubles the start of a
Python process, because it imports inspect. So our values derive from `Value`: annotate the fields, give defaults, and
get `__init__`, `__eq__`, `__hash__`, `__repr__` and `__match_args__`; assignment raises. Type checkers see a frozen
dataclass, and so does the module `dataclasses` (`replace`, `asdict`, `fields`, `@dataclass` on a subclass): it is
imported when it asks for the fields, and never before.
"""

from __future__ import annotations

import sys
from _operator import attrgetter  # the module operator itself is as large as this one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeVar

    from typing_extensions import Self, dataclass_transform

    T = TypeVar("T", bound="Value")
else:

    def dataclass_transform(**_: object):
        """Stands in for `typing.dataclass_transform`, which type checkers alone need."""
        return lambda cls: cls


class _FromDataclasses:
    """An attribute that the module dataclasses looks for in a dataclass, made by that module itself when it looks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.made: dict[type[Value], Any] = {}

    def __get__(self, value: Value | None, cls: type[Value]) -> Any:
        if cls not in self.made:
            self.made[cls] = getattr(self.twin(cls), self.name)
        return self.made[cls]

    @staticmethod
    def twin(cls: type[Value]) -> type:
        """A dataclass with the same fields and defaults."""
        import dataclasses

        defaults = _defaults(cls)
        fields = [
            (name, annotation, dataclasses.field(default=defaults.get(name, dataclasses.MISSING)))
            for name, annotation in _annotations(cls).items()
        ]
        return dataclasses.make_dataclass(cls.__name__, fields, frozen=True)


@dataclass_transform(frozen_default=True)
class Value:
    """Base of every frozen value. A subclass may define `__post_init__` to check its fields.

    As in a dataclass, inherited fields come first, a field that a subclass annotates again keeps its place, a class
    variable is annotated as ClassVar, and a field without a default cannot follow one that has a default: TypeError
    where the class is defined.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    #: The values of the fields, for their hash.
    _values: ClassVar[Callable[[Value], object]]
    if not TYPE_CHECKING:  # type checkers know these of every dataclass
        __dataclass_fields__ = _FromDataclasses("__dataclass_fields__")
        __dataclass_params__ = _FromDataclasses("__dataclass_params__")

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        fields: dict[str, None] = {}
        for base in cls.__mro__[:0:-1]:
            fields.update(dict.fromkeys(base.__dict__.get("_fields", ())))
        fields.update(dict.fromkeys(_own(cls)))
        cls._fields = tuple(fields)
        cls._values = attrgetter(*fields) if fields else type
        _check_defaults(cls)
        if "__match_args__" not in cls.__dict__:
            cls.__match_args__ = cls._fields  # type: ignore[attr-defined,misc]
        if "__init__" not in cls.__dict__:
            cls.__init__ = _Unwritten(cls)  # type: ignore[assignment,method-assign]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        cls = type(self)
        return hash((cls, cls._values(self)))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({inside})"

    def __replace__(self, /, **changes: Any) -> Self:
        """The same value with some fields changed, for `copy.replace` (Python 3.13) and `ec2ident.value.replace`."""
        return type(self)(**{**{name: self.__dict__[name] for name in self._fields}, **changes})


def replace(value: T, /, **changes: Any) -> T:
    """The same value with some fields changed. Raises TypeError for a field that it does not have."""
    return value.__replace__(**changes)


def made(cls: type[T], fields: dict[str, Any]) -> T:
    """A value of these fields as they are: nothing is checked or filled in. For what is read many times a second."""
    value = cls.__new__(cls)
    value.__dict__.update(fields)
    return value


def as_dict(value: Value) -> dict[str, object]:
    """The fields in their order, shallow."""
    return {name: value.__dict__[name] for name in value._fields}


def _own(cls: type[Value]) -> dict[str, Any]:
    """The fields that this class itself annotates, with their annotations, without ClassVars."""
    annotations = cls.__dict__.get("__annotations__", {})
    return {name: one for name, one in annotations.items() if "ClassVar" not in str(one).partition("[")[0]}


def _annotations(cls: type[Value]) -> dict[str, Any]:
    """The annotation of each field, in the order of the fields."""
    found = dict.fromkeys(cls._fields)
    for base in cls.__mro__[::-1]:
        if issubclass(base, Value):
            found.update(_own(base))
    return found


def _defaults(cls: type[Value]) -> dict[str, Any]:
    return {name: getattr(cls, name) for name in cls._fields if hasattr(cls, name)}


def _check_defaults(cls: type[Value]) -> None:
    """Raise TypeError, as dataclasses do, for fields that no `__init__` could be written for."""
    before = ""
    for name in cls._fields:
        if not hasattr(cls, name):
            if before:
                raise TypeError(
                    f"{cls.__qualname__}: field {name!r} without a default follows {before!r}, which has one"
                )
            continue
        before = name
        kind = type(getattr(cls, name))
        if kind.__hash__ is None or (kind.__module__, kind.__name__) == ("dataclasses", "Field"):
            raise TypeError(
                f"{cls.__qualname__}: the default of {name!r} is a {kind.__name__} (use an immutable value)"
            )


class _Unwritten:
    """Stands for `__init__` until it is looked at or some values were made.

    To write one costs as much as to make sixty values without it, and a hook or a status makes few of each class.
    """

    FEW = 32

    def __init__(self, cls: type[Value]) -> None:
        self.cls = cls
        self.defaults: dict[str, Any] | None = None
        self.made = 0

    def __get__(self, value: Value | None, _: type[Value]) -> Any:
        self.made += 1
        # Python 3.13's inspect.signature binds it to the class itself.
        if value is None or self.made > self.FEW or isinstance(value, type):
            return self.write(value)
        return lambda *given, **named: self.fill(value, given, named)

    def write(self, value: Value | None) -> Any:
        """From now on the class has a function as any other."""
        init = self.cls.__init__ = _make_init(self.cls)  # type: ignore[method-assign]
        return init if value is None else init.__get__(value)

    def fill(self, value: Value, given: tuple[object, ...], named: dict[str, object]) -> None:
        """What the function would do; where it would raise TypeError, it does."""
        if self.defaults is None:
            self.defaults = _defaults(self.cls)
        names = self.cls._fields
        found = {**self.defaults, **dict(zip(names, given)), **named}
        fields = {name: found[name] for name in names if name in found}
        complete = len(given) <= len(names) == len(fields) == len(found)
        if not complete or not named.keys().isdisjoint(names[: len(given)]):
            self.write(value)(*given, **named)
            return
        value.__dict__.update(fields)
        if hasattr(self.cls, "__post_init__"):
            value.__post_init__()  # type: ignore[attr-defined]


def _make_init(cls: type[Value]) -> Any:
    """Write `__init__` with the real signature, so that help() and error messages read as for any function."""
    defaults = _defaults(cls)
    parameters = ", ".join(f"{name}=_defaults[{name!r}]" if name in defaults else name for name in cls._fields)
    stores = "".join(f"    __d[{name!r}] = {name}\n" for name in cls._fields)  # no field has that name
    after = "    self.__post_init__()\n" if hasattr(cls, "__post_init__") else ""
    body = f"    __d = self.__dict__\n{stores}{after}" if stores or after else "    pass\n"
    # The globals are those of the class's module: typing.get_type_hints looks its annotations up there.
    module = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {"__name__": cls.__module__}
    scope: dict[str, Any] = {"_defaults": defaults}
    exec(f"def __init__(self, {parameters}):\n{body}", module, scope)  # noqa: S102  field names of our own classes only
    init = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {**_annotations(cls), "return": None}
    return init
