"""Where each service is asked and through which proxy, held against botocore's endpoint rules and urllib's NO_PROXY."""

from __future__ import annotations

import os
import warnings

import pytest

from ec2ident.regions.partitions import Partition
from ec2ident_agent.failover import settings
from ec2ident_agent.failover.aws import endpoints, shared_config
from ec2ident_agent.failover.aws.endpoints import Access, Surroundings
from ec2ident_agent.failover.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REGIONS = [region for partition in Partition.all() for region in partition.regions]


def url(service: str, access: Access | None = None, environ: Any = None, shared: Any = None) -> str:
    found = access or Access("eu-west-1")
    return endpoints.url(service, found, Partition.of(found.region), Surroundings(environ or {}, shared or {}))


@pytest.mark.parametrize("service", endpoints.IDENTIFIERS)
def test_every_region_has_the_endpoints_of_botocores_rules(service: str) -> None:
    """With and without FIPS and dual-stack. Regional STS everywhere, where botocore's older rules have a global one."""
    session = pytest.importorskip("botocore.session").get_session()
    from botocore.endpoint_provider import EndpointProvider  # type: ignore[import-untyped]

    loader = session.get_component("data_loader")
    rules = loader.load_service_model(service, "endpoint-rule-set-1")
    provider = EndpointProvider(rules, loader.load_data("partitions"))
    more = {"UseGlobalEndpoint": False} if service == "sts" else {}
    for region in REGIONS:
        partition = Partition.of(region)
        for fips, dual in ((False, False), (True, False), (False, True), (True, True)):
            theirs = provider.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual, **more)
            ours = endpoints.by_rules(service, region, partition, fips=fips, dual=dual)
            signer = (theirs.properties.get("authSchemes") or [{}])[0].get("signingRegion", region)
            assert (theirs.url, signer) == (ours, partition.signing_region(service, region)), (fips, dual)


def test_the_switches_come_from_the_configuration_then_the_environment_then_the_profile() -> None:
    """AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT, as the SDKs spell them; no other value is guessed at."""
    on = {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "True"}
    assert "https://ec2-fips.eu-west-1.api.aws" == url("ec2", environ=on)
    assert "https://ec2.eu-west-1.amazonaws.com" == url("ec2", Access("eu-west-1", fips=False, dual_stack=False), on)
    assert "https://sts-fips.eu-west-1.amazonaws.com" == url("sts", shared={"use_fips_endpoint": "true"})
    off = {"AWS_USE_FIPS_ENDPOINT": "false"}
    assert "https://sts.eu-west-1.amazonaws.com" == url("sts", environ=off, shared={"use_fips_endpoint": "true"})
    with pytest.raises(UsageError, match="use_fips_endpoint: 'yes' is neither true nor false"):
        url("ec2", environ={"AWS_USE_FIPS_ENDPOINT": "yes"})
    read = settings.parse(b"use_fips_endpoint = true\nuse_dualstack_endpoint = false")
    assert (True, False) == (read.fips, read.dual_stack)


