"""Fuzz everything that reads what others sent: signed items, documents, certificates, JSON around them.

    python -m tests.lib.fuzz MINUTES

With atheris the search is guided by the coverage of ec2ident, and a part of the inputs are mutants by structure;
without it, hypothesis draws both and shrinks what it finds. `scripts/fuzz` installs atheris where it can. Whatever
comes in, the only errors are those that are documented; nothing is accepted with other bytes than those signed.
"""

from __future__ import annotations

import contextlib
import sys
import time
from random import Random

try:
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["ec2ident"]) if atheris else contextlib.nullcontext():
    from ec2ident.errors import MalformedError
    from ec2ident.model import Kind
    from ec2ident.proof import document as documents
    from ec2ident.proof.policy import Policy
    from ec2ident.proof.trust import TrustStore

    from . import mutants


def one_mutant(random: Random, samples: list[mutants.Sample]) -> None:
    """A mutant by structure."""
    sample = random.choice(samples)
    mutants.outcome(sample, *mutants.mutant(random, sample, samples))


def any_bytes(data: bytes, samples: list[mutants.Sample]) -> None:
    """The same bytes for each reader: as a signature of each kind, as a document, as a certificate, as a policy."""
    for sample in (samples[len(data) % len(samples)], samples[0]):
        mutants.outcome(sample, data, sample.document)
    with contextlib.suppress(MalformedError):
        documents.parse(data)
    with contextlib.suppress(MalformedError):
        TrustStore().with_certificate(data, region="eu-west-1", kind=Kind.PKCS7)
    with contextlib.suppress(ValueError):
        Policy.from_mapping({"accounts": "any", "zones": [data.decode("latin-1")]})


def guided(minutes: float, samples: list[mutants.Sample]) -> None:
    """With atheris, which ends the process: exit code 0, or another where an input broke a promise."""

    def target(data: bytes) -> None:
        if data[:1] < b"\x80":
            any_bytes(data[1:], samples)
        else:
            one_mutant(Random(data), samples)

    atheris.Setup([sys.argv[0], f"-max_total_time={minutes * 60:.0f}", "-max_len=4096", "-print_final_stats=1"], target)
    atheris.Fuzz()


def drawn(minutes: float, samples: list[mutants.Sample]) -> None:
    """With hypothesis, in rounds until the time is over."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    options = settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    mutant = options(given(st.randoms(use_true_random=False))(lambda random: one_mutant(random, samples)))
    any_input = options(given(st.binary(max_size=4096))(lambda data: any_bytes(data, samples)))
    until, rounds = time.monotonic() + minutes * 60, 0
    while time.monotonic() < until:
        mutant()
        any_input()
        rounds += 1
    print(f"{rounds} rounds of 1000 mutants and 1000 strings of bytes: nothing was found")


def main(arguments: list[str]) -> int:
    minutes, samples = float(arguments[0]) if arguments else 5.0, mutants.samples()
    if atheris:
        guided(minutes, samples)
    else:
        print("atheris is not installed: drawing with hypothesis")
        drawn(minutes, samples)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
