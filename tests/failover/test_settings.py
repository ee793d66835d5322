"""The configuration is read strictly, and flags are read as strictly as the file."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from ec2ident_agent.errors import ConfigError
from ec2ident_agent.failover import settings, this_instance
from ec2ident_agent.failover.aws import forms
from ec2ident_agent.failover.cli import main
from ec2ident_agent.failover.errors import ApiUnknownError, UsageError
from ec2ident_agent.failover.selectors import EniSelector, TableSelector
from ec2ident_agent.failover.settings import DnsSettings, EniSettings, RouteSettings, Service

WHOLE = """
region = "eu-west-1"
instance = "i-0a1b2c3d"
deadline = 20
role_arn = "arn:aws-cn:iam::123456789012:role/net/failover"
endpoint = "https://vpce.example:8443/"
[service.db]
overlay = ["192.168.10.5", "fd00::5/128"]
device = "eth0"
label = "eth0:1"
[service.db.route]
tag = "Service=db"
source_dest_check = "leave"
[service.db.eni]
address = "10.0.1.5"
index = 2
grace = 0
[service.db.dns]
zone = "/hostedzone/Z1"
name = "db.example.corp"
ttl = 30
wait = false
resolver = "10.0.0.2"
"""


def test_everything_that_can_be_said() -> None:
    """One value for each key."""
    found = settings.parse(WHOLE.encode())

    assert Service(
        "db",
        ("192.168.10.5/32", "fd00::5/128"),
        "eth0",
        "eth0:1",
        RouteSettings(TableSelector(tag="Service=db"), "", False),
        EniSettings(EniSelector(address="10.0.1.5"), 2, 0.0),
        DnsSettings("Z1", "db.example.corp", (), 30, False, "10.0.0.2"),
    ) == found.service("db")
    assert ("eu-west-1", "i-0a1b2c3d", 20, "https://vpce.example:8443") == (
        found.region,
        found.instance,
        found.deadline,
        found.endpoint,
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("region =", "regoin =", r"regoin: no such key \(did you mean region\?\)"),
        ("region =", "moon =", r"moon: no such key \(known: .*region, .*proxy, .*interfaces"),
        ('tag = "Service=db"', 'tga = "Service=db"', r"tga: no such key \(known: .*tables, tag, vpc, eni"),
        ('name = "db.example.corp"', 'nmae = "db.example.corp"', r"nmae: no such key \(did you mean name\?\)"),
        ("label =", "lable =", r"service\.db\.lable: no such key"),
        ("ttl = 30", "ttl = true", r"service\.db\.dns\.ttl: True is not a number"),
        ("ttl = 30", "ttl = 1.5", "not a whole number"),
        ("index = 2", "index = 0", "0 is not from 1 to 255"),
        ("eu-west-1", "europe", "'europe' is not the name of a region"),
        ("i-0a1b2c3d", "i-0a1b2c3g", "instance: 'i-0a1b2c3g' is not the id of an instance"),
        ("192.168.10.5", "192.168.10.5/24", "has host bits set"),
        ("fd00::5/128", "fe80::5%eth0/128", "has a scope"),
        ('tag = "Service=db"', 'tag = "Service="', "is not KEY=VALUE"),
        ('"leave"', '"maybe"', "'maybe' is neither off nor leave"),
        ('tag = "Service=db"', 'tag = "x=y"\nvpc = "vpc-0a1b2c3d"', r"route: tables, tag, vpc: give either ids"),
        ("123456789012", "12345", "is not the ARN of a role"),
        ("https://vpce.example:8443/", "file:///etc", "is not https://HOST"),
        ("10.0.0.2", "ns.example", "resolver: not an IP address"),
        ("/hostedzone/Z1", "zone one", "is not the id of a hosted zone"),
        ('"192.168.10.5", "fd00::5/128"', "5", r"overlay: \[5\] is not a list of texts"),
        ('name = "db.example.corp"', "", r"service\.db\.dns\.name: is missing"),
        ("[service.db]", "[service]\nother = 1\n[service.db]", r"service\.other: is not a table"),
        ("[service.db]", "[service.db", r"the configuration:7: .*table declaration"),
    ],
)
def test_one_wrong_word_is_refused_with_its_place(old: str, new: str, said: str) -> None:
    """And never passed over."""
    assert old in WHOLE
    with pytest.raises(ConfigError, match=said):
        settings.parse(WHOLE.replace(old, new, 1).encode())


def test_a_service_must_have_something_to_move() -> None:
    """And a route something to route."""
    with pytest.raises(UsageError, match=r"service\.x: nothing to move"):
        settings.parse(b"[service.x]\ndevice = 'eth0'")
    with pytest.raises(UsageError, match="a route needs an overlay address"):
        settings.parse(b"[service.x.route]\nvpc = 'vpc-0a1b2c3d'")


def test_no_file_is_an_empty_configuration_unless_it_was_asked_for(tmp_path: Path) -> None:
    """Which file is believed, and any content: see tests/agent/test_strict_toml.py."""
    path = tmp_path / "failover.toml"

    assert {} == settings.load(str(path), required=False)
    with pytest.raises(ConfigError, match=r"failover\.toml: no such file"):
        settings.load(str(path), required=True)


def test_an_unknown_service_names_the_known() -> None:
    """So that a misspelling is seen."""
    with pytest.raises(UsageError, match=r"no \[service\.bd\] in the configuration \(known: db\)"):
        settings.parse(WHOLE.encode()).service("bd")


def never(path: str) -> str:
    pytest.fail(f"the metadata service was asked for {path}")


def test_the_region_is_configured_or_in_the_environment_before_any_request() -> None:
    """In this order."""
    assert "eu-west-1" == this_instance.region_of("eu-west-1", {"AWS_REGION": "us-east-1"}, never)
    assert "us-east-1" == this_instance.region_of("", {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "x"}, never)
    assert "us-west-2" == this_instance.region_of("", {}, lambda path: "us-west-2")
    with pytest.raises(UsageError, match="not the name of a region"):
        this_instance.region_of("", {}, lambda path: "<html>")


def test_the_board_tag_says_which_instance_this_is(tmp_path: Path) -> None:
    """A tag that is not an instance id is ignored."""
    tag = tmp_path / this_instance.BOARD_TAG
    tag.parent.mkdir(parents=True)
    tag.write_text("i-0a1b2c3d4e5f60718\n")
    assert "i-0a1b2c3d4e5f60718" == this_instance.instance_of("", str(tmp_path), never)
    assert "i-0000000a" == this_instance.instance_of("i-0000000a", str(tmp_path), never)
    tag.write_text("Not Specified\n")
    assert "i-0000000b" == this_instance.instance_of("", str(tmp_path), lambda path: "i-0000000b")
    with pytest.raises(ApiUnknownError, match="is not the id of an instance"):
        this_instance.instance_of("", str(tmp_path), lambda path: "nonsense")


def test_the_metadata_service_says_the_rest() -> None:
    """From loopback; without one it is could not tell, and what to do."""
    from ec2ident.testing import MetadataService
    from ec2ident_agent.failover.aws.deadline import Deadline

    with MetadataService() as imds:
        ask = this_instance.metadata_service({"AWS_EC2_METADATA_SERVICE_ENDPOINT": str(imds.endpoint)}, Deadline(5))
        assert imds.instance.region == this_instance.region_of("", {}, ask)
    with pytest.raises(ApiUnknownError, match="or write instance in the configuration, or --instance"):
        this_instance.metadata_service({"AWS_EC2_METADATA_DISABLED": "true"}, Deadline(1))("meta-data/instance-id")


@pytest.mark.parametrize(("text", "expected"), [("10.0.0.2", "10.0.0.2"), ("fd00:0::2#5353", "fd00::2#5353")])
def test_a_resolver_is_an_address_with_perhaps_a_port(text: str, expected: str) -> None:
    """As BIND writes it."""
    assert expected == forms.server(text)
    with pytest.raises(UsageError, match="is not ADDRESS"):
        forms.server(f"{text}#0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Z0123456789ABCDEFGHIJ", "Z0123456789ABCDEFGHIJ"),
        ("/hostedzone/Z0123456789ABCDEFGHIJ", "Z0123456789ABCDEFGHIJ"),
        ("Example.corp", "example.corp."),
        ("example.corp.", "example.corp."),
        ("corp", ""),
        ("example..corp", ""),
        ("example.corp/", ""),
    ],
)
def test_a_zone_is_an_id_or_a_name_with_a_dot(text: str, expected: str) -> None:
    """A word without a dot may be an id with a typing error: it is refused, not searched for."""
    with nullcontext() if expected else pytest.raises(UsageError, match="is not the id of"):
        assert expected == forms.zone(text)


@pytest.mark.parametrize(
    "verb", ["route ensure", "route status", "route delete", "eni status", "eni move", "dns ensure", "takeover"]
)
def test_a_service_that_is_not_configured_is_told_before_any_request(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage needs neither a region nor the metadata service, and says which file was read."""
    path = tmp_path / "failover.toml"
    path.write_text('[service.db]\noverlay = ["192.168.10.5/32"]\n')
    words = [*verb.split(), "bd", "--config", str(path)]
    code = main(words, environ={"AWS_EC2_METADATA_DISABLED": "true"}, root=str(tmp_path))

    said = f"ec2ident-failover: service: no [service.bd] in {path} (known: db)\n"
    assert (2, said) == (code, capsys.readouterr().err)


