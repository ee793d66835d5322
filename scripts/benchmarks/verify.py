"""How fast documents are verified, against the bare cost of the key operation in the same run.

verify.py                     the table: documents a second, raw key.verify a second, and the ratio
verify.py --memory [COUNT]    resident memory while COUNT (default 1,000,000) documents are verified
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

import ec2ident
from ec2ident.proof import cms

REAL = Path(__file__).parents[2] / "tests" / "vectors" / "real"
#: One genuine document for each kind, and the ratio that must hold.
CASES = {
    "rsa2048": ("teleport-us-west-2-2021", 0.45),
    "pkcs7": ("metaphor-b-ap-southeast-2-2026", 0.7),
    "signature": ("rspamd-b-us-east-1-2024", None),
}
ROUNDS = 200
SLICE = 0.01


def case(kind: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """The whole verification, and the key operation alone on the same bytes."""
    folder = REAL / CASES[kind][0]
    text, document = (folder / f"{kind}.b64").read_text(), (folder / "document.json").read_bytes()
    spki = (
        ec2ident.TrustStore.bundled().key_for(ec2ident.verify(text, kind=kind, document=document).region, kind).key.spki
    )
    key, blob = load_der_public_key(spki), b64decode(text)
    if kind == "signature":
        raw = (blob, document, padding.PKCS1v15(), hashes.SHA256())
    else:
        signed = cms.parse(blob)
        rest = (padding.PKCS1v15(), hashes.SHA256()) if kind == "rsa2048" else (hashes.SHA1(),)
        raw = (signed.signature, signed.signed_attributes, *rest)
    given = document if kind == "signature" else None
    return lambda: ec2ident.verify(text, kind=kind, document=given), lambda: key.verify(*raw)  # type: ignore[union-attr]


def rate(function: Callable[[], object]) -> float:
    """Calls a second of this thread's own CPU time, over one short slice."""
    count, start = 0, time.thread_time()
    while (used := time.thread_time() - start) < SLICE:
        for _ in range(20):
            function()
        count += 20
    return count / used


def table() -> int:
    """Rounds alternate between the two. Other work on the machine only ever slows them: the fast tenth counts."""
    print(f"{'kind':<10} {'verify/s':>10} {'key.verify/s':>13} {'ratio':>6}   wanted")
    missed = 0
    for kind, (_, wanted) in CASES.items():
        whole, raw = case(kind)
        rounds = [(rate(whole), rate(raw)) for _ in range(ROUNDS)]
        speeds = [statistics.quantiles(column, n=10)[-1] for column in zip(*rounds)]
        ratio = speeds[0] / speeds[1]
        met = wanted is None or ratio >= wanted
        missed += not met
        print(
            f"{kind:<10} {speeds[0]:>10,.0f} {speeds[1]:>13,.0f} {ratio:>6.3f}   "
            + ("-" if wanted is None else f">= {wanted} {'yes' if met else 'NO'}")
        )
    return 1 if missed else 0


def resident() -> int:
    """Resident memory in KiB (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def memory(count: int) -> int:
    """Verify `count` documents, all kinds in turn, and show the resident memory at each tenth."""
    cases = [case(kind)[0] for kind in CASES]
    for verify in cases * 1000:
        verify()
    start = resident()
    print(f"{'documents':>10} {'RSS KiB':>9} {'grown':>7}")
    for tenth in range(1, 11):
        for _ in range(count // 10 // len(cases)):
            for verify in cases:
                verify()
        print(f"{count * tenth // 10:>10,} {resident():>9,} {resident() - start:>+7,}", flush=True)
    return 0


def main() -> int:
    """Print the table of times, or with --memory the growth of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", nargs="?", type=int, const=1_000_000, metavar="COUNT")
    count = parser.parse_args().memory
    return table() if count is None else memory(count)


if __name__ == "__main__":
    sys.exit(main())
