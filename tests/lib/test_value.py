"""Frozen values: what dataclasses promise, without what importing them costs."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import pprint
import sys
from typing import Any, ClassVar, get_type_hints

import pytest

from ec2ident.value import Value, _Unwritten, as_dict, made, replace


class Point(Value):
    x: int
    y: int = 2


class Named(Point):
    name: str = "here"


class Positive(Value):
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError(f"number: {self.number} (must be positive)")


def test_fields_come_in_order_with_their_defaults() -> None:
    """`__init__` takes the annotated fields in their order, by position or by name."""
    assert (1, 2) == (Point(1).x, Point(1).y)
    assert Point(1, 5) == Point(y=5, x=1)


def test_a_missing_or_unknown_field_is_a_type_error() -> None:
    """The message is Python's own, with the class's name."""
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) missing|missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        Point(1, z=3)  # type: ignore[call-arg]


def test_a_class_shows_its_signature_before_the_first_value_is_made() -> None:
    """The constructor is written when it is first looked at, whichever code looks."""

    class Fresh(Value):
        first: int
        second: str = "two"

    class Checked(Fresh):
        def __init__(self, first: int) -> None:
            super().__init__(first, "checked")

    assert "(first: 'int', second: 'str' = 'two') -> None" == str(inspect.signature(Fresh))
    assert __name__ == Fresh.__init__.__module__
    assert "Fresh.__init__" in Fresh.__init__.__qualname__
    assert ("checked", "two") == (Checked(1).second, Fresh(1).second)


def test_the_first_values_of_a_class_are_as_the_later_ones() -> None:
    """The constructor is written when some values were made: same fields and refusals before and after."""

    class Fresh(Value):
        first: int
        second: str = "two"

        def __post_init__(self) -> None:
            if self.first < 0:
                raise ValueError("negative")

    calls: list[tuple[tuple[object, ...], dict[str, object]]] = [
        ((1,), {}),
        ((1, "b"), {}),
        ((), {"second": "c", "first": 1}),
        ((), {}),
        ((1, "b", 3), {}),
        ((1,), {"first": 1}),
        ((1,), {"third": 1}),
        ((), {"third": 1}),
        ((), {"second": "c", "third": 1}),
        ((-1,), {}),
    ]

    def made_with(given: tuple[object, ...], named: dict[str, object]) -> object:
        try:
            return list(vars(Fresh(*given, **named)).items())  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            return type(error), str(error)

    for given, named in calls:
        Fresh.__init__ = _Unwritten(Fresh)  # type: ignore[method-assign,assignment]
        early = made_with(given, named)
        for number in range(_Unwritten.FEW):
            assert number == Fresh(number).first
        assert type(Fresh.__dict__["__init__"]) is type(made_with)
        assert early == made_with(given, named)


def test_a_value_cannot_be_changed() -> None:
    """Assignment and deletion raise, and the value stays as it was."""
    point = Point(1)

    with pytest.raises(AttributeError, match="Point is frozen: cannot set x"):
        point.x = 9  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Point is frozen: cannot delete x"):
        del point.x
    assert Point(1) == point


def test_equal_values_are_one_key() -> None:
    """Equality and hash follow class and fields."""
    assert 1 == len({Point(1), Point(1, 2)})
    assert Point(1) != Point(2)
    assert Point(1) != Named(1)
    assert Point(1) != (1, 2)


def test_a_subclass_adds_its_fields_at_the_end() -> None:
    """Inherited fields come first, as in a dataclass."""
    assert "Named(x=1, y=2, name='here')" == repr(Named(1))
    assert {"x": 1, "y": 2, "name": "here"} == as_dict(Named(1))


def test_replace_makes_a_changed_copy() -> None:
    """The original stays; a field that does not exist is refused."""
    point = Point(1)

    assert Point(1, 7) == replace(point, y=7)
    assert Point(1, 2) == point
    with pytest.raises(TypeError, match="z"):
        replace(point, z=1)


def test_a_value_checks_itself_when_it_is_made() -> None:
    """`__post_init__` runs in the constructor and in replace."""
    with pytest.raises(ValueError, match="must be positive"):
        Positive(0)
    with pytest.raises(ValueError, match="must be positive"):
        replace(Positive(1), number=-1)


def test_a_value_travels_through_copy_and_pickle() -> None:
    """Frozen values cross processes and deep copies unchanged."""
    assert Point(1) == copy.deepcopy(Point(1))
    assert Point(1) == pickle.loads(pickle.dumps(Point(1)))


def test_a_value_made_of_its_fields_is_like_any_other() -> None:
    """`made` skips the constructor, and with it defaults and checks; the value is equal, and frozen too."""
    point = made(Point, {"x": 1, "y": 2})

    assert Point(1) == point
    assert hash(Point(1)) == hash(point)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]
    assert -1 == made(Positive, {"number": -1}).number


def test_the_module_dataclasses_takes_a_value_for_one_of_its_own() -> None:
    """Type checkers accept these calls, because to them a value is a frozen dataclass; so they run."""
    value = Named(1, name="there")

    assert dataclasses.is_dataclass(type(value))
    assert ["x", "y", "name"] == [field.name for field in dataclasses.fields(value)]
    assert [dataclasses.MISSING, 2, "here"] == [field.default for field in dataclasses.fields(value)]
    assert {"x": 1, "y": 2, "name": "there"} == dataclasses.asdict(value)
    assert (1, 2, "there") == dataclasses.astuple(value)
    assert Named(1, 7, "there") == dataclasses.replace(value, y=7)
    assert repr(value) == pprint.pformat(value)
    with pytest.raises(TypeError, match="z"):
        dataclasses.replace(value, z=1)  # type: ignore[call-arg]


def test_fields_are_in_the_order_of_the_bases_the_first_class_first() -> None:
    """Each class adds its own fields behind the inherited ones, whatever the depth."""

    class Second(Point):
        z: int = 3

    class Third(Second):
        w: int = 4

    assert {"x": 1, "y": 2, "z": 3, "w": 4} == Third(1, 2).__dict__
    assert Third(5, 6, 7, 8) == Third(x=5, y=6, z=7, w=8)
    assert "(x: 'int', y: 'int' = 2, z: 'int' = 3, w: 'int' = 4) -> None" == str(inspect.signature(Third))


def test_a_dataclass_may_derive_from_a_value() -> None:
    """`@dataclass(frozen=True)` takes the inherited fields first, as it does with a dataclass."""

    @dataclasses.dataclass(frozen=True)
    class Coloured(Point):
        colour: str = "red"

    coloured: Any = Coloured(1)

    assert {"x": 1, "y": 2, "colour": "red"} == dataclasses.asdict(coloured)
    assert Coloured(1, 2, "blue") == dataclasses.replace(coloured, colour="blue")
    with pytest.raises(AttributeError):
        coloured.x = 2


@pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace came with Python 3.13")
def test_copy_replace_makes_a_changed_copy() -> None:
    """Python 3.13's `copy.replace` calls `__replace__`."""
    assert Point(1, 7) == copy.replace(Point(1), y=7)  # type: ignore[attr-defined,unused-ignore]


