"""The command `ec2ident`: ask this machine, verify a document, save evidence, name endpoints.

Results go to standard output, trouble to standard error. Exit codes: 0 yes, 1 no, 2 usage, 3 could not tell, 4 suspect.
"""

from __future__ import annotations

import sys

from .errors import Ec2IdentError, MalformedError, UnknownNameError, UnverifiableError, VerificationError
from .model import Kind, Level
from .program.exit_codes import LEGEND, NO, SUSPECT, UNKNOWN, USAGE, YES
from .program.frame import log, run, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .model import Identity
    from .proof.evidence_files import Saved
    from .proof.trust import TrustStore
    from .regions.partitions import Partition

#: Default timeout, in seconds.
TIMEOUT = 1.0

#: The options of `show` without a value, and what each says to `_show`.
_FLAGS = {"--no-network": ("network", False), "--explain": ("explain", True), "--json": ("json", True)}

_CODES = {"yes": YES, "no": NO, "unknown": UNKNOWN, "suspect": SUSPECT}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code. Bad input is one line on standard error, never a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run("ec2ident", lambda: _answer(arguments), failed=UNKNOWN)


def _answer(arguments: list[str]) -> int:
    # The plain question does not pay for argparse: as long as all the rest takes.
    plain = _plain(arguments)
    options = _options(arguments) if plain is None else None
    try:
        return int(options.run(options)) if options else _show(**(plain or {}))
    except _UsageError as error:
        return _trouble(str(error), USAGE)
    except OSError as error:
        return _trouble(f"{error.filename or (options.verb if options else 'show')}: {error.strerror}", USAGE)
    except Ec2IdentError as error:
        return _trouble(str(error), UNKNOWN)


class _UsageError(Exception):
    """Options that contradict each other, or name a file that is not what they say."""


def show(options: argparse.Namespace) -> int:
    """Is this machine EC2?"""
    return _show(options.level, options.timeout, _trust(options), options.network, options.json, options.explain)


def _show(
    level: Level = Level.CLAIM,
    timeout: float = TIMEOUT,
    trust: TrustStore | None = None,
    network: bool = True,
    json: bool = False,
    explain: bool = False,
) -> int:
    from .detection import detect

    verdict = detect(level, timeout, network=network, trust=trust)
    if json:
        _print_json(verdict.to_dict())
    elif explain:
        say(verdict.explain())
    else:
        say(f"{verdict.answer}: {verdict.because}")
    return _CODES[verdict.answer]


def verify(options: argparse.Namespace) -> int:
    """Did AWS sign this document?"""
    from .proof.evidence_files import load

    trust = _trust(options)
    if options.kind and len(options.kind) > 1 and not options.certificate:
        raise _UsageError("--kind: more than one (the files are of one kind, or say themselves what they are)")
    # Beside certificates, --kind says what those are for.
    kind = options.kind[0] if options.kind and not options.certificate else None
    saved = load(options.files, kind=kind, document=options.document)
    if not saved.items:
        return _trouble("verify: no signature among the files; give rsa2048, pkcs7, or signature and document", USAGE)
    if Kind.SIGNATURE in saved.items and saved.document is None:
        return _trouble("verify: the kind signature needs the document too; add its file, or --document FILE", USAGE)
    worst, proven = YES, []
    for kind in [kind for kind in Kind if kind in saved.items]:
        try:
            proven.append(_proved(saved, kind, trust))
        except VerificationError as error:
            worst = NO
            _trouble(f"{kind}: {error}", NO)
        except (UnverifiableError, MalformedError) as error:
            worst = worst or UNKNOWN
            _trouble(f"{kind}: {error}", UNKNOWN)
    if options.json:
        _print_json([identity.to_dict() for identity in proven])
    else:
        for identity in proven:
            _print_identity(identity)
    for note in saved.notes:
        _trouble(f"note: {note}", worst)
    return worst


def _proved(saved: Saved, kind: Kind, trust: TrustStore | None) -> Identity:
    """The identity in an item. If the kind was guessed, the other kind of the same form is tried too."""
    from .proof.verification import verify as prove

    try:
        return prove(saved.items[kind], kind=kind, document=saved.document, trust=trust, search=True)
    except VerificationError:
        if kind not in saved.guessed or kind is Kind.SIGNATURE:
            raise
        other = Kind.PKCS7 if kind is Kind.RSA2048 else Kind.RSA2048
        try:
            return prove(saved.items[kind], kind=other, document=saved.document, trust=trust)
        except Ec2IdentError:
            pass
        raise


