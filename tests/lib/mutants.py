"""Mutants of genuine and of throw-away signed items: none may be accepted with other bytes than those that were signed.

A mutant is made by structure: the BER is read into a tree, elements are removed, repeated, exchanged, re-tagged, taken
from another item, their contents changed, and the tree is written again with lengths that fit, in any form of BER.
Some are damaged octet by octet instead, and some in their text form.

    python -m tests.lib.mutants COUNT [SEED]      counts the outcomes; exit code 1 if a mutant is accepted wrongly
"""

from __future__ import annotations

import json
import sys
import time
from base64 import b64decode, b64encode
from collections import Counter
from random import Random

from ec2ident.errors import Ec2IdentError
from ec2ident.model import Identity, Kind
from ec2ident.proof.trust import TrustStore
from ec2ident.proof.verification import verify
from ec2ident.testing.signing import Form, indefinite, tlv
from ec2ident.value import Value

from . import forge, vectors
from .proof import cms_forms

CONSTRUCTED = 0x20
INTERESTING = (b"", b"\0", b"\0\0", b"\x80", b"\xff", b"\x05\0", b"\x30\x80", b"\x24\x80", b"\x02\x01\x01", bytes(128))
TAGS = (0x02, 0x04, 0x05, 0x06, 0x17, 0x18, 0x24, 0x30, 0x31, 0x80, 0xA0, 0xA1, 0xA2, 0xA3, 0x1F, 0x3F, 0x00)


class Sample(Value):
    """An item that verifies, and what comes of it."""

    kind: Kind
    blob: bytes
    document: bytes | None
    trust: TrustStore
    identity: Identity


class Node:
    """An element of BER: of primitive ones the contents, of others the elements inside."""

    def __init__(self, tag: int, inside: bytes | list[Node], indefinite: bool = False) -> None:
        self.tag, self.inside, self.indefinite = tag, inside, indefinite

    def encoded(self) -> bytes:
        if isinstance(self.inside, bytes):
            return tlv(self.tag, self.inside)
        write = indefinite if self.indefinite else tlv
        return write(self.tag, *(one.encoded() for one in self.inside))

    def walk(self) -> list[Node]:
        found = [self]
        if isinstance(self.inside, list):
            for one in self.inside:
                found += one.walk()
        return found


def tree(data: bytes) -> Node:
    """The tree of one element of well-formed BER."""
    node, _ = _node(data, 0)
    return node


def _node(data: bytes, at: int) -> tuple[Node, int]:
    tag, length = data[at], data[at + 1]
    start = at + 2
    if length > 0x80:
        start += length - 0x80
        length = int.from_bytes(data[at + 2 : start], "big")
    if not tag & CONSTRUCTED:
        return Node(tag, data[start : start + length]), start + length
    inside, here = [], start
    endless = data[at + 1] == 0x80
    while data[here : here + 2] != b"\0\0" if endless else here < start + length:
        one, here = _node(data, here)
        inside.append(one)
    return Node(tag, inside, endless), here + 2 * endless


def samples() -> list[Sample]:
    """Every genuine item, and throw-away ones in all the forms that are accepted."""
    found = []
    for folder, name in vectors.GENUINE:
        document = vectors.document(folder) if name == "signature" else None
        text, trust = vectors.signature(folder, name), TrustStore.bundled()
        found.append((Kind(name), b64decode(text), document, trust))
    for kind in Kind:
        for authority in (forge.OURS, forge.CHINA):
            text = authority.sign(forge.document(), kind, forge.SIGNED_AT, Form(primitive=kind is Kind.PKCS7))
            document = forge.document() if kind is Kind.SIGNATURE else None
            found.append((kind, b64decode(text), document, forge.trust(authority=authority)))
    for key in (("rsa", "sha256", 32), ("rsa3072", "sha512"), ("p256",), ("p384", "sha384"), ("dsa", "sha1")):
        signed = cms_forms.Signed(*key)
        signed.protected = True
        signed.certificates = tlv(0xA0, tlv(0x30, b"\x02\x01\x01"))
        signed.unsigned = tlv(0xA1, tlv(0x30, b"\x06\x01\x2a", tlv(0x31)))
        found.append((Kind.PKCS7, signed.blob(), None, cms_forms.trust(signed.name)))
    return [
        Sample(kind, blob, document, trust, verify(b64encode(blob), kind=kind, document=document, trust=trust))
        for kind, blob, document, trust in found
    ]


def mutant(random: Random, sample: Sample, others: list[Sample]) -> tuple[bytes, bytes | None]:
    """A changed item, as text or octets, and its document where it needs one."""
    blob, document = sample.blob, sample.document
    if sample.kind is Kind.SIGNATURE:
        if random.random() < 0.7 and document is not None:
            document = octets(random, document, others)
        else:
            blob = octets(random, blob, others)
    elif random.random() < 0.8:
        blob = structure(random, blob, others)
    else:
        blob = octets(random, blob, others)
    return text(random, sample.kind, blob), document


