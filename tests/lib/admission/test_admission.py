"""Admission: each step has a near miss that is refused, the answers say nothing, and of two first uses one wins."""

from __future__ import annotations

import contextlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ec2ident import Policy
from ec2ident.admission import (
    Admission,
    Admitted,
    NotAdmittedError,
    Proof,
    RateLimit,
    SqliteStore,
    check_described,
    keys,
    prepare,
)
from ec2ident.admission import request as requests_of_machines
from ec2ident.admission.challenge import binding, encode
from ec2ident.admission.errors import AdmissionUnavailableError
from ec2ident.errors import MalformedError
from ec2ident.model import Identity
from tests.lib import forge
from tests.lib.clock import Clock

AUDIENCE = "https://join.example.com"
ACCOUNT = "012345678901"
INSTANCE = "i-0123456789abcdef0"
START = forge.SIGNED_AT.timestamp()
KEY = ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "admission.db", timeout=30)


@pytest.fixture
def admission(store: SqliteStore, clock: Clock) -> Admission:
    return server(store, clock)


def server(store: SqliteStore, clock: Clock, **options: Any) -> Admission:
    given = {"policy": Policy(accounts=[ACCOUNT]), "trust": forge.trust(), "audience": AUDIENCE, **options}
    return Admission(store=store, now=clock, **given)


def item(kind: str = "rsa2048", **fields: object) -> str:
    return forge.OURS.sign(forge.document(**fields), kind, forge.SIGNED_AT)  # type: ignore[arg-type]


def proof(admission: Admission, key: Any = KEY, text: str | None = None, **options: Any) -> Proof:
    challenge = admission.challenge().to_dict()
    return prepare(challenge, text or item(), key, audience=admission.audience, **options)


def body(made: Proof | dict[str, object]) -> bytes:
    return json.dumps(made.to_dict() if isinstance(made, Proof) else made).encode()


def refused(admission: Admission, made: Proof | dict[str, object], code: str) -> str:
    """The admission refuses for this reason, answers without a word of it, and the text is for the log."""
    with pytest.raises(NotAdmittedError) as caught:
        admission.admit(body(made))
    assert code == caught.value.code
    return str(caught.value)


# A machine that is let in


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["ed25519", "p256", "p384"],
)
def test_a_machine_with_a_document_and_a_key_is_let_in(admission: Admission, store: SqliteStore, key: Any) -> None:
    """The first time it is first, the next time known, and its key names it from then on."""
    first = admission.admit(body(proof(admission, key)))
    again = admission.admit(body(proof(admission, key)))

    assert (True, False) == (first.first, again.first)
    assert (ACCOUNT, INSTANCE) == store.instance_of(first.key)
    assert first.key == again.key
    assert INSTANCE == first.identity.document.instance_id


def test_the_kind_signature_brings_its_document(store: SqliteStore, clock: Clock) -> None:
    """It is legacy, so the policy has to allow it; the document is part of what the proof signs."""
    admission = server(store, clock, policy=Policy(accounts=[ACCOUNT], allow_legacy=True))
    document = forge.document()
    made = proof(admission, text=item("signature"), kind="signature", document=document)

    assert admission.admit(body(made)).first
    other = {**proof(admission, text=item("signature"), kind="signature", document=document).to_dict()}
    other["document"] = document.decode().replace("10.0.0.10", "10.0.0.11")
    refused(admission, other, "wrong-signature")


# One step after the other


def test_a_request_that_was_used_is_refused_from_every_sender(admission: Admission) -> None:
    """A replay: the same octets a second time, or the same challenge with another document."""
    made = proof(admission)
    admission.admit(body(made))

    assert "used before" in refused(admission, made, "replay")


