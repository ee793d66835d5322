"""Where each service is asked, and through which proxy. Pure.

The rules for FIPS and dual-stack endpoints are those of AWS's endpoint rule sets ("FIPS endpoints", "Dual-stack and
FIPS endpoints", SDKs guide); tests compare every region with botocore's.
"""

from __future__ import annotations

import re
from contextlib import suppress

from ec2ident.value import Value
from ec2ident_agent.failover.errors import UsageError

from . import forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ec2ident.regions.partitions import Partition

#: The service's name in AWS_ENDPOINT_URL_… and in the section `services` ("Service-specific endpoints", SDKs guide).
IDENTIFIERS = {"ec2": "EC2", "route53": "ROUTE_53", "sts": "STS"}


class Access(Value):
    """How to reach the API. Everything but the region may come from the environment or from the AWS profile."""

    region: str
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    #: In place of the regional endpoints, for all services: `http[s]://HOST[:PORT]`.
    endpoint: str = ""
    #: The same for one service, as pairs of its name (a key of IDENTIFIERS) and URL.
    endpoints: tuple[tuple[str, str], ...] = ()
    #: PEM file of the authorities to trust, in place of those of the system.
    ca_bundle: str = ""
    #: `http://[USER:PASSWORD@]HOST[:PORT]` for connections over TLS, `none` for no proxy, "" for HTTPS_PROXY.
    proxy: str = ""
    #: None for AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT, or the profile's keys.
    fips: bool | None = None
    dual_stack: bool | None = None
    #: The time for one attempt, in seconds.
    attempt: float = 5.0


class Surroundings(Value):
    """What the process inherited: its environment, and the keys of the AWS profile."""

    environ: Mapping[str, str]
    shared: Mapping[str, str]

    def switch(self, given: bool | None, name: str) -> bool:
        """A switch such as `use_fips_endpoint`: as given, else AWS_USE_FIPS_ENDPOINT, else the profile's key."""
        if given is not None:
            return given
        said = self.environ.get(f"AWS_{name.upper()}") or self.shared.get(name) or "false"
        if said.lower() not in ("true", "false"):
            raise UsageError(f"{name}: {said[:32]!r} is neither true nor false")
        return said.lower() == "true"

    def endpoint(self, service: str) -> str:
        """The endpoint that the environment or the profile names, or "". Plain HTTP is for loopback only.

        Raises UsageError: what an agent inherits must not choose an endpoint that every machine on the way can read.
        """
        if self.switch(None, "ignore_configured_endpoint_urls"):
            return ""
        identifier = IDENTIFIERS[service]
        for source, name in (
            (self.environ, f"AWS_ENDPOINT_URL_{identifier}"),
            (self.environ, "AWS_ENDPOINT_URL"),
            (self.shared, f"services.{identifier.lower()}.endpoint_url"),
            (self.shared, "endpoint_url"),
        ):
            if source.get(name):
                url = forms.named(name, forms.endpoint, source[name])
                if url.startswith("http://") and not is_loopback(host_of(url)[0]):
                    raise UsageError(f"{name}: {url} is not https; only the configuration may allow that: endpoint")
                return url
        return ""


def url(service: str, access: Access, partition: Partition, around: Surroundings) -> str:
    """The URL of a service: as configured, as the surroundings say, or by AWS's rules. Raises UsageError."""
    fips = around.switch(access.fips, "use_fips_endpoint")
    configured = dict(access.endpoints).get(service) or access.endpoint
    given = forms.named("endpoint", forms.endpoint, configured) if configured else around.endpoint(service)
    if given and fips:
        raise UsageError(f"use_fips_endpoint: not together with the endpoint {given}, which may not be a FIPS one")
    dual = around.switch(access.dual_stack, "use_dualstack_endpoint")
    return given or by_rules(service, access.region, partition, fips=fips, dual=dual)


