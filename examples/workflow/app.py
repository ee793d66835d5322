"""A program that behaves differently on EC2; test_app.py shows how to test each way."""

from __future__ import annotations

import ec2ident


def bucket(name: str, timeout: float = 20.0) -> str:
    """Where backups go: to the bucket of the instance's own region, elsewhere to that of the office.

    `timeout` is how long the metadata service may take, in seconds: it throttles, and is late at boot. Raises
    ec2ident.ImdsError on an instance that cannot tell its region: a wrong bucket would be worse than none.
    """
    if not ec2ident.is_ec2():
        return f"{name}-office"
    return f"{name}-{ec2ident.Imds(timeout).region}"


def may_join(item: bytes, account: str) -> bool:
    """Whether a machine that sent this item (the kind rsa2048) is an instance of this account; a server's side."""
    try:
        return ec2ident.verify(item, kind="rsa2048").document.account_id == account
    except ec2ident.VerificationError:
        return False