def test_one_challenge_in_another_spelling_is_the_same_challenge(admission: Admission, store: SqliteStore) -> None:
    """The nonce is recorded by its octets: base64 has several texts for them, and a text does not identify it."""
    challenge = admission.challenge()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(challenge.nonce[-1])
    spellings = [challenge.nonce[:-1] + alphabet[last ^ bit] for bit in (0, 1, 2, 3)]
    made = [prepare({**challenge.to_dict(), "nonce": nonce}, item(), KEY, audience=AUDIENCE) for nonce in spellings]

    answers = [admission.handle(body(one)).status for one in made]

    assert [200] == [status for status in answers if status == 200]


def test_a_challenge_ends(admission: Admission, clock: Clock) -> None:
    """At its end, not a second later, by the clock of the server that checks."""
    made = proof(admission)
    clock.now += admission.seconds - 1
    admission.admit(body(made))

    late = proof(admission)
    clock.now += admission.seconds
    refused(admission, late, "stale-challenge")


def test_a_challenge_of_another_service_or_of_none_is_refused(
    admission: Admission, store: SqliteStore, clock: Clock, tmp_path: Path
) -> None:
    """Two services may share a store, and still cannot use each other's challenges; nor can a stranger make one."""
    other = server(store, clock, audience="https://other.example.com")
    elsewhere = server(SqliteStore(tmp_path / "elsewhere.db"), clock)

    for foreign in (other, elsewhere):
        nonce = foreign.challenge().nonce
        made = prepare({"nonce": nonce, "audience": AUDIENCE}, item(), KEY, audience=AUDIENCE)
        refused(admission, made, "foreign-challenge")
    made = prepare({"nonce": encode(b"\0" * 40), "audience": AUDIENCE}, item(), KEY, audience=AUDIENCE)
    refused(admission, made, "foreign-challenge")


def test_a_client_does_not_answer_for_another_service(admission: Admission) -> None:
    """A server that passes on the challenge of another one gets nothing that the other would take."""
    with pytest.raises(ValueError, match="do not answer it"):
        prepare(admission.challenge().to_dict(), item(), KEY, audience="https://evil.example.com")


@pytest.mark.parametrize("answer", [None, [], "later", {}, {"audience": AUDIENCE}, {"audience": AUDIENCE, "nonce": 5}])
def test_a_client_refuses_what_is_not_a_challenge(answer: Any) -> None:
    """The answer comes from the network: it may be a page of a proxy, or an error."""
    with pytest.raises(ValueError, match=r"^challenge: .* \(an object with nonce and audience is expected\)$"):
        prepare(answer, item(), KEY, audience=AUDIENCE)


@pytest.mark.parametrize("seconds", [0, 0.5, -1, 3601, float("nan"), "60", None])
def test_a_challenge_is_good_for_a_second_to_an_hour(seconds: Any, tmp_path: Path) -> None:
    """Of half a second nothing would be left: the end of a challenge is in whole seconds."""
    store = SqliteStore(tmp_path / "store.db")

    with pytest.raises(ValueError, match=r"^seconds: .* \(how long a challenge is good: 1 to 3600\)"):
        Admission(audience=AUDIENCE, policy=Policy(accounts=None), store=store, seconds=seconds)


def test_a_copied_document_with_a_key_of_the_thief_is_refused_after_first_use(admission: Admission) -> None:
    """Trust on first use, with a perfect document, a fresh challenge, and a proof by another key."""
    admission.admit(body(proof(admission)))
    thief = ed25519.Ed25519PrivateKey.generate()

    assert "another key" in refused(admission, proof(admission, thief), "other-key")
    assert not admission.admit(body(proof(admission))).first


@pytest.mark.parametrize("part", ["nonce", "key", "rsa2048", "proof"])
def test_a_proof_is_for_one_request(admission: Admission, part: str) -> None:
    """With any part of another valid request the proof does not fit: the parts cannot be recombined."""
    key = ed25519.Ed25519PrivateKey.generate()
    mine = proof(admission).to_dict()
    another = proof(admission, key, item(privateIp="10.0.0.99")).to_dict()
    assert mine[part] != another[part]

    refused(admission, {**mine, part: another[part]}, "wrong-proof")