#: By (FIPS, dual-stack): host names for the partitions, the first that is named or the last.
_RULES = {
    "regional": {
        (True, False): (("aws-us-gov", "{service}.{region}.{suffix}"), ("", "{service}-fips.{region}.{suffix}")),
        (False, True): (("", "{service}.{region}.{dual}"),),
        (True, True): (("", "{service}-fips.{region}.{dual}"),),
    },
    "route53": {
        (True, False): (("aws-us-gov", "route53.us-gov.{suffix}"), ("", "route53-fips.{suffix}")),
        (False, True): (
            ("aws aws-cn aws-eusc", "route53.global.{dual}"),
            ("aws-us-gov", "route53.us-gov.{dual}"),
            ("", "route53.{dual}"),
        ),
        (True, True): (
            ("aws", "route53-fips.global.{dual}"),
            ("aws-us-gov", "route53.us-gov.{dual}"),
            ("", "route53-fips.{dual}"),
        ),
    },
}


def by_rules(service: str, region: str, partition: Partition, *, fips: bool = False, dual: bool = False) -> str:
    """The URL by AWS's endpoint rules."""
    if not (fips or dual):
        return partition.endpoint(service, region)
    rules = _RULES.get(service, _RULES["regional"])[fips, dual]
    template = next(host for names, host in rules if not names or partition.name in names.split())
    host = template.format(
        service=service, region=region, suffix=partition.dns_suffix, dual=partition.dual_stack_suffix
    )
    return f"https://{host}"


def host_of(url: str) -> tuple[str, int]:
    """Host and port of an endpoint."""
    scheme, _, rest = url.partition("://")
    host, mark, port = rest.rpartition(":")
    default = 443 if scheme == "https" else 80
    if not mark or "]" in port:
        host, port = rest, ""
    return host.strip("[]"), int(port or default)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: a loopback address, or the name localhost."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Proxy(Value):
    """A proxy for TLS, asked by CONNECT. Its text has no password."""

    host: str
    port: int
    #: USER:PASSWORD, decoded; "" if the proxy asks for none.
    login: str = ""

    @property
    def url(self) -> str:
        """The URL with the login, for another library; never for a log."""
        from urllib.parse import quote

        user, _, word = self.login.partition(":")
        login = f"{quote(user, safe='')}:{quote(word, safe='')}@" if self.login else ""
        return f"http://{login}{self._place}"

    @property
    def _place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"proxy http://{self._place}"

    def __repr__(self) -> str:
        return f"Proxy({self})"


def proxy_of(text: str) -> Proxy:
    """`[http://][USER[:PASSWORD]@]HOST[:PORT]`. Raises UsageError, which does not quote the login."""
    from urllib.parse import unquote

    form = r"(?:http://)?(?:([^@/\s]*)@)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?/?"
    found = re.fullmatch(form, text, re.ASCII)
    if not found or int(found[3] or 80) > 65535:
        shown = text.rpartition("@")[2][:64]
        raise UsageError(f"{shown!r} is not http://HOST[:PORT]; proxies over TLS or SOCKS are not supported")
    return Proxy(found[2].strip("[]"), int(found[3] or 80), unquote(found[1] or ""))


def checked_proxy(text: str) -> str:
    """The text of a proxy, or `none`. Raises UsageError."""
    if text != "none":
        proxy_of(text)
    return text


def proxy(url: str, access: Access, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for a URL: as configured, else HTTPS_PROXY; None for plain HTTP and for what NO_PROXY names.

    A proxy for plain HTTP could read and change every request, so HTTP_PROXY is not used. Raises UsageError.
    """
    if not url.startswith("https://") or access.proxy == "none":
        return None
    name, text = "proxy", access.proxy
    if not text:
        name = next((each for each in ("https_proxy", "HTTPS_PROXY") if environ.get(each)), "")
        text = environ[name] if name else ""
    if not text or bypassed(*host_of(url), environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    try:
        return proxy_of(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def bypassed(host: str, port: int, names: str) -> bool:
    """Whether NO_PROXY names a host: itself, its domain, its address, a network, or `*`; with a port too."""
    import ipaddress

    host = host.lower()
    address = None
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
    plain = (host, f"[{host}]") if ":" in host else (host,)
    written = {*plain, *(f"{each}:{port}" for each in plain)}
    for name in filter(None, (each.strip().lower() for each in names.split(","))):
        bare = name[1:] if name.startswith(".") else name
        if name == "*" or bare in written:
            return True
        if address is None and any(each.endswith(f".{bare}") for each in written):
            return True
        with suppress(ValueError, TypeError):
            if address is not None and address in ipaddress.ip_network(name, strict=False):
                return True
    return False
