"""How far a volume has been read, across runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ec2ident_agent.errors import AgentError
from ec2ident_agent.state import statefile
from ec2ident_agent.warm.position import KIND, VERSION, Positions

ONE, OTHER = "volume vol0123 partition 0 of 1000 bytes", "volume vol0456 partition 0 of 1000 bytes"


@pytest.fixture
def positions(tmp_path: Path) -> Positions:
    """Positions in a directory that does not exist yet."""
    return Positions(str(tmp_path / "lib" / "ec2ident"))


def test_each_volume_has_its_own_position(positions: Positions) -> None:
    """And a volume that was read to its end has none."""
    positions.write(ONE, 5 << 20)
    positions.write(OTHER, 7 << 20)
    assert (5 << 20, 7 << 20, 0) == (positions.read(ONE), positions.read(OTHER), positions.read("a third"))

    positions.forget(ONE)
    positions.forget(ONE)

    assert (0, 7 << 20) == (positions.read(ONE), positions.read(OTHER))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        statefile.pack(KIND, VERSION + 1, [(ONE, "5")]),
        statefile.pack(KIND, VERSION, []),
        statefile.pack(KIND, VERSION, [(ONE,)]),
        statefile.pack(KIND, VERSION, [(OTHER, "5")]),
        statefile.pack(KIND, VERSION, [(ONE, "-5")]),
        statefile.pack(KIND, VERSION, [(ONE, "9" * 5000)]),
        statefile.pack(KIND, VERSION, [(ONE, "5")])[:-3],
    ],
)
def test_a_file_that_makes_no_sense_means_the_beginning(positions: Positions, content: bytes) -> None:
    """Reading a block again costs time; leaving one out would break the promise."""
    positions.write(ONE, 5)
    Path(positions._path(ONE)).write_bytes(content)

    assert 0 == positions.read(ONE)


def test_a_directory_that_others_may_write_is_refused(positions: Positions) -> None:
    """Another user could say there that a volume was read."""
    positions.write(ONE, 5)
    Path(positions.directory).chmod(0o777)

    with pytest.raises(AgentError, match=r"other users may write it .*: chmod go-w"):
        positions.read(ONE)
