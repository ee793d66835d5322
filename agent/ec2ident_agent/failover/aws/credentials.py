"""Where credentials come from: the instance's role by ourselves, everything else by botocore's chain.

This is the only importer of botocore, and it uses the credential chain alone: environment, shared configuration with
its profiles and roles, container, instance role ("Configuring credentials" in the Boto3 guide). To load botocore's
service models would take longer than the whole move.
"""

from __future__ import annotations

import os

from ec2ident.dependency import Loading
from ec2ident_agent.failover.errors import CredentialsError, FailoverError

from .model import Credentials
from .redaction import SHOWN, line, redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def _without_botocore(says: str) -> CredentialsError:
    return CredentialsError(
        f"credentials: none in the environment, and {says};"
        " install ec2ident with [failover] for this Python (docs/install.md)"
    )


def none_found() -> CredentialsError:
    """The error where no source has any."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return CredentialsError(
            "credentials: none found; AWS_EC2_METADATA_DISABLED keeps out the instance's role;"
            " unset it, or set AWS_ACCESS_KEY_ID or a profile"
        )
    return CredentialsError("credentials: none found; give the instance a role, or set AWS_ACCESS_KEY_ID or a profile")


#: What botocore is told of the end of the role's credentials: it would refuse those that seem over. EC2 judges that
#: better: this machine's clock may be wrong, and in an outage EC2 serves and accepts credentials of before.
NEVER = "9999-12-31T23:59:59Z"


class InstanceRole:
    """The credentials of the instance's role, for botocore's provider in place of its own fetcher.

    botocore's fetcher asks through HTTP_PROXY, and signs with what the proxy invents. `Imds` uses no proxy and sends no
    request without a token.
    """

    def __init__(self, environ: Mapping[str, str], seconds: float, *, patient: bool = False) -> None:
        self.environ, self.seconds, self.patient = environ, seconds, patient

    def retrieve_iam_role_credentials(self) -> dict[str, str]:
        """What botocore's fetcher returns: {} if the instance has no role. Raises CredentialsError."""
        import json

        from ec2ident.errors import ImdsError
        from ec2ident.model import Reason

        from . import metadata

        where = "meta-data/iam/security-credentials/"
        try:
            imds = metadata.client(self.environ, self.seconds, patient=self.patient)
            until = imds.deadline()
            role = (imds.get(where, deadline=until) or "").split("\n")[0].strip()
            found = json.loads(imds.get(where + role, deadline=until) or "{}") if role else {}
            if not found:
                return {}
            code = found.get("Code", "Success")
            if code != "Success":
                # Such as AssumeRoleUnauthorizedAccess, where the role's trust policy does not name EC2.
                said = line(redacted(f"{code}: {found.get('Message', '')}"))[:SHOWN]
                raise CredentialsError(f"credentials: the instance's role {role[:64]}: {said}")
            key, secret, token = (str(found[name]) for name in ("AccessKeyId", "SecretAccessKey", "Token"))
        except ImdsError as error:
            if error.reason is Reason.NETWORK_DISABLED:
                return {}
            raise CredentialsError(f"credentials: {error}; is the metadata service reachable?") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # Neither the answer nor the error of the parser is shown: they may hold a key.
            raise CredentialsError(f"credentials: {where}: the answer is not what EC2 documents") from None
        return {"role_name": role, "access_key": key, "secret_key": secret, "token": token, "expiry_time": NEVER}


def botocore_chain(profile: str, seconds: float, sts: Mapping[str, Any], *, patient: bool = False) -> Credentials:
    """The credential chain of the AWS SDKs. Raises CredentialsError with what to do.

    A profile may name a role; botocore then calls STS itself, with `sts` as the arguments of its client. By itself it
    would ask the endpoint of a region that the profile names, or of all regions, which China and GovCloud do not have.
    """
    with Loading("botocore", _without_botocore):
        import botocore.config  # type: ignore[import-untyped]
        import botocore.exceptions  # type: ignore[import-untyped]
        import botocore.session  # type: ignore[import-untyped]
    session = botocore.session.Session(profile=profile or None)
    limits = {"connect_timeout": min(2, seconds), "read_timeout": min(5, seconds), "retries": {"max_attempts": 1}}
    session.set_default_client_config(botocore.config.Config(**limits))
    make, given = session.create_client, dict(sts)
    reached = botocore.config.Config(**limits, proxies=given.pop("proxies"))

    def create_client(service: str, **options: Any) -> Any:
        if service == "sts":
            wanted = options.pop("config", None)
            options = {**options, **given, "config": reached.merge(wanted) if wanted else reached}
        return make(service, **options)

    session.create_client = create_client
    try:
        # The same provider also serves profiles with credential_source = Ec2InstanceMetadata. As the rest of the chain
        # does, it asks the process's environment.
        chain = session.get_component("credential_provider")
        chain.get_provider("iam-role")._role_fetcher = InstanceRole(os.environ, seconds, patient=patient)
        chain.get_provider("assume-role")._prompter = _mfa_code
        found = session.get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    except botocore.exceptions.BotoCoreError as error:
        raise CredentialsError(f"credentials: {line(redacted(str(error)))[:512]}") from None
    except botocore.exceptions.ClientError as error:
        raise CredentialsError(f"credentials: {line(redacted(str(error)))[:512]}") from None
    except FailoverError:
        raise
    except OSError as error:
        # Such as a token file or a program that a profile names.
        raise CredentialsError(f"credentials: {line(str(error))[:SHOWN]}") from None
    except Exception as error:  # noqa: BLE001  its parser's errors have no common class, and quote the response
        raise CredentialsError(f"credentials: botocore: {type(error).__name__}: an answer of an unknown form") from None
    if not frozen or not frozen.access_key:
        raise none_found()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")


def _mfa_code(prompt: str) -> str:
    """The code for a profile with `mfa_serial`. Raises CredentialsError where no person can type one."""
    import getpass
    import sys

    if not (sys.stdin and sys.stdin.isatty()):
        raise CredentialsError(
            "credentials: the profile asks for an MFA code (mfa_serial), without a terminal; use another profile"
        )
    return getpass.getpass(prompt)


def checked(found: Credentials) -> Credentials:
    """Credentials that fit into a header. Raises CredentialsError, which does not quote them, as http.client would."""
    for name, text in (("access key", found.key), ("secret key", found.secret), ("session token", found.token)):
        if not text.isascii() or not text.isprintable() or " " in text:
            raise CredentialsError(f"credentials: the {name} has a space, a line end or another wrong character")
    return found
