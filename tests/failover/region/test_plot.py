"""The picture of who answered when."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from tests.failover.region.plot import STEP, Curve, bars, plot

PER_STEP = 5


def curve(text: str, fault: str = "power off", way: str = "overlay route") -> Curve:
    """So many requests a step of time, from one second before the fault on: a digit answers, `.` is lost."""
    nodes = ["" if each == "." else f"node{each}" for each in text]
    return Curve(fault, way, tuple((number * STEP / PER_STEP - 1, node) for number, node in enumerate(nodes)))


def test_a_bar_is_as_high_as_the_part_of_requests_that_were_answered() -> None:
    """Steps that are alike are one bar; a step with lost and answered requests is a bar of its own."""
    found = bars(curve("111111111111...........3333333"))
    assert [(2, 1.0, "node1"), (1, 0.4, "node1"), (1, 0.0, ""), (1, 0.4, "node3"), (1, 1.0, "node3")] == [
        (round(seconds / STEP), part, node) for _, seconds, part, node in found
    ]
    assert -1.0 == round(found[0][0], 6)


def test_the_picture_is_an_image_with_a_panel_for_each_fault() -> None:
    """Well-formed SVG, in the order of the faults; names are text and no markup."""
    curves = [curve("1" * 50, "hang", "a & b"), curve("1" * 50), curve("1" * 30 + "." * 20, "hang")]
    root = ElementTree.fromstring(plot(curves, ["power off", "hang", "never measured"]))
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert ["power off", "overlay route"] == [each for each in texts[3:] if each and not each.endswith(" s")][:2]
    assert {"hang", "a & b"} <= set(texts)
    assert "never measured" not in texts
    box = [float(each) for each in root.attrib["viewBox"].split()]
    for each in root.iter("{http://www.w3.org/2000/svg}rect"):
        end = float(each.get("y", "0")) + float(each.attrib["height"])
        assert 0 < end <= box[3]