def test_a_service_may_have_an_endpoint_of_its_own() -> None:
    """The configuration's before the environment's before the profile's; one service's before that of all."""
    shared = {"endpoint_url": "https://shared", "services.sts.endpoint_url": "https://shared-sts"}
    environ = {"AWS_ENDPOINT_URL": "https://all", "AWS_ENDPOINT_URL_ROUTE_53": "https://route53"}
    access = Access("eu-west-1", endpoints=(("ec2", "https://vpce-1"),))
    assert "https://vpce-1" == url("ec2", access, environ, shared)
    assert "https://route53" == url("route53", access, environ, shared)
    assert "https://all" == url("sts", access, environ, shared)
    assert "https://shared-sts" == url("sts", access, {}, shared)
    assert "https://shared" == url("route53", access, {}, shared)
    ignored = {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", **environ}
    assert "https://sts.eu-west-1.amazonaws.com" == url("sts", access, ignored, shared)
    assert "https://vpce-1" == url("ec2", access, ignored, shared)
    with pytest.raises(UsageError, match="not together with the endpoint https://vpce-1"):
        url("ec2", access, {"AWS_USE_FIPS_ENDPOINT": "true"})
    read = settings.parse(b"[endpoints]\nec2 = 'https://vpce-1/'\nsts = 'https://vpce-2'")
    assert (("ec2", "https://vpce-1"), ("sts", "https://vpce-2")) == read.endpoints
    with pytest.raises(UsageError, match=r"endpoints\.s3"):
        settings.parse(b"[endpoints]\ns3 = 'https://s3'")


@pytest.mark.parametrize("host", ["127.0.0.1:4566", "127.9.9.9", "[::1]:4566", "localhost:4566"])
def test_plain_http_of_the_environment_is_for_loopback(host: str) -> None:
    """What an agent inherits must not send the service's calls in clear text; the configuration may say so."""
    assert f"http://{host}" == url("ec2", environ={"AWS_ENDPOINT_URL": f"http://{host}"})
    for environ, shared in (({"AWS_ENDPOINT_URL_EC2": "http://10.0.0.5"}, {}), ({}, {"endpoint_url": "http://x"})):
        with pytest.raises(UsageError, match=r"is not https; only the configuration may allow that: endpoint"):
            url("ec2", environ=environ, shared=shared)
    assert "http://10.0.0.5" == url("ec2", Access("eu-west-1", endpoint="http://10.0.0.5"))


# The profile


CONFIG = """
[default]
region = eu-north-1
[profile cluster]
region = cn-north-1
role_arn = arn:aws-cn:iam::123456789012:role/x
ca_bundle = /etc/ssl/corporate.pem
use_fips_endpoint = true
services = local
[profile "with space"]
endpoint_url = https://quoted
[services local]
sts =
  endpoint_url = https://sts.local
route_53 =
  endpoint_url = https://route53.local
"""


def test_a_profile_says_how_to_reach_the_api(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore reads the same of the same file."""
    found = shared_config.keys_of(CONFIG, "cluster")
    assert {
        "region": "cn-north-1",
        "ca_bundle": "/etc/ssl/corporate.pem",
        "use_fips_endpoint": "true",
        "services.sts.endpoint_url": "https://sts.local",
        "services.route_53.endpoint_url": "https://route53.local",
    } == found
    assert "eu-north-1" == shared_config.keys_of(CONFIG, "default")["region"]
    assert "https://quoted" == shared_config.keys_of(CONFIG, "with space")["endpoint_url"]
    assert {} == shared_config.keys_of(CONFIG, "cluste")

    botocore = pytest.importorskip("botocore.session")
    path = tmp_path / "config"
    path.write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "AWS_USE_FIPS_ENDPOINT", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    session = botocore.Session(profile="cluster")
    for key in ("region", "ca_bundle"):
        assert session.get_config_variable(key) == found[key]
    assert session.get_config_variable("use_fips_endpoint") is True
    assert shared_config.read({"AWS_CONFIG_FILE": str(path), "AWS_PROFILE": "cluster"}) == found
    assert {} == shared_config.read({"AWS_CONFIG_FILE": str(tmp_path / "none")})


REGION = "region = eu-west-1\n"
OTHER = "region = us-east-1\n"
#: Where the SDKs find a profile's keys: the two files, the profile, and the public report.
DIALECT = [
    (f"[profile  x]\n{REGION}", "", "x", "boto/botocore#43"),
    (f"[profile\tx]\n{REGION}", "", "x", "aws/aws-cli#2835"),
    (f"[profile x ]\n{REGION}", "", "x", "aws/aws-cli#2835"),
    (f"[profile 'my x']\n{REGION}", "", "my x", "aws/aws-cli#2806"),
    (f'[profile "my x"]\n{REGION}', "", "my x", "aws/aws-cli#2806"),
    (f"[profile S'Q]\n{OTHER}[profile a]\n{REGION}", "", "a", "boto/botocore#3408"),
    (f"[default]\n{OTHER}[profile default]\n{REGION}", "", "default", "boto/botocore#3408"),
    (f"[profile default]\n{OTHER}[default]\n{REGION}", "", "default", "boto/botocore#3408"),
    (f"[x]\n{OTHER}[default]\n{REGION}", "", "default", "aws/aws-cli#4903"),
    ("", f"[x]\naws_access_key_id = k\n{REGION}", "x", "aws/aws-sdk-ruby#571"),
    ("", f"[default]\naws_access_key_id = k\n{REGION}", "default", "peak/s5cmd#709"),
    (f"[profile x]\n{OTHER}", f"[x]\naws_access_key_id = k\n{REGION}", "x", "peak/s5cmd#709"),
    (f"[default]\ns3 =\n  addressing_style = path\n{REGION}", "", "default", "boto/botocore#2311"),
    (f"[default]\r\n# a comment\r\n{REGION}", "", "default", "aws/aws-cli#5402"),
    (
        f"[services s]\nec2 =\n  endpoint_url = https://h\n[default]\n{REGION}",
        "[default]\nservices = s\n",
        "default",
        "",
    ),
]


@pytest.mark.parametrize(("config", "credentials", "profile", "report"), DIALECT)
def test_a_profile_is_found_where_the_sdks_find_it(
    config: str, credentials: str, profile: str, report: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore is the judge. A key that it obeys and we ignored would send a move to another region."""
    botocore = pytest.importorskip("botocore.session")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, file, text in (
        ("AWS_CONFIG_FILE", tmp_path / "config", config),
        ("AWS_SHARED_CREDENTIALS_FILE", tmp_path / "credentials", credentials),
    ):
        file.write_text(text)
        monkeypatch.setenv(name, str(file))
    session = botocore.Session(profile=profile)
    scoped = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(scoped.get("services"), {})
    nested = {f"services.{name}.endpoint_url": each["endpoint_url"] for name, each in services.items()}

    assert {"region": "eu-west-1", **nested} == shared_config.read(os.environ, profile)
    assert "eu-west-1" == scoped["region"]


def test_a_credentials_file_that_cannot_be_opened_is_passed_over(tmp_path: Any) -> None:
    """As by the SDKs: the keys may come from elsewhere. A malformed one is an error without its text."""
    environ = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path)}
    assert {} == shared_config.read(environ)
    path = tmp_path / "credentials"
    path.write_text("aws_secret_access_key = not-a-secret\n")
    with pytest.raises(UsageError, match=f"{path}: line 1 is not an AWS configuration") as caught:
        shared_config.read({**environ, "AWS_SHARED_CREDENTIALS_FILE": str(path)})
    assert "not-a-secret" not in str(caught.value)


