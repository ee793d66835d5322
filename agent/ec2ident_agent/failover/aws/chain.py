"""Where the AWS SDKs would look for credentials before they ask for the instance's role. Pure but for `exists`.

The order is botocore's (`create_credential_resolver` in botocore/credentials.py): environment, profile, web identity,
SSO, shared files, process, boto's files, container, instance role. To load botocore costs a fifth of a second of the
processor, so it stays out where only the last of them can answer.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Variables of the SDKs that have nothing to do with credentials. Every other AWS_ variable may name a source.
_HARMLESS = {
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "AWS_DEFAULT_OUTPUT", "AWS_PAGER", "AWS_EXECUTION_ENV"),
    *("AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_DEFAULTS_MODE"),
    *("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_METADATA_SERVICE_TIMEOUT"),
    "AWS_METADATA_SERVICE_NUM_ATTEMPTS",
}
_HARMLESS_PREFIXES = ("AWS_EC2_METADATA_", "AWS_ENDPOINT_URL")

#: Files that any of the SDKs' providers reads. The variables that name others are not among the harmless ones.
FILES = ("~/.aws/config", "~/.aws/credentials", "~/.boto", "/etc/boto.cfg")


def only_the_role(environ: Mapping[str, str], exists: Callable[[str], bool]) -> bool:
    """Whether the instance's role is the only source of credentials that can be there.

    `exists` says whether a file of FILES is there. An empty variable counts: an SDK may take it for a value.
    """
    for name in environ:
        if name == "BOTO_CONFIG":
            return False
        if name.startswith("AWS_") and name not in _HARMLESS and not name.startswith(_HARMLESS_PREFIXES):
            return False
    return not any(map(exists, FILES))
