"""Where the instance's role is the only source of credentials, botocore is not loaded; anywhere else it decides."""

from __future__ import annotations

import pytest

from ec2ident_agent.failover.aws.chain import FILES, only_the_role


def nothing(_: str) -> bool:
    """No file is there."""
    return False


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PATH": "/bin", "HOME": "/root"},
        {"AWS_REGION": "eu-west-1", "AWS_CA_BUNDLE": "/x.pem"},
        {"AWS_ENDPOINT_URL_EC2": "https://x", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_with_nothing_else_only_the_role_is_left(environ: dict[str, str]) -> None:
    """What an agent of a cluster engine has."""
    assert only_the_role(environ, nothing)


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CREDENTIAL_FILE"),
        *("BOTO_CONFIG", "AWS_SOMETHING_OF_TOMORROW"),
    ],
)
def test_any_other_variable_of_the_sdks_leaves_it_to_botocore(name: str) -> None:
    """Also an unknown one, and an empty one."""
    for value in ("x", ""):
        assert not only_the_role({name: value}, nothing)


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_a_provider_reads_leaves_it_to_botocore(path: str) -> None:
    """Whatever is in it."""
    assert not only_the_role({}, lambda asked: asked == path)


def test_botocore_has_no_other_providers(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """A new one may read what is not looked at here: read its code, then add it to this list."""
    session = pytest.importorskip("botocore.session")
    monkeypatch.setenv("HOME", str(tmp_path))
    providers = session.Session().get_component("credential_provider").providers

    assert {
        *("env", "assume-role", "assume-role-with-web-identity", "sso", "shared-credentials-file", "login"),
        *("custom-process", "config-file", "ec2-credentials-file", "boto-config", "container-role", "iam-role"),
    } >= {provider.METHOD for provider in providers}