def _trust(options: argparse.Namespace) -> TrustStore | None:
    """The keys of AWS, with those of the certificates that were given in place of AWS's; None without any."""
    certificates, regions, kinds = options.certificate or [], options.region or [], options.kind or []
    if not certificates:
        if regions:
            raise _UsageError("--region: says what --certificate is for, and there is none")
        return None
    from .proof.evidence_files import read
    from .proof.trust import TrustStore
    from .regions.partitions import Partition

    kinds = kinds or [_kind_of(path) for path in certificates]
    for name, given in (("region", regions), ("kind", kinds)):
        if len(given) not in (1, len(certificates)):
            raise _UsageError(
                f"--{name}: given {len(given)} times for {len(certificates)} of --certificate "
                "(once for each, in the same order, or once for all)"
            )
    store, mine = TrustStore.bundled(), set()
    for at, path in enumerate(certificates):
        region, kind = regions[at % len(regions)], kinds[at % len(kinds)]
        try:
            store = store.with_certificate(
                read(path),
                region=region,
                kind=kind,
                partition=Partition.of(region).name,
                beside=(region, kind) in mine,
            )
        except (UnverifiableError, OSError):
            raise
        except Ec2IdentError as error:
            raise _UsageError(f"{path}: {error}") from error
        mine.add((region, kind))
    return store


def _kind_of(path: str) -> Kind:
    """What a certificate is for, where its file is named after a kind, as ec2ident.testing writes them."""
    import os

    stem = os.path.basename(path).partition(".")[0].lower()
    if stem not in list(Kind):
        raise _UsageError(
            f"--certificate {path}: add --kind, one of {', '.join(Kind)} (its file is not named after one)"
        )
    return Kind(stem)


def evidence(options: argparse.Namespace) -> int:
    """What to carry to another machine: the facts, and the identity items. No token, no credential.

    Saved is also what does not verify here, for another machine to judge; the exit code says it then.
    """
    import time

    from .detection import detect
    from .imds.client import Imds
    from .proof.evidence_files import fetch, save

    trust = _trust(options)
    until = time.monotonic() + options.timeout
    imds = Imds(options.timeout)
    verdict = detect(Level.BOUND, options.timeout, network=options.network, imds=imds, trust=trust)
    contents, failed = fetch(imds, verdict, until)
    contents["evidence.json"] = _json(verdict.to_dict()).encode() + b"\n"
    for path in save(options.save, contents):
        say(path)
    for name, error in failed.items():
        _trouble(f"{name}: left out: {error}", UNKNOWN)
    if verdict.identity is None:
        return _trouble(f"saved, but no proof: {verdict.because}", _CODES[verdict.answer])
    return YES


def region(options: argparse.Namespace) -> int:
    """The partition of a region, and where its services listen; of a partition, or of all of them, every region."""
    from .regions.partitions import Partition

    partitions = [one for one in Partition.all() if options.name in (None, one.name)]
    try:
        if partitions:
            services = options.service or ["ec2"]
            found = [_endpoints(partition, name, services) for partition in partitions for name in partition.regions]
        else:
            services = options.service or ["ec2", "route53", "sts", "s3"]
            found = [_endpoints(Partition.of(options.name), options.name, services)]
    except UnknownNameError as error:
        return _trouble(str(error), USAGE)
    if options.json:
        _print_json(found if partitions else found[0])
    elif partitions:
        _print_regions(found)
    else:
        _print_region(found[0])
    return YES


def _endpoints(partition: Partition, name: str, services: Sequence[str]) -> dict[str, Any]:
    return {
        "region": name,
        "partition": partition.name,
        "dns_suffix": partition.dns_suffix,
        "known": name in partition.regions,
        "endpoints": {service: partition.endpoint(service, name) for service in services},
    }


def _print_region(found: dict[str, Any]) -> None:
    names = {"region": "region", "partition": "partition", "DNS suffix": "dns_suffix"}
    rows = {**{name: found[key] for name, key in names.items()}, **found["endpoints"]}
    width = max(map(len, rows))
    for name, value in rows.items():
        say(f"{name:{width}}  {value}")
    if not found["known"]:
        _trouble(
            f"{found['region']}: not known to this version; it has the form of a region of {found['partition']}", YES
        )


def _print_regions(found: Sequence[dict[str, Any]]) -> None:
    """Partition by partition: China and the other clouds that share nothing with the commercial one stand apart."""
    width = max(len(one["region"]) for one in found)
    above = None
    for one in found:
        if one["partition"] != above:
            above = one["partition"]
            say(f"{above}, DNS suffix {one['dns_suffix']}")
        say(f"  {one['region']:{width}}  {'  '.join(one['endpoints'].values())}")


def _print_identity(identity: Identity) -> None:
    document = identity.document
    signed = f", signed {identity.signed_at:%Y-%m-%dT%H:%M:%SZ}" if identity.signed_at else ""
    say(f"{identity.kind}: signed by AWS for {identity.region} ({identity.partition}){signed}")
    say(
        f"  instance {document.instance_id} ({document.instance_type}, {document.image_id}) of account "
        f"{document.account_id}, started {document.pending_time:%Y-%m-%dT%H:%M:%SZ}"
    )
    for warning in identity.warnings:
        say(f"  note: {warning}")


def _print_json(value: object) -> None:
    say(_json(value))


def _json(value: object) -> str:
    import json

    return json.dumps(value, indent=2)


def _trouble(text: str, code: int) -> int:
    log(f"ec2ident: {text}")
    return code


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 3600:
        raise ValueError(f"{text!r} is not a number of seconds above 0, up to 3600")
    return seconds