def test_a_key_serves_one_instance(admission: Admission) -> None:
    """A key that is part of an image would make all its instances one."""
    admission.admit(body(proof(admission)))

    refused(admission, proof(admission, text=item(instanceId="i-0fedcba9876543210")), "key-of-another")


def test_a_document_of_an_earlier_start_is_refused(admission: Admission) -> None:
    """After a stop and a start the document is new; who comes with the old one has a copy."""
    admission.admit(body(proof(admission, text=item(pendingTime="2026-02-03T04:05:03Z"))))
    admission.admit(body(proof(admission, text=item(pendingTime="2026-02-03T04:05:04Z"))))

    refused(admission, proof(admission, text=item(pendingTime="2026-02-03T04:05:03Z")), "older-document")


def test_an_administrator_may_release_an_instance(admission: Admission, store: SqliteStore) -> None:
    """A machine that lost its key comes as for the first time."""
    admission.admit(body(proof(admission)))

    assert store.release(ACCOUNT, INSTANCE)
    assert not store.release(ACCOUNT, INSTANCE)
    assert admission.admit(body(proof(admission, ed25519.Ed25519PrivateKey.generate()))).first


def test_the_policy_and_the_signature_are_checked(store: SqliteStore, clock: Clock) -> None:
    """Another account, a stranger's signature, a region with unknown keys: refused, with the reason as code."""
    admission = server(store, clock, policy=Policy(accounts=[ACCOUNT], max_pending_age=timedelta(minutes=5)))
    stranger = forge.STRANGER.sign(forge.document(), "rsa2048", forge.SIGNED_AT)
    elsewhere = item(region="us-gov-west-1", availabilityZone="us-gov-west-1a")

    other = refused(admission, proof(admission, text=item(accountId="999999999999")), "not-allowed")
    assert other.endswith(f"({INSTANCE} of account 999999999999, by its document)")
    assert INSTANCE in refused(admission, proof(admission, text=stranger), "wrong-signature")
    refused(admission, proof(admission, text=elsewhere), "unverifiable")
    clock.now += 3600
    refused(admission, proof(admission), "too-old")


def test_the_instance_may_have_to_run(store: SqliteStore, clock: Clock) -> None:
    """`alive` is asked before the key is recorded, so a dead instance takes no place."""

    def gone(identity: Identity) -> None:
        check_described(identity, None)

    refused(server(store, clock, alive=gone), proof(server(store, clock)), "not-running")
    assert server(store, clock).admit(body(proof(server(store, clock)))).first


# What a stranger learns


def test_every_refusal_is_the_same_answer(admission: Admission) -> None:
    """A stranger cannot tell a wrong account from a known instance, a stale challenge, or a forged signature."""
    admission.admit(body(proof(admission)))
    thief = ed25519.Ed25519PrivateKey.generate()
    answers = [
        admission.handle(body(made))
        for made in (
            proof(admission, thief),
            proof(admission, text=item(accountId="999999999999")),
            proof(admission, text=forge.STRANGER.sign(forge.document(), "rsa2048", forge.SIGNED_AT)),
            {**proof(admission).to_dict(), "nonce": encode(b"\0" * 40)},
        )
    ]

    assert {(403, '{"error": "refused"}')} == {(one.status, json.dumps(one.body)) for one in answers}
    assert 4 == len({one.log for one in answers})