def test_a_pattern_takes_the_fields_by_position() -> None:
    """`match point: case Point(x, y)` needs `__match_args__`; the statement itself needs Python 3.10."""
    assert ("x", "y") == Point.__match_args__
    assert ("x", "y", "name") == Named.__match_args__
    if sys.version_info >= (3, 10):
        scope: dict[str, Any] = {"point": Point(1), "Point": Point}
        exec("match point:\n    case Point(x, y): seen = x, y", scope)
        assert (1, 2) == scope["seen"]


def test_a_class_that_no_constructor_fits_is_refused_where_it_is_defined() -> None:
    """A required field after a default, and a default that values would share, are errors of the class."""
    with pytest.raises(TypeError, match="field 'z' without a default follows 'y', which has one"):

        class Late(Point):
            z: int  # type: ignore[misc]

    with pytest.raises(TypeError, match="the default of 'several' is a list"):

        class Shared(Value):
            several: list[int] = []  # noqa: RUF012

    with pytest.raises(TypeError, match="the default of 'several' is a Field"):

        class Specified(Value):
            several: list[int] = dataclasses.field(default_factory=list)


def test_a_field_annotated_again_keeps_its_place_and_a_class_variable_is_not_a_field() -> None:
    """The order is a dataclass's, which is also what type checkers assume."""

    class Again(Point):
        made: ClassVar[int] = 0
        x: int = 5

    assert (5, 2) == (Again().x, Again().y)
    assert ("x", "y") == Again._fields


def test_a_class_of_two_values_has_the_fields_of_both() -> None:
    """The bases are read from the last to the first, as dataclasses read them."""

    class Priced(Value):
        price: int

    class Item(Named, Priced):
        pass

    assert {"price": 3, "x": 1, "y": 2, "name": "here"} == as_dict(Item(3, 1))


def test_a_field_annotated_again_has_the_annotation_of_the_subclass() -> None:
    """The constructor takes what the class itself says, not what its base said."""

    class Exact(Point):
        x: bool

    assert {"x": bool, "y": int, "return": type(None)} == get_type_hints(Exact.__init__)


def test_the_annotations_of_a_constructor_can_be_evaluated() -> None:
    """Tools that build forms or parsers from signatures evaluate them."""
    assert {"x": int, "y": int, "return": type(None)} == get_type_hints(Point.__init__)


def test_a_field_may_have_any_name_of_one_letter() -> None:
    """A constructor that is written for a class has names of its own, and none of them is a field's."""
    for name in "abcdefghijklmnopqrstuvwxyz":
        cls: Any = type("Letter", (Value,), {"__annotations__": {name: "int", "other": "int"}, "__module__": __name__})
        inspect.signature(cls)  # The constructor is written from here on.
        assert {name: 1, "other": 2} == as_dict(cls(1, 2))