def structure(random: Random, blob: bytes, others: list[Sample]) -> bytes:
    """One to three changes of the tree."""
    root = tree(blob)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        node = random.choice(root.walk())
        if isinstance(node.inside, bytes):
            node.inside = octets(random, node.inside, others) if random.random() < 0.8 else random.choice(INTERESTING)
            if random.random() < 0.1:
                node.tag = random.choice(TAGS) & ~CONSTRUCTED
            continue
        change, inside = random.randrange(8), node.inside
        if change == 0:
            node.indefinite = not node.indefinite
        elif change == 1:
            node.tag = random.choice(TAGS) | CONSTRUCTED
        elif change == 2 and inside:
            del inside[random.randrange(len(inside))]
        elif change == 3 and inside:
            inside.insert(random.randrange(len(inside) + 1), random.choice(inside))
        elif change == 4 and inside:
            random.shuffle(inside)
        elif change == 5:
            other = random.choice([one for one in others if one.kind is not Kind.SIGNATURE])
            inside.insert(random.randrange(len(inside) + 1), random.choice(tree(other.blob).walk()))
        elif change == 6 and inside:
            other = random.choice([one for one in others if one.kind is not Kind.SIGNATURE])
            at = random.randrange(len(inside))
            alike = [one for one in tree(other.blob).walk() if one.tag == inside[at].tag]
            inside[at] = random.choice(alike or [inside[at]])
        else:
            inside.insert(random.randrange(len(inside) + 1), Node(random.choice(TAGS) & ~CONSTRUCTED, b"\0"))
    try:
        return root.encoded()
    except RecursionError:  # an element that was put into itself
        return blob[:-1]


def octets(random: Random, data: bytes, others: list[Sample]) -> bytes:
    """One change of a string of octets."""
    at = random.randrange(len(data) + 1)
    change = random.randrange(7)
    if change == 0:
        return data[:at]
    if change == 1:
        return data[:at] + random.choice(INTERESTING) + data[at:]
    if change == 2:
        return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]
    if change == 3:
        return data[:at] + data[at + random.randrange(1, 9) :]
    if change == 4:
        other = random.choice(others)
        piece = other.document or other.blob
        start = random.randrange(len(piece))
        return data[:at] + piece[start : start + random.randrange(1, 64)] + data[at:]
    if change == 5:
        return random.choice((data + b"\n", data.replace(b"\n", b"\r\n"), b" " + data, data.lower(), data[::-1]))
    return data[: at and at - 1] + bytes((data[at - 1] ^ 1 << random.randrange(8),)) + data[at:] if data else b"\0"


def text(random: Random, kind: Kind, blob: bytes) -> bytes:
    """A form in which people keep it; now and then a damaged one."""
    plain = b64encode(blob)
    form = random.randrange(12)
    if form == 0:
        return blob
    if form == 1:
        return b"-----BEGIN PKCS7-----\n" + plain + b"\n-----END PKCS7-----\n"
    if form == 2:
        return json.dumps({kind.value: plain.decode()}).encode()
    if form == 3:
        return plain.rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_")
    if form == 4:
        return plain.decode().encode("utf-16")
    if form == 5:
        at = random.randrange(len(plain) + 1)
        return plain[:at] + random.choice((b"\n", b" ", b"\\n", b"=", b'"', b"\0", b"-----")) + plain[at:]
    return plain


def outcome(sample: Sample, given: bytes, document: bytes | None) -> str:
    """The error, or `same`: the very document that was signed, with the key and the time. Raises AssertionError."""
    try:
        found = verify(given, kind=sample.kind, document=document, trust=sample.trust)
    except Ec2IdentError as error:
        return type(error).__name__
    assert found == sample.identity or _another_signed(found), (sample, given, document)
    return "same"


_signed: set[tuple[bytes, str]] = set()


def _another_signed(found: Identity) -> bool:
    """A piece taken from another sample may be that sample, whole: signed bytes all the same."""
    if not _signed:
        _signed.update((one.identity.document.raw, one.identity.key_sha256) for one in samples())
    return (found.document.raw, found.key_sha256) in _signed


def run(count: int, seed: int) -> Counter[str]:
    """The outcomes of so many mutants."""
    random, all_samples = Random(seed), samples()
    _signed.update((one.identity.document.raw, one.identity.key_sha256) for one in all_samples)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        sample = random.choice(all_samples)
        outcomes[outcome(sample, *mutant(random, sample, all_samples))] += 1
    return outcomes


def main(arguments: list[str]) -> int:
    count, seed = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 1
    start = time.monotonic()
    outcomes = run(count, seed)
    print(f"{count} mutants, seed {seed}, {time.monotonic() - start:.0f} s: none accepted with other bytes than signed")
    for name, number in outcomes.most_common():
        print(f"  {name:20} {number}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
