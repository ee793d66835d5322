"""Partitions and endpoints, held against the rules that AWS publishes, evaluated by botocore."""

from __future__ import annotations

from typing import Any

import pytest

from ec2ident.errors import UnknownNameError
from ec2ident.regions.endpoints import SOURCE
from ec2ident.regions.partitions import Partition, services

COMMERCIAL, CHINA = Partition.of("us-east-1"), Partition.of("cn-north-1")

#: Rule sets that want more than a region, and what stands for it here.
PARAMETERS = {"acm": {"ServiceType": "ACM"}, "neptune-graph": {"ApiType": "ControlPlane"}}

#: Services of botocore that have no endpoint here, and why.
NOT_HERE = {"cloudfront-keyvaluestore": "its host is named by the ARN of each store"}

#: Where the older table (endpoints.json) and the rule sets disagree. The rule sets are what SDKs use since 2023.
OLDER_TABLE_DIFFERS = {
    "compute-optimizer": "gives FIPS hosts in GovCloud for the plain endpoint",
    "kinesisvideo": "gives FIPS hosts in GovCloud for the plain endpoint",
    "data.iot": "the host of the certificate authority before 2018",
    "iotsecuredtunneling": "a misspelt name; the service is iotsecuretunneling",
    "mobileanalytics": "the service ended in 2018",
    "transcribestreaming": "a protocol of its own over HTTP/2, without a rule set",
    "docdb": "has a name of its own there; the service answers at rds",
    "neptune": "has a name of its own there; the service answers at rds",
    "sso": "means the service that is sso-admin in SDKs",
    "sms-voice": "means the service that is pinpoint-sms-voice-v2 in SDKs",
    "datazone": "lacks the newer dual-stack host in some regions",
    "eks-auth": "lacks the newer dual-stack host in some regions",
    "gameliftstreams": "lacks the newer dual-stack host in some regions",
    "kendra-ranking": "lacks the newer dual-stack host in some regions",
    "notifications": "lacks the newer dual-stack host in some regions",
    "qbusiness": "lacks the newer dual-stack host in some regions",
    "internetmonitor": "gives the dual-stack host for the plain endpoint",
    "iotwireless": "lacks the host's first label, api",
    "health": "gives the global host for every region",
    "partnercentral-channel": "does not know that the service is global",
    "route53-recovery-control-config": "does not know that the service is global",
    "support": "does not know that the service is global",
    "savingsplans": "gives the global host in two isolated partitions",
    "entitlement.marketplace": "lacks the host's newer form outside the commercial partition",
    "metering.marketplace": "lacks the host's newer form in the sovereign cloud",
    "mediaconvert": "lacks the host of Ningxia",
}


@pytest.fixture(scope="module")
def loader() -> Any:
    """botocore's data, of the very version that the library's was made from."""
    botocore = pytest.importorskip("botocore")
    if f"botocore {botocore.__version__}" != SOURCE:
        pytest.skip(f"the library's is from {SOURCE}, here is {botocore.__version__}: run scripts/check-partitions")
    return pytest.importorskip("botocore.loaders").Loader()


def regions(loader: Any) -> list[tuple[str, str]]:
    """Partition and region, for all that botocore knows, pseudo regions and regions of the future included."""
    found = []
    for partition in loader.load_data("partitions")["partitions"]:
        known = [(partition["id"], region) for region in partition["regions"]]
        first = next(region for _, region in known if not region.endswith("-global"))
        stem = first.rpartition("-")[0].rpartition("-")[0]
        found += [*known, (partition["id"], f"{stem}-unheardof-23")]
    return found


def test_each_endpoint_is_what_the_rule_set_of_the_service_says(loader: Any) -> None:
    """All services times all regions: the URL, and the region that signs."""
    evaluate = pytest.importorskip("botocore.endpoint_provider").EndpointProvider
    partitions, everywhere = loader.load_data("partitions"), regions(loader)
    wrong, compared = [], 0
    for service in sorted({*loader.list_available_services("endpoint-rule-set-1")} - {*NOT_HERE}):
        rules = loader.load_service_model(service, "endpoint-rule-set-1")
        provider = evaluate(rules, partitions)
        plain = {name: False for name in ("UseFIPS", "UseDualStack") if name in rules["parameters"]}
        for name, region in everywhere:
            expected = provider.resolve_endpoint(Region=region, **plain, **PARAMETERS.get(service, {}))
            scheme = (expected.properties.get("authSchemes") or [{}])[0]
            partition = Partition.of(region)
            ours = (partition.name, partition.endpoint(service, region), partition.signing_region(service, region))
            compared += 1
            if (name, expected.url, scheme.get("signingRegion", region)) != ours:
                wrong.append((service, region, expected.url, ours))

    assert [] == wrong
    assert compared > 25_000


def test_every_service_with_a_rule_set_is_here(loader: Any) -> None:
    """What is left out is left out for a reason, and nothing is made up."""
    assert {*loader.list_available_services("endpoint-rule-set-1")} - {*NOT_HERE} == {*services()}


def test_the_older_table_differs_only_where_we_know_why(loader: Any) -> None:
    """endpoints.json, which older SDKs use, names services by endpoint prefix; 26 of 305 differ."""
    table = loader.load_data("endpoints")
    resolver = pytest.importorskip("botocore.regions").EndpointResolver(table)
    differs = set()
    for partition in table["partitions"]:
        for service in partition["services"]:
            for region in partition["regions"]:
                expected = resolver.construct_endpoint(service, region, partition_name=partition["partition"])
                if expected and not same(service, region, f"https://{expected['hostname']}"):
                    differs.add(service)

    assert {*OLDER_TABLE_DIFFERS} == differs


def same(service: str, region: str, expected: str) -> bool:
    try:
        return expected == Partition.of(region).endpoint(service, region)
    except UnknownNameError:
        return False