WHOLE = {"rsa2048": "a", "nonce": "c", "key": "d", "proof": "e"}
MALFORMED: dict[str, object] = {
    "a number for the item": {"rsa2048": 5},
    "a number among the rest": {**WHOLE, "rsa2048": 5},
    "null for the item": {**WHOLE, "rsa2048": None},
    "a list": [],
    "a text": "text",
    "nothing": {},
    "two items": {**WHOLE, "pkcs7": "b"},
    "an unknown field": {**WHOLE, "admin": "true"},
    "no nonce": {"rsa2048": "a", "key": "d", "proof": "e"},
    "a signature without its document": {"signature": "a", "nonce": "c", "key": "d", "proof": "e"},
    "caller is a text": {**WHOLE, "caller": "x"},
    "caller has a number": {**WHOLE, "caller": {"x": 1}},
    "caller has a header twice": {**WHOLE, "caller": {"x": "1", "X": ""}},
    "a key that is none": {**WHOLE, "key": "!"},
    "half of a surrogate pair": {**WHOLE, "rsa2048": "\ud800"},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_a_request_is_400(admission: Admission, name: str) -> None:
    """Never 500: `{"rsa2048": 5}` is a client's mistake, not the server's."""
    answer = admission.handle(json.dumps(MALFORMED[name]))

    assert (400, {"error": "malformed"}) == (answer.status, answer.body)
    assert answer.log.startswith("malformed: ")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"[" * 30000,
        b"1" * 30000,
        b'{"rsa2048": NaN}',
        b'{"nonce": "a", "nonce": "b"}',
        b" " * 40000,
        "\ud800",
    ],
    ids=range(9),
)
def test_octets_that_are_not_a_request_are_400(admission: Admission, raw: bytes | str) -> None:
    """What is too large is refused before it is parsed; JSON's traps are errors of the same kind."""
    assert 400 == admission.handle(raw).status


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*WHOLE, "caller"]), inner),
)


@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_body_ends_in_another_error(raw: bytes) -> None:
    """The reader raises MalformedError, or returns a request."""
    with contextlib.suppress(MalformedError):
        requests_of_machines.read(raw)


def test_a_key_of_another_type_is_malformed(admission: Admission) -> None:
    """RSA, Ed448, another curve, and another encoding of an accepted key, which would be a second name for it."""
    public = [
        rsa.generate_private_key(65537, 2048).public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
    ]
    encoded = [one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in public]  # type: ignore[attr-defined]
    made = proof(admission).to_dict()

    for key in (*encoded, b"\x30\x00", b"x" * 1000):
        answer = admission.handle(body({**made, "key": encode(key)}))
        assert (400, True) == (answer.status, answer.log.startswith("malformed: key: ")), answer
    with pytest.raises(ValueError, match="Ed25519, or EC on P-256 or P-384"):
        proof(admission, rsa.generate_private_key(65537, 2048))


def test_the_log_has_one_line_and_no_secret(admission: Admission) -> None:
    """What a client sent is printed with escapes, and proofs, nonces and headers never."""
    made = proof(admission).to_dict()
    made["caller"] = {"authorization": "AWS4-HMAC-SHA256 secret"}
    good = admission.handle(body(made), source="192.0.2.1\nforged line")
    bad = admission.handle(body({**made, "a\nb": "x"}), source="192.0.2.1")

    for answer in (good, bad):
        assert "\n" not in answer.log
        assert not [text for text in (made["proof"], made["nonce"], "secret") if str(text) in answer.log]
    assert good.log.startswith(f"admitted account={ACCOUNT} instance={INSTANCE} key=")
    assert {"account", "instance", "key", "first"} == set(good.body["admitted"])  # type: ignore[call-overload]


# The store


def test_of_many_first_uses_at_once_one_wins(store: SqliteStore, clock: Clock) -> None:
    """In threads, each with a store of its own on the same file, as in several processes."""
    admissions = [server(SqliteStore(store.path, timeout=60), clock) for _ in range(8)]
    made = [body(proof(one, ed25519.Ed25519PrivateKey.generate())) for one in admissions]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda pair: pair[0].handle(pair[1]), zip(admissions, made)))

    assert [200] + [403] * 7 == sorted(answer.status for answer in answers), [answer.log for answer in answers]


def test_of_many_copies_of_one_request_at_once_one_wins(store: SqliteStore, clock: Clock) -> None:
    """The nonce decides; the others are replays."""
    admissions = [server(SqliteStore(store.path, timeout=60), clock) for _ in range(8)]
    one = body(proof(admissions[0]))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda admission: admission.handle(one), admissions))

    assert [200] + [403] * 7 == sorted(answer.status for answer in answers)
    assert 7 == len([answer for answer in answers if "code=replay" in answer.log])


