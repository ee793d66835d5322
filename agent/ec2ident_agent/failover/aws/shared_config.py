"""The keys of a profile in the shared AWS files ("Shared config and credentials files", SDKs guide).

Only what says how to reach the API is read here: region, endpoints, certificates, switches. Credentials are botocore's.
Where a profile is found is as in botocore (`configloader.py`, and `full_config` of its session): a name is split as by
a shell, of two sections the later one counts, and the credentials file has priority. A key that the SDKs obey and this
program ignored would send a move to another region or past a FIPS endpoint.
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

    `profile` is its name, by default AWS_PROFILE or `default`. Raises UsageError for a file that is malformed, and for
    a configuration file that cannot be read.
    """
    config = environ.get("AWS_CONFIG_FILE") or os.path.join("~", ".aws", "config")
    credentials = environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.join("~", ".aws", "credentials")
    name = profile or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    try:
        secrets = _text(credentials)
    except OSError:
        # The SDKs pass over a file that they cannot open, too.
        secrets = ""
    try:
        text = _text(config)
    except OSError as error:
        raise UsageError(f"{config}: {error.strerror or error}") from None
    return keys_of(text, name, config, credentials=secrets, where=credentials)


def _text(path: str) -> str:
    """The text of a file, "" if there is none. Raises OSError; UsageError if it is too long, or not UTF-8."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            text = file.read(LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8") from None
    if len(text) > LIMIT:
        raise UsageError(f"{path}: is longer than {LIMIT} bytes")
    return text


def keys_of(
    text: str,
    profile: str,
    path: str = "the AWS configuration",
    *,
    credentials: str = "",
    where: str = "the AWS credentials",
) -> dict[str, str]:
    """As `read`, of the texts of the two files. Pure."""
    config = _sections(text, path)
    section: dict[str, str] = {}
    for name, keys in config.items():
        if name == "default" == profile or _words(name) == ["profile", profile]:
            section = keys
    section = {**section, **_sections(credentials, where).get(profile, {})}
    found = {key: section[key].strip() for key in KEYS if section.get(key, "").strip()}
    services = section.get("services", "").strip()
    for name, keys in config.items():
        if services and _words(name) == ["services", services]:
            found.update(_endpoints(keys))
    return found


def _sections(text: str, path: str) -> dict[str, dict[str, str]]:
    import configparser

    parser = configparser.RawConfigParser(default_section="\0", strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        line = getattr(error, "lineno", None)
        where = f" line {line}" if line else ""
        # The text of the error quotes the line, which may hold a key.
        raise UsageError(f"{path}:{where} is not an AWS configuration ({type(error).__name__})") from None
    return {name: dict(parser[name]) for name in parser.sections()}


def _words(name: str) -> list[str]:
    """The words of a section's name: a name with spaces is written in quotes."""
    import shlex

    try:
        return shlex.split(name)
    except ValueError:
        return []


def _endpoints(services: Mapping[str, str]) -> dict[str, str]:
    """The `endpoint_url` of each service of a section `services`."""
    found = {}
    for service, lines in services.items():
        pairs = (line.partition("=") for line in lines.splitlines())
        nested = {key.strip(): value.strip() for key, _, value in pairs}
        if nested.get("endpoint_url"):
            found[f"services.{service}.endpoint_url"] = nested["endpoint_url"]
    return found