@pytest.mark.parametrize("verb", ["route ensure", "eni move", "dns status", "takeover", "release", "status", "hold"])
def test_a_configuration_that_does_not_exist_is_named_as_that(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not as a service that is unknown: the usual file and the one that the environment names, too."""
    path = str(tmp_path / "failover.toml")
    for words, environ in (([], {"EC2IDENT_FAILOVER_CONFIG": path}), (["--config", path], {})):
        code = main([*verb.split(), "db", *words], environ={"AWS_EC2_METADATA_DISABLED": "true", **environ})
        assert (2, f"ec2ident-failover: {path}: no such file: create it, or name another one with --config\n") == (
            code,
            capsys.readouterr().err,
        )


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("route ensure", "--overlay and one of --table, --tag, --vpc"),
        ("dns ensure", "--zone and --name"),
        ("private ensure", "--address"),
        ("eip ensure", "--allocation"),
    ],
)
def test_without_a_service_each_option_that_is_missing_is_named(
    verb: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them at once, so that the second try is the right one."""
    environ = {"AWS_EC2_METADATA_DISABLED": "true", "EC2IDENT_FAILOVER_CONFIG": str(tmp_path / "none")}
    code = main(verb.split(), environ=environ, root=str(tmp_path))

    expected = f"ec2ident-failover: {verb.partition(' ')[0]}: name a service, or give {said}\n"
    assert (2, expected) == (code, capsys.readouterr().err)


def test_an_overlay_without_a_device_says_where_a_device_is_written(tmp_path: Path) -> None:
    """In what failover itself reads, or in the agent's configuration; takeover has no flag for it."""
    from ec2ident_agent.errors import DeviceNeededError
    from ec2ident_agent.failover.agent_bridge import AgentBridge

    config = tmp_path / "agent.toml"
    config.write_text("")
    bridge = AgentBridge(print, str(tmp_path / "state"), str(config))

    said = rf"on which device\? write device of its service or resource, or \[\[overlay\]\] in {config}"
    with pytest.raises(DeviceNeededError, match=said):
        bridge.plan("192.168.10.5/32")
