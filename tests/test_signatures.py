"""What help(), IDE hints and generated documentation show of the public functions and classes."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ec2ident
import ec2ident_agent
from ec2ident import model

#: Modules that do something when they are imported.
NOT_IMPORTED = ("__main__",)

#: A value that stands in the environment of a developer or a build, and must not stand in a page of help.
SECRET = "kept-in-the-environment-only"


def modules() -> list[str]:
    found = ["ec2ident", "ec2ident_agent"]
    for package in (ec2ident, ec2ident_agent):
        names = (one.name for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))
        found += [name for name in names if not name.endswith(NOT_IMPORTED)]
    return found


def callables(name: str) -> Iterator[tuple[str, object]]:
    """Every function, class and method that a module defines, with its name."""
    module = importlib.import_module(name)
    for own, thing in list(vars(module).items()):
        if getattr(thing, "__module__", None) != name or not callable(thing):
            continue
        yield f"{name}.{own}", thing
        if inspect.isclass(thing):
            yield from (
                (f"{name}.{own}.{method}", getattr(thing, method))
                for method in vars(thing)
                if callable(getattr(thing, method, None)) and not inspect.isclass(getattr(thing, method))
            )


@pytest.mark.parametrize("name", modules())
def test_no_default_argument_holds_an_environment(name: str) -> None:
    """A default is printed by help(), by IDEs and into generated pages: an environment there prints every secret."""
    for where, thing in callables(name):
        try:
            parameters = inspect.signature(thing).parameters.values()  # type: ignore[arg-type]
        except (TypeError, ValueError):  # an exception or an enumeration without a constructor of the project's
            continue
        held = [one.name for one in parameters if isinstance(one.default, (type(os.environ), dict))]

        assert [] == held, where


def test_help_shows_every_public_name_and_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`help(ec2ident)` reads every class: it once ended in a TypeError on 3.13, because of a generated constructor."""
    monkeypatch.setenv("EC2IDENT_TEST_SECRET", SECRET)

    page = pydoc.plain(pydoc.render_doc(ec2ident))

    assert [] == [name for name in ec2ident.__all__ if name not in page]
    assert SECRET not in page
    for thing in (ec2ident.Imds, ec2ident.detect, model.Verdict):
        assert SECRET not in pydoc.render_doc(thing)


def test_the_signature_of_a_value_has_its_annotations() -> None:
    """A reader of help(ec2ident.Fact) sees the types, as with a dataclass."""
    assert "(name: 'str', value: 'str | None' = None," in str(inspect.signature(ec2ident.Fact))


def test_the_version_is_one_number_that_costs_nothing() -> None:
    """`ec2ident.__version__`, the command's and the package's are one; importlib.metadata would cost 10 ms to ask."""
    from importlib.metadata import version

    assert re.fullmatch(r"\d+\.\d+\.\d+", ec2ident.__version__)
    assert version("ec2ident") == ec2ident.__version__
    source = Path(ec2ident.__file__).read_text(encoding="utf-8")
    assert f'__version__ = "{ec2ident.__version__}"' in source
