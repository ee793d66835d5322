"""The keys of a profile in the shared AWS configuration file ("Shared config and credentials files", SDKs guide).

Only what says how to reach the API is read here: region, endpoints, certificates, switches. Credentials are botocore's.
"""

from __future__ import annotations

import os

from ec2ident_agent.failover.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: The longest file that is read, in bytes.
LIMIT = 1 << 20

KEYS = (
    "region",
    "ca_bundle",
    "endpoint_url",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "ignore_configured_endpoint_urls",
)


def read(environ: Mapping[str, str], profile: str = "") -> dict[str, str]:
    """The KEYS of a profile, and `services.ec2.endpoint_url` of its section `services`; {} without a file.

    `profile` is its name, by default AWS_PROFILE or `default`. Raises UsageError for a file that is malformed or
    cannot be read.
    """
    path = environ.get("AWS_CONFIG_FILE") or os.path.join("~", ".aws", "config")
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            text = file.read(LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8'}") from None
    if len(text) > LIMIT:
        raise UsageError(f"{path}: is longer than {LIMIT} bytes")
    return keys_of(text, profile or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default", path)


def keys_of(text: str, profile: str, path: str = "the AWS configuration") -> dict[str, str]:
    """As `read`, of the text of a file. Pure."""
    import configparser

    parser = configparser.RawConfigParser(default_section="\0", strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        line = getattr(error, "lineno", None)
        where = f" line {line}" if line else ""
        # The text of the error quotes the line, which may hold a key.
        raise UsageError(f"{path}:{where} is not an AWS configuration ({type(error).__name__})") from None
    names = {f"profile {profile}", *(("default",) if profile == "default" else ())}
    # Names with spaces are written in quotes.
    section = next((parser[name] for name in parser.sections() if name.replace('"', "") in names), None)
    if section is None:
        return {}
    found = {key: section[key].strip() for key in KEYS if section.get(key, "").strip()}
    services = section.get("services", "").strip()
    if services and parser.has_section(f"services {services}"):
        for service, lines in parser[f"services {services}"].items():
            pairs = (line.partition("=") for line in lines.splitlines())
            nested = {key.strip(): value.strip() for key, _, value in pairs}
            if nested.get("endpoint_url"):
                found[f"services.{service}.endpoint_url"] = nested["endpoint_url"]
    return found