def test_servers_with_one_store_take_each_others_challenges(store: SqliteStore, clock: Clock) -> None:
    """Behind a load balancer, the challenge comes from one and the request goes to another."""
    one, other = server(store, clock), server(SqliteStore(store.path), clock)

    assert other.admit(body(proof(one))).first


def test_used_nonces_are_forgotten_long_after_their_end(store: SqliteStore) -> None:
    """The table does not grow for ever; until then the clocks of other servers may be behind by an hour."""
    assert store.use(b"a", 1000, 990.0)
    assert not store.use(b"a", 1000, 1000 + 3600.0)
    assert store.use(b"a", 1000, 1000 + 3602.0)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_a_store_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """It holds the secret of the challenges; a new one is made with mode 0600, whatever the umask."""
    path = tmp_path / "open.db"
    SqliteStore(path)
    assert 0o600 == path.stat().st_mode & 0o777

    path.chmod(0o640)
    with pytest.raises(ValueError, match="mode 640, and it holds a secret; chmod 600"):
        SqliteStore(path)


def test_a_file_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    """Nothing of it is changed; a store of a later version neither."""
    text = tmp_path / "text"
    text.write_text("not a database, and longer than a header\n" * 50, encoding="utf-8")
    text.chmod(0o600)
    with pytest.raises(ValueError, match="not a database"):
        SqliteStore(text)
    assert text.read_text(encoding="utf-8").startswith("not a database")

    import sqlite3

    SqliteStore(tmp_path / "later.db")
    db = sqlite3.connect(tmp_path / "later.db")
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(ValueError, match="version 2 of the store"):
        SqliteStore(tmp_path / "later.db")


def test_a_store_that_fails_is_not_a_refusal(admission: Admission, store: SqliteStore) -> None:
    """503, and the machine may come again: neither a yes nor a no."""
    made = body(proof(admission))
    Path(store.path).write_bytes(b"damaged" * 1000)

    answer = admission.handle(made)

    assert (503, {"error": "try again later"}) == (answer.status, answer.body)
    with pytest.raises(AdmissionUnavailableError, match="file is not a database"):
        admission.challenge()


# Limits, and the instance by the EC2 API's word


def test_a_source_has_a_burst_and_then_a_rate() -> None:
    """Other sources are not concerned, and the memory is bounded."""
    limit = RateLimit(per_minute=60, burst=3, most_sources=2)

    assert [True, True, True, False] == [limit.allows("a", 0.0) for _ in range(4)]
    assert limit.allows("b", 0.0)
    assert [True, False] == [limit.allows("a", 1.0) for _ in range(2)]
    assert limit.allows("c", 1.0)
    assert limit.allows("b", 1.0)
    with pytest.raises(ValueError, match="rate limit"):
        RateLimit(burst=0)


DESCRIBED = {
    "InstanceId": INSTANCE,
    "ImageId": "ami-0123456789abcdef0",
    "InstanceType": "m7g.large",
    "Placement": {"AvailabilityZone": "af-south-1a"},
    "PrivateIpAddress": "10.0.0.10",
    "State": {"Name": "running"},
}


def test_an_instance_is_compared_with_what_ec2_describes(admission: Admission) -> None:
    """Each field alone, changed or absent; a stopped instance, and one that EC2 does not know."""
    admitted: Admitted = admission.admit(body(proof(admission)))
    check_described(admitted.identity, DESCRIBED)

    for name in DESCRIBED:
        changed: dict[str, Any] = {**DESCRIBED, name: {} if isinstance(DESCRIBED[name], dict) else "other"}
        absent = {other: value for other, value in DESCRIBED.items() if other != name}
        for described in (changed, absent):
            with pytest.raises(NotAdmittedError) as caught:
                check_described(admitted.identity, described)
            assert ("not-running" if name == "State" else "described-otherwise") == caught.value.code
    with pytest.raises(NotAdmittedError, match="not in this account and region"):
        check_described(admitted.identity, None)


