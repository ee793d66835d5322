"""The guard of the benchmarks, and the plots that they draw."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).parents[1] / "scripts" / "benchmarks"


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The module, with committed ratios of its own."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location("ratios", FOLDER / "ratios.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ratios", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "EXPECTED", tmp_path / "ratios.json")
    module.EXPECTED.write_text(json.dumps({"status": 2.0}))
    return module


def row(ratios: Any, ratio: float, name: str = "status") -> Any:
    return ratios.Row(name, "python -c pass", 10.0 * ratio, 99.0, 10.0, 1.0, None)


@pytest.mark.parametrize(("ratio", "code"), [(1.0, 0), (2.0, 0), (2.69, 0), (2.71, 1)])
def test_a_cost_that_has_risen_by_more_than_the_room_is_reported(
    ratios: Any, capsys: pytest.CaptureFixture[str], ratio: float, code: int
) -> None:
    """The minima decide; less is fine."""
    assert code == ratios.check([row(ratios, ratio)])
    assert ("WORSE status: 2.71 times python -c pass (committed: 2.0)" in capsys.readouterr().out) == bool(code)


@pytest.mark.parametrize(("ratio", "code"), [(0.0, 0), (0.009, 0), (0.011, 1), (0.27, 1)])
def test_a_cost_of_nothing_may_become_a_cost_of_next_to_nothing(ratios: Any, ratio: float, code: int) -> None:
    """A hundredth of the peer is noise. 0.27 is what watch costs beside `ip -batch` without the kernel's filter."""
    ratios.EXPECTED.write_text(json.dumps({"status": 0.0}))
    assert code == ratios.check([row(ratios, ratio)])


@pytest.mark.parametrize(("ratio", "code"), [(4.9, 0), (5.1, 1)])
def test_a_row_may_have_a_room_of_its_own(ratios: Any, ratio: float, code: int) -> None:
    """Named in one table, and bounded too."""
    (name,) = ratios.ROOMS
    ratios.EXPECTED.write_text(json.dumps({name: 2.0}))
    assert code == ratios.check([row(ratios, ratio, name)])


def test_a_row_that_is_not_committed_is_named(ratios: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """That is not a failure: a new row is written with --write."""
    assert 0 == ratios.check([row(ratios, 9.0, "new")])
    assert "not in ratios.json: new" in capsys.readouterr().out


def test_the_committed_ratios_are_numbers() -> None:
    """Each with the name of its row."""
    found = json.loads((FOLDER / "ratios.json").read_text())

    assert len(found) > 15
    assert all(isinstance(value, float) and value >= 0 for value in found.values())


def test_the_plots_are_drawings_of_all_that_was_measured(ratios: Any, tmp_path: Path) -> None:
    """Bars for ratios and answers, lines for series; a size of 0 too."""
    measured = {"ec2ident-agent status": 1.9, "OCF start": 15.0}
    series = {"status among foreign routes": {0: 20.0, 100_000: 30.0}, "apply": {1: 2.0, 750: 50.0}}
    ratios.plots.write(tmp_path / "plots", measured, series, {"refused": {"ec2ident": 4.0}})
    drawn = {path.stem: "".join(ElementTree.parse(path).getroot().itertext()) for path in tmp_path.glob("plots/*.svg")}

    assert {"processes", "failover", "routes", "apply", "no"} == set(drawn)
    assert "ec2ident-agent status" in drawn["processes"]
    assert {"refused", "ec2ident"} <= set(re.findall(r"[a-z0-9]+", drawn["no"]))
    assert "100,000" in drawn["routes"]