def _level(text: str) -> Level:
    level = Level.__members__.get(text.upper(), Level.NONE)
    if not level:
        raise ValueError(f"{text!r} is none of {', '.join(one.name.lower() for one in Level if one)}")
    return level


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is none of {', '.join(Kind)}") from None


def _typed(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """The reader of a value as argparse wants it: it shows the words of its own error only."""
    from argparse import ArgumentTypeError

    def typed(text: str) -> Any:
        try:
            return read(text)
        except ValueError as wrong:
            raise ArgumentTypeError(str(wrong)) from None

    return typed


#: The options of `show` with a value that are read without argparse, and what reads each value.
_VALUES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "--timeout": ("timeout", _seconds),
    "--level": ("level", _level),
}


def _plain(arguments: Sequence[str]) -> dict[str, Any] | None:
    """What `show` is asked for by options that need no argparse; None where argparse has to read the words, or refuse
    them.
    """
    found: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if word in _FLAGS:
            key, found[key] = _FLAGS[word]
        elif name in _VALUES:
            key, read = _VALUES[name]
            try:
                found[key] = read(value if equals else next(words, ""))
            except ValueError:
                return None
        else:
            return None
    return None if found.keys() >= {"explain", "json"} else found


def _options(arguments: list[str]) -> argparse.Namespace:
    if arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version"):
        arguments = ["show", *arguments]
    return _parser().parse_args(arguments)


#: Every verb: what it runs, its arguments as usage shows them, and its line of help.
VERBS = {
    "show": (show, "", "is this machine EC2? The default: its options may stand alone"),
    "verify": (verify, "FILE...", "did AWS sign this document? Sends no packet"),
    "evidence": (evidence, "--save DIR", "save what another machine can verify"),
    "region": (region, "[NAME [SERVICE...]]", "regions, their partitions and endpoints"),
}


def _parser() -> argparse.ArgumentParser:
    from argparse import RawDescriptionHelpFormatter

    from .program import JSON
    from .program.arguments import Parser, Version

    parser = Parser(
        prog="ec2ident",
        description="Is this machine Amazon EC2, and can it prove it?",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version)
    verbs, parsers = parser.add_subparsers(dest="verb"), {}
    for name, (function, arguments, text) in VERBS.items():
        usage = " ".join(f"%(prog)s {arguments} [OPTION...]".split())
        made = verbs.add_parser(
            name, usage=usage, help=text, description=f"{text[:1].upper()}{text[1:]}.", epilog=LEGEND
        )
        made.set_defaults(run=function)
        parsers[name] = made

    one = parsers["show"]
    one.add_argument(
        "--level",
        type=_typed(_level),
        default=Level.CLAIM,
        help="how sure: hint, claim (default), document, proof, bound",
    )
    _add_time(one, TIMEOUT)
    form = one.add_mutually_exclusive_group()
    form.add_argument("--explain", action="store_true", help="print every fact too")
    form.add_argument("--json", action="store_true", help=JSON)
    _add_trust(one, "what the certificate is for")
    parser.epilog = f"{one.options_as('options of show, with or without the word')}\n\n{LEGEND}"

    one = parsers["verify"]
    one.add_argument("files", nargs="+", metavar="FILE", help="files, a directory of them, or - for standard input")
    one.add_argument("--document", metavar="FILE", help="the document that a signature belongs to")
    one.add_argument("--json", action="store_true", help=JSON)
    _add_trust(one, "what the files are, if unclear; beside --certificate, what it is for")

    one = parsers["evidence"]
    one.add_argument("--save", metavar="DIR", required=True, help="the directory to write to")
    _add_time(one, 3.0)
    _add_trust(one, "what the certificate is for")

    one = parsers["region"]
    one.add_argument("name", metavar="NAME", nargs="?", help="a region or a partition (aws-cn); default: all")
    one.add_argument("service", nargs="*", metavar="SERVICE", help="print the endpoints of these services, such as ec2")
    one.add_argument("--json", action="store_true", help=JSON)
    return parser


def _add_trust(parser: argparse.ArgumentParser, kind: str) -> None:
    """Keys to trust; each may be given several times."""
    parser.add_argument(
        "--certificate",
        action="append",
        metavar="FILE",
        help="a certificate (PEM or DER) to trust in place of AWS's for one region and kind; more than one of them may "
        "be given",
    )
    parser.add_argument("--region", action="append", metavar="REGION", help="the region that the certificate is for")
    parser.add_argument(
        "--kind", action="append", type=_typed(_kind), metavar="KIND", help=f"{kind}: {', '.join(Kind)}"
    )


def _add_time(parser: argparse.ArgumentParser, default: float) -> None:
    parser.add_argument(
        "--timeout",
        type=_typed(_seconds),
        default=default,
        metavar="SECONDS",
        help=f"for the whole command (default {default:g})",
    )
    parser.add_argument("--no-network", dest="network", action="store_false", help="send no packet")


if __name__ == "__main__":
    sys.exit(main())
