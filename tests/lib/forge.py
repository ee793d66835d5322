"""Documents signed by an authority to throw away, whole or with one part wrong."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from datetime import datetime, timezone

from ec2ident.model import Kind
from ec2ident.proof.trust import TrustStore
from ec2ident.testing.signing import Authority, attributes, signed_data, signer_info, tlv

SIGNED_AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone.utc)

#: Making keys takes a moment: one set for all tests.
OURS = Authority()
CHINA = Authority(china=True)
STRANGER = Authority()


def document(region: str = "af-south-1", **fields: object) -> bytes:
    """A document as AWS writes it."""
    known: dict[str, object] = {
        "accountId": "012345678901",
        "architecture": "arm64",
        "availabilityZone": f"{region}a",
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": "ami-0123456789abcdef0",
        "instanceId": "i-0123456789abcdef0",
        "instanceType": "m7g.large",
        "kernelId": None,
        "pendingTime": "2026-02-03T04:05:03Z",
        "privateIp": "10.0.0.10",
        "ramdiskId": None,
        "region": region,
        "version": "2017-09-30",
        **fields,
    }
    return json.dumps(known, indent=2, separators=(",", " : ")).encode()


def trust(region: str = "af-south-1", authority: Authority = OURS, partition: str = "aws") -> TrustStore:
    return authority.trust(region, partition)


class Parts:
    """The parts of a signed object, each of which a test may replace before `text()` puts them together.

    The signature is made over the signed attributes as they then are, so that only the replaced part is wrong.
    """

    def __init__(self, kind: Kind = Kind.RSA2048, authority: Authority = OURS, content: bytes | None = None) -> None:
        self.kind, self.authority = kind, authority
        self.content = document() if content is None else content
        digest, self.digest_algorithm, self.signature_algorithm = authority.algorithms(kind)
        self.message_digest = hashlib.new(digest, self.content).digest()
        self.protected: tuple[bytes, bytes] | None = (self.digest_algorithm, self.signature_algorithm)
        self.extra_attributes: tuple[bytes, ...] = ()
        self.sort = True
        self.unsigned = self.certificates = self.trailing = b""
        self.signers = 1
        self.outer_digest_algorithm = self.digest_algorithm

    def signed_attributes(self) -> tuple[bytes, ...]:
        made = (*attributes(self.message_digest, SIGNED_AT, self.protected), *self.extra_attributes)
        return tuple(sorted(made)) if self.sort else made

    def signer(self, signed: tuple[bytes, ...]) -> bytes:
        signature = self.authority.raw_signature(self.kind, tlv(0x31, *signed))
        return signer_info(
            self.authority.issuer_and_serial(self.kind),
            self.digest_algorithm,
            signed,
            self.signature_algorithm,
            signature,
            self.unsigned,
        )

    def blob(self) -> bytes:
        signer = self.signer(self.signed_attributes())
        return (
            signed_data(
                self.content, (signer,) * self.signers, self.outer_digest_algorithm, certificates=self.certificates
            )
            + self.trailing
        )

    def text(self) -> bytes:
        return b64encode(self.blob())