def test_each_partition_is_what_the_table_of_partitions_says(loader: Any) -> None:
    """Names, suffixes, the region of what is global, and the known regions."""
    theirs = {
        (
            p["id"],
            p["outputs"]["dnsSuffix"],
            p["outputs"]["dualStackDnsSuffix"],
            p["outputs"]["implicitGlobalRegion"],
        ): {*p["regions"]}
        for p in loader.load_data("partitions")["partitions"]
    }
    ours = {
        (p.name, p.dns_suffix, p.dual_stack_suffix, p.global_region): {*p.regions, *p.pseudo_regions}
        for p in Partition.all()
    }

    assert theirs == ours


@pytest.mark.parametrize(
    ("region", "name", "suffix", "ec2"),
    [
        ("eu-west-1", "aws", "amazonaws.com", "https://ec2.eu-west-1.amazonaws.com"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn", "https://ec2.cn-north-1.amazonaws.com.cn"),
        ("cn-northwest-1", "aws-cn", "amazonaws.com.cn", "https://ec2.cn-northwest-1.amazonaws.com.cn"),
        ("us-gov-east-1", "aws-us-gov", "amazonaws.com", "https://ec2.us-gov-east-1.amazonaws.com"),
        ("us-iso-west-1", "aws-iso", "c2s.ic.gov", "https://ec2.us-iso-west-1.c2s.ic.gov"),
        ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov", "https://ec2.us-isob-east-1.sc2s.sgov.gov"),
        ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk", "https://ec2.eu-isoe-west-1.cloud.adc-e.uk"),
        ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov", "https://ec2.us-isof-south-1.csp.hci.ic.gov"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu", "https://ec2.eusc-de-east-1.amazonaws.eu"),
        ("eu-central-99", "aws", "amazonaws.com", "https://ec2.eu-central-99.amazonaws.com"),
    ],
)
def test_a_region_has_one_partition_and_ec2_listens_under_its_suffix(
    region: str, name: str, suffix: str, ec2: str
) -> None:
    """These are written down here, so that they hold without botocore too."""
    partition = Partition.of(region)

    assert (name, suffix, ec2) == (partition.name, partition.dns_suffix, partition.endpoint("ec2", region))


@pytest.mark.parametrize(
    ("region", "url", "signer"),
    [
        ("eu-west-1", "https://route53.amazonaws.com", "us-east-1"),
        ("cn-north-1", "https://route53.amazonaws.com.cn", "cn-northwest-1"),
        ("us-gov-east-1", "https://route53.us-gov.amazonaws.com", "us-gov-west-1"),
    ],
)
def test_route53_is_one_for_its_partition_and_signed_for_its_global_region(region: str, url: str, signer: str) -> None:
    """A request that is signed for the caller's own region is refused."""
    partition = Partition.of(region)

    assert (url, signer) == (partition.endpoint("route53", region), partition.signing_region("route53", region))


def test_the_list_of_endpoints_by_region_has_china_separately() -> None:
    """Each partition lists its own regions, and its own suffix, and no pseudo region."""
    china = {
        "cn-north-1": "https://ec2.cn-north-1.amazonaws.com.cn",
        "cn-northwest-1": "https://ec2.cn-northwest-1.amazonaws.com.cn",
    }

    assert china == CHINA.endpoints("ec2")
    assert not {*china} & {*COMMERCIAL.endpoints("ec2")}
    assert "https://ec2.sa-east-1.amazonaws.com" == COMMERCIAL.endpoints("ec2")["sa-east-1"]
    assert "aws-global" not in COMMERCIAL.regions


def test_an_endpoint_prefix_is_a_name_too() -> None:
    """CloudWatch is `monitoring` in hosts and older tables, and `cloudwatch` in SDKs and on the command line."""
    assert COMMERCIAL.endpoint("cloudwatch", "eu-west-1") == COMMERCIAL.endpoint("monitoring", "eu-west-1")


@pytest.mark.parametrize(
    "region",
    ["", "us-east", "us-east-1a", "xx-north-1", "us-east-1\n", "US-EAST-1", "us-east-¹", "cn-north-1.evil.example"],
)
def test_what_resembles_no_region_is_refused(region: str) -> None:
    """A zone, a host, another alphabet: a guess would send signed requests to the wrong cloud."""
    with pytest.raises(UnknownNameError, match="is like no region of aws, aws-cn"):
        Partition.of(region)


def test_another_partitions_region_is_refused() -> None:
    """The message has both partitions."""
    with pytest.raises(UnknownNameError, match=r"region: cn-north-1 is in aws-cn \(not in aws\)"):
        COMMERCIAL.endpoint("ec2", "cn-north-1")


def test_an_unknown_service_is_refused() -> None:
    """Most hosts follow one pattern, but a guess is not a rule."""
    with pytest.raises(UnknownNameError, match="know no 'ec3'"):
        COMMERCIAL.endpoint("ec3", "us-east-1")


#: Services with rules that send every region of every partition to one place.
ONE_FOR_ALL = {"pricing-plan-manager": "us-east-1"}


@pytest.mark.parametrize("partition", Partition.all(), ids=lambda partition: partition.name)
def test_every_endpoint_is_a_plain_https_host(partition: Partition) -> None:
    """No template is left unfilled, whatever is asked, and a request is signed for a region of its own partition."""
    for service in services():
        for region in partition.regions:
            scheme, _, host = partition.endpoint(service, region).partition("://")
            signer = partition.signing_region(service, region)

            assert "https" == scheme
            assert {*host} <= {*"abcdefghijklmnopqrstuvwxyz0123456789.-"}
            assert Partition.of(signer) == partition or signer == ONE_FOR_ALL.get(service), service
