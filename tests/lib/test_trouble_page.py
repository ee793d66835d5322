"""docs/trouble.md, the library's symptoms: the commands there print what the page shows."""

from __future__ import annotations

import re
import shlex

import pytest

from ec2ident.cli import main
from ec2ident.testing import Authority, Instance
from ec2ident.testing.pretending import pretend
from tests.symptoms import shown

pytest_plugins = ["ec2ident.testing.pytest_plugin"]

#: The times are those of the run.
SECONDS = r"\d+ token requests were sent, and none was answered \([^)]*\) after \d+ tries"


def test_a_container_behind_a_hop(
    metadata_authority: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a Nitro instance; the number of requests and their times differ from run to run."""
    ((command, text),) = shown("Metadata service unreachable in a container")
    monkeypatch.setenv("container", "docker")
    with pretend(Instance(), authority=metadata_authority) as imds:
        imds.behave("hop-limit")
        code = main([*shlex.split(command)[1:], "--timeout", "3"])
        out = capsys.readouterr().out
        # The firmware is the host's, and enough for a claim.
        assert 0 == main([])

    assert 3 == code
    assert re.search(SECONDS, text)
    assert re.sub(SECONDS, "", text) == re.sub(SECONDS, "", out)


def test_a_document_of_another_machine(metadata_authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    """AWS signed it, and the firmware names another instance."""
    ((command, text),) = shown("Suspect")
    firmware = {"sys_vendor": "Amazon EC2", "product_name": "m5.large", "board_asset_tag": "i-0a1b2c3d4e5f60002"}
    with pretend(Instance(), firmware=firmware, authority=metadata_authority):
        code = main([*shlex.split(command)[1:], "--timeout", "30"])

    assert (4, text) == (code, capsys.readouterr().out)
