"""Frozen values: what dataclasses promise, without what importing them costs."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from ec2ident.value import Value, as_dict, made, replace


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
    """The constructor is written when it is first looked at, by whoever that is."""

    class Fresh(Value):
        first: int
        second: str = "two"

    class Checked(Fresh):
        def __init__(self, first: int) -> None:
            super().__init__(first, "checked")

    assert "(first, second='two')" == str(inspect.signature(Fresh))
    assert "Fresh.__init__" in Fresh.__init__.__qualname__
    assert ("checked", "two") == (Checked(1).second, Fresh(1).second)


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