def test_a_file_that_is_no_configuration_is_said_without_its_text(tmp_path: Any) -> None:
    """A line of it may be a key."""
    path = tmp_path / "config"
    path.write_text("aws_secret_access_key = not-a-secret\n")
    with pytest.raises(UsageError, match=f"{path}: line 1 is not an AWS configuration") as caught:
        shared_config.read({"AWS_CONFIG_FILE": str(path)})
    assert "not-a-secret" not in str(caught.value)
    path.write_bytes(b"[default]\nregion = \xff\n")
    with pytest.raises(UsageError, match="is not UTF-8"):
        shared_config.read({"AWS_CONFIG_FILE": str(path)})


# Proxies


def test_a_proxy_is_for_tls_alone() -> None:
    """HTTPS_PROXY, the configured one before it, `none` against both; never HTTP_PROXY, and never for plain HTTP."""
    environ = {"HTTPS_PROXY": "http://inherited:3128", "HTTP_PROXY": "http://plain", "ALL_PROXY": "http://all"}
    plain = Access("eu-west-1")
    found = endpoints.proxy("https://ec2.eu-west-1.amazonaws.com", plain, environ)
    assert found
    assert ("inherited", 3128) == (found.host, found.port)
    ours = endpoints.proxy("https://x", Access("eu-west-1", proxy="http://u:p%40s@configured"), environ)
    assert ours
    assert ("configured", 80, "u:p@s", "http://u:p%40s@configured:80") == (ours.host, ours.port, ours.login, ours.url)
    assert "p@s" not in f"{ours} {ours!r}"
    assert endpoints.proxy("https://x", Access("eu-west-1", proxy="none"), environ) is None
    assert endpoints.proxy("http://x", plain, environ) is None
    assert endpoints.proxy("https://x", plain, {"HTTP_PROXY": "http://plain"}) is None


@pytest.mark.parametrize(
    "text", ["https://u:secret@host", "socks5://u:secret@host", "http://u:secret@host/path", "a b"]
)
def test_a_proxy_that_is_not_understood_is_wrong_usage(text: str) -> None:
    """Its password is not in the message."""
    for given in ({"HTTPS_PROXY": text}, {"https_proxy": text}):
        with pytest.raises(UsageError, match="is not http://HOST") as caught:
            endpoints.proxy("https://x", Access("eu-west-1"), given)
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match=r"proxy: .*is not http://HOST") as caught:
        settings.read({"proxy": text})
    assert "secret" not in str(caught.value)


NAMES = [
    "*",
    "amazonaws.com",
    ".amazonaws.com",
    "eu-west-1.amazonaws.com",
    "ec2.eu-west-1.amazonaws.com",
    "mazonaws.com",
]
NAMES += [
    "ec2.eu-west-1.amazonaws.com:443",
    "amazonaws.com:443",
    "amazonaws.com:8443",
    "127.0.0.1",
    "a,.COM, b",
    "",
    ",",
]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("host", ["ec2.eu-west-1.amazonaws.com", "127.0.0.1", "localhost"])
def test_no_proxy_means_what_it_means_in_pythons_library(host: str, names: str) -> None:
    """Which botocore asks."""
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = proxy_bypass_environment(f"{host}:443", {"no": names})
    assert bool(theirs) == endpoints.bypassed(host, 443, names)


def test_no_proxy_may_name_a_network() -> None:
    """As curl and Go understand it; Python's library does not."""
    assert endpoints.bypassed("10.1.2.3", 443, "10.0.0.0/8")
    assert not endpoints.bypassed("11.1.2.3", 443, "10.0.0.0/8")
    assert endpoints.bypassed("fd00::5", 443, "fd00::/8")
    assert endpoints.bypassed("fd00::5", 8443, "[fd00::5]:8443")
    assert not endpoints.bypassed("10.1.2.3", 443, "fd00::/8, host")