@pytest.mark.parametrize("options", [{"audience": ""}, {"seconds": 0}, {"seconds": 86400}])
def test_a_service_that_makes_no_sense_is_refused(store: SqliteStore, clock: Clock, options: dict[str, Any]) -> None:
    """When it is made, and not with the first request."""
    with pytest.raises(ValueError, match=r"^(audience|seconds): "):
        server(store, clock, **options)


@pytest.mark.parametrize("module", ["cryptography.exceptions", "sqlite3"])
def test_a_library_that_cannot_be_loaded_is_not_a_refusal(
    admission: Admission, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong OpenSSL, or a Python without SQLite: 503 and its cause in the log, never an exception in the server."""
    made = body(proof(admission))
    monkeypatch.setitem(sys.modules, module, None)

    answer = admission.handle(made)

    assert 503 == answer.status
    assert f"{module.partition('.')[0]} cannot be loaded: " in answer.log


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"caller": {"x": "1", "X": ""}}, "caller: a header occurs twice"),
        ({"caller": {"x": 1}}, "caller: an object of header names and texts"),
        ({"caller": []}, "caller: an object of header names and texts"),
        ({"pkcs7": "MIAG"}, "2 signed items"),
        ({"admin": "true"}, "fields "),
        ({"rsa2048": 5}, "'rsa2048': int"),
        ({"key": encode(b"x" * 300)}, "key: 300 octets"),
        ({"key": "="}, "key: not base64"),
        ({"proof": ""}, "proof: not base64"),
        ({"nonce": "AAAA"}, "nonce: 3 octets"),
    ],
)
def test_one_wrong_field_of_a_good_request_is_400(admission: Admission, change: dict[str, object], match: str) -> None:
    """Everything else is right, so it is this field that is refused, for this reason."""
    answer = admission.handle(body({**proof(admission).to_dict(), **change}))

    assert (400, {"error": "malformed"}) == (answer.status, answer.body)
    assert answer.log.startswith(f"malformed: {match}")


def test_a_good_request_with_a_field_twice_or_too_many_octets_is_400(admission: Admission) -> None:
    """Two readers could take another one of the two; and a limit counts before anything is parsed."""
    good = body(proof(admission))

    twice = admission.handle(good.replace(b'{"', b'{"nonce": "AAAA", "', 1))
    large = admission.handle(good + b" " * 40_000)

    assert "a field occurs twice" in twice.log
    assert "(at most 32768)" in large.log
    assert {400} == {twice.status, large.status}
    assert 200 == admission.handle(good).status


def test_a_key_has_one_encoding(admission: Admission) -> None:
    """A key on P-256 with its point compressed is the same key under another name, and is refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    made = proof(admission, key).to_dict()

    answer = admission.handle(body({**made, "key": encode(compressed)}))

    assert 400 == answer.status
    assert "key: not " in answer.log


def test_a_proof_covers_every_part_and_its_limits() -> None:
    """Another audience, nonce, kind, item, document or key is another text; so are the same octets parted elsewhere."""
    texts, key = ("audience", "nonce", "rsa2048", "item", "document"), b"key"
    changed = [tuple(text + "x" * (number == other) for number, text in enumerate(texts)) for other in range(5)]
    parted = [("audiencen", "once", *texts[2:]), (*texts[:3], "itemd", "ocument")]
    bind: Any = binding

    seen = {bind(*one, key) for one in (texts, *changed, *parted)} | {bind(*texts, b"keyx")}

    assert 9 == len(seen)


@pytest.mark.parametrize(("curve", "digest"), [(ec.SECP256R1(), hashes.SHA256()), (ec.SECP384R1(), hashes.SHA384())])
def test_a_proof_uses_the_hash_of_its_curve(curve: ec.EllipticCurve, digest: hashes.HashAlgorithm) -> None:
    """SHA-256 with P-256 and SHA-384 with P-384 (FIPS 186-5): another program that makes a proof relies on it."""
    key = ec.generate_private_key(curve)

    key.public_key().verify(keys.sign(key, b"bound"), b"bound", ec.ECDSA(digest))
