"""The command `ec2ident`: what it prints, and its exit codes, which scripts rely on."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from ec2ident import Imds, Level, cli, detect, verify
from ec2ident.cli import main
from ec2ident.errors import ImdsError
from ec2ident.model import Kind, Reason
from ec2ident.proof.evidence_files import LARGEST, fetch, load, save
from ec2ident.regions.partitions import Partition
from ec2ident.testing.signing import Authority

from . import forge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident.testing import MetadataService

pytest_plugins = ["ec2ident.testing.pytest_plugin"]

TOP = Path(__file__).parents[2]
REAL = TOP / "tests" / "vectors" / "real"
ALL_KINDS = REAL / "cloudinit-us-east-2-2018"
YES, NO, USAGE, UNKNOWN = range(4)


def item(name: str) -> Path:
    return next(path for path in ALL_KINDS.iterdir() if path.name.partition(".")[0] == name)


def signed_by(authority: Authority, region: str) -> dict[str, bytes]:
    """All four items of a document that this authority signed."""
    document = forge.document(region)
    items = {kind.value: authority.sign(document, kind, forge.SIGNED_AT).encode() for kind in Kind}
    return {"document": document, **items}


@pytest.fixture
def genuine(tmp_path: Path) -> Path:
    """A copy of the genuine items, to be damaged."""
    return Path(shutil.copytree(ALL_KINDS, tmp_path / "genuine"))


def test_a_directory_of_genuine_items_is_proved(capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind in it."""
    code = main(["verify", str(ALL_KINDS)])

    out = capsys.readouterr().out
    assert YES == code
    assert 3 == sum(out.count(f"{kind}: signed by AWS for us-east-2 (aws)") for kind in Kind)


def test_one_byte_changed_is_no(genuine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a refused item, nothing on standard output."""
    (document,) = genuine.glob("document*")
    document.write_bytes(document.read_bytes().replace(b"us-east-2", b"us-east-1", 1))

    code = main(["verify", str(genuine)])

    captured = capsys.readouterr()
    assert (NO, "") == (code, captured.out)
    assert all(line.startswith("ec2ident: ") for line in captured.err.splitlines())


@pytest.mark.parametrize("name", ["rsa2048", "pkcs7"])
def test_content_tells_the_kind_where_the_name_does_not(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files are often called something.txt."""
    path = tmp_path / "something.txt"
    path.write_bytes(item(name).read_bytes())

    code = main(["verify", "--json", str(path)])

    assert (YES, [name]) == (code, [one["kind"] for one in json.loads(capsys.readouterr().out)])


def test_a_signature_needs_its_document(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not carry it."""
    signature, document = str(item("signature")), str(item("document"))

    assert USAGE == main(["verify", signature])
    assert "needs the document" in capsys.readouterr().err
    assert [YES, YES] == [main(["verify", signature, document]), main(["verify", signature, "--document", document])]


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a pipe brings."""
    stdin = io.TextIOWrapper(io.BytesIO(item("rsa2048").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)

    assert YES == main(["verify", "-"])
    assert capsys.readouterr().out.startswith("rsa2048: signed by AWS")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["verify", "/nonexistent"], USAGE, "No such file"),
        (["region", "moon-1"], USAGE, "moon-1"),
        (["region", "us-east-1", "no-such-service"], USAGE, "no-such-service"),
        (["region", "aws-cn", "no-such-service"], USAGE, "no-such-service"),
        (["verify", str(TOP / "tests")], USAGE, "no file in it is named"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Never a traceback, and nothing on standard output."""
    assert code == main(arguments)

    captured = capsys.readouterr()
    assert ("", 1) == (captured.out, len(captured.err.splitlines()))
    assert says in captured.err


@pytest.mark.parametrize(
    "arguments",
    [["--level", "none"], ["--timeout", "0"], ["--timeout", "nan"], ["--json", "--explain"], ["what"], ["verify"]],
)
def test_wrong_arguments_are_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as everywhere."""
    assert USAGE == main(arguments)
    said = capsys.readouterr().err
    assert said.startswith("ec2ident")
    assert said.endswith(" --help\n")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"AAAA", b"{" * 5000, b"=" * 100])
def test_any_file_is_an_answer(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Empty, binary, nested without end: could not tell, or usage where it is not a signature at all."""
    path = tmp_path / "rsa2048"
    path.write_bytes(content)

    assert UNKNOWN == main(["verify", str(path)])
    lines = capsys.readouterr().err.splitlines()
    assert [True] == [line.startswith("ec2ident: ") and "rsa2048: " in line for line in lines]


def recipe(folder: Path, into: Path) -> dict[str, Path]:
    """The files of AWS's own steps (EC2 User Guide, "Verify the instance identity document", options 1 to 3)."""
    into.mkdir()
    for kind in ("rsa2048", "pkcs7"):
        text = (folder / f"{kind}.b64").read_text()
        (into / kind).write_text(f"-----BEGIN PKCS7-----\n{text}\n-----END PKCS7-----\n")
        (into / f"{kind}.renamed").write_bytes(b64decode(text))
    (into / "signature").write_bytes(b64decode((folder / "signature.b64").read_text()))
    (into / "document").write_bytes((folder / "document.json").read_bytes())
    for name in ("rsa2048", "pkcs7"):
        (into / f"{name}.renamed").rename(into / f"blob-{name}")
    return {path.name: path for path in into.iterdir()}


def test_the_files_of_aws_own_verification_steps_are_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PEM lines around rsa2048 and pkcs7, `signature` decoded; insights-core and Vault add the lines too."""
    files = recipe(ALL_KINDS, tmp_path / "aws")
    shutil.copy(files["rsa2048"], tmp_path / "blob.pem")

    assert YES == main(["verify", str(tmp_path / "aws")])
    assert 3 == capsys.readouterr().out.count(": signed by AWS for us-east-2")
    assert YES == main(["verify", "--kind", "rsa2048", str(files["blob-rsa2048"])])
    assert "" == capsys.readouterr().err
    assert YES == main(["verify", str(tmp_path / "blob.pem")])
    assert "note: " in (said := capsys.readouterr().err)
    assert f"{tmp_path / 'blob.pem'}: taken for rsa2048: a CMS object without SHA-1" in said
    assert YES == main(["verify", str(files["signature"]), "--document", str(files["document"])])
    assert YES == main(["verify", str(shutil.copy(files["signature"], tmp_path / "odd")), str(files["document"])])
    assert "taken for signature: 128 bytes that are not a CMS object" in capsys.readouterr().err


def stored() -> dict[str, str]:
    """The items as cloud-init, Vault and SPIRE write them."""
    document = item("document").read_text()
    texts = {kind.value: item(kind.value).read_text() for kind in Kind}
    lines = {name: text.split("\n") for name, text in texts.items()}
    return {
        "instance-data.json": json.dumps(
            {"ds": {"dynamic": {"instance-identity": {"document": json.loads(document), **lines}}}}, indent=1
        ),
        "whole-instance-data.json": json.dumps(
            {"ds": {"dynamic": {"instance-identity": {"document": document, **texts}}}, "filler": "x" * 100_000}
        ),
        "vault-login.json": json.dumps({"role": "r", "pkcs7": texts["pkcs7"].replace("\n", ""), "nonce": "n"}),
        "spire.json": json.dumps({"document": document, "signature": texts["signature"], "rsa2048": texts["rsa2048"]}),
        "ansible.json": json.dumps(
            {"ansible_facts": {f"ansible_ec2_instance_identity_{name}": text for name, text in texts.items()}}
        ),
        "copied": json.dumps(texts["rsa2048"]),
        "unquoted": texts["rsa2048"].replace("\n", "\\n"),
    }


@pytest.mark.parametrize(
    ("name", "kinds", "notes"),
    [
        ("instance-data.json", ["rsa2048", "pkcs7"], "the bytes that AWS signed are lost"),
        ("whole-instance-data.json", ["rsa2048", "pkcs7", "signature"], "taken for the document"),
        ("vault-login.json", ["pkcs7"], "pkcs7: taken for the pkcs7"),
        ("spire.json", ["rsa2048", "signature"], "taken for the signature"),
        ("ansible.json", ["rsa2048", "pkcs7"], "ansible_ec2_instance_identity_rsa2048: taken for the rsa2048"),
        ("copied", ["rsa2048"], "read as a string of JSON"),
        ("unquoted", ["rsa2048"], "taken for rsa2048"),
    ],
)
def test_items_in_json_are_proved_and_what_was_guessed_is_said(
    name: str, kinds: list[str], notes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """cloud-init's instance data, a Vault login (hashicorp/vault#1582), SPIRE's attestation data, Ansible's facts
    (amazon.aws.ec2_metadata_facts), a copied string.
    """
    (tmp_path / name).write_text(stored()[name])

    assert YES == main(["verify", "--json", str(tmp_path / name)])

    captured = capsys.readouterr()
    assert kinds == [one["kind"] for one in json.loads(captured.out)]
    assert notes in captured.err


def test_json_without_items_names_the_members_that_it_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a document in a file of any name is still a document."""
    (tmp_path / "x").write_text('{"a": [1, {"b": null}]}')
    assert UNKNOWN == main(["verify", str(tmp_path / "x")])
    assert "JSON without a member rsa2048, pkcs7, signature, or document" in capsys.readouterr().err
    shutil.copy(item("document"), tmp_path / "x")
    assert YES == main(["verify", str(tmp_path / "x"), str(item("signature"))])


def test_a_certificate_on_the_command_line_is_trusted_for_its_region(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """New regions come before new versions (spire#4164, teleport#39045), and ISO regions are never public."""
    save(str(tmp_path / "items"), signed_by(forge.OURS, "us-iso-east-1"))
    for kind in Kind:
        (tmp_path / f"{kind}.pem").write_text(forge.OURS.certificate(kind))
    certificates = [part for kind in Kind for part in ("--certificate", str(tmp_path / f"{kind}.pem"))]
    items, region = str(tmp_path / "items"), ["--region", "us-iso-east-1"]

    assert UNKNOWN == main(["verify", items])
    assert "--certificate FILE --region R --kind K" in capsys.readouterr().err
    assert YES == main(["verify", items, *certificates, *region])
    assert 3 == capsys.readouterr().out.count("signed by AWS for us-iso-east-1 (aws-iso)")
    one = ["--certificate", str(tmp_path / "rsa2048.pem"), *region, "--kind", "rsa2048"]
    assert YES == main(["verify", str(tmp_path / "items/rsa2048"), *one])


def test_two_certificates_for_one_region_both_count(tmp_path: Path) -> None:
    """During a rotation; one certificate takes the place of AWS's."""
    for name, authority in (("old", forge.OURS), ("new", forge.STRANGER)):
        (tmp_path / f"{name}.pem").write_text(authority.certificate("rsa2048"))
        (tmp_path / name).write_text(authority.sign(forge.document("eu-west-1"), "rsa2048", forge.SIGNED_AT))
    old, new = (["--certificate", str(tmp_path / f"{name}.pem")] for name in ("old", "new"))
    where = ["--region", "eu-west-1", "--kind", "rsa2048"]

    assert [YES, YES] == [main(["verify", str(tmp_path / name), *old, *new, *where]) for name in ("old", "new")]
    assert [YES, NO] == [main(["verify", str(tmp_path / name), *old, *where]) for name in ("old", "new")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--region", "eu-west-1"], "--region: says what --certificate is for"),
        (["--certificate", "PEM"], "add --kind, one of rsa2048, pkcs7, signature"),
        (["--certificate", "PEM", "--kind", "rsa2048"], "--region: given 0 times for 1 of --certificate"),
        (["--certificate", "PEM", "--kind", "rsa2048", "--region", "moon-1"], "moon-1"),
        (
            ["--certificate", "PEM", "--kind", "signature", "--kind", "rsa2048", "--region", "eu-west-1"],
            "given 2 times",
        ),
        (["--certificate", "/nonexistent", "--kind", "rsa2048", "--region", "eu-west-1"], "No such file"),
        (["--certificate", "ITEM", "--kind", "rsa2048", "--region", "eu-west-1"], "0 PEM blocks"),
        (["--kind", "rsa2048", "--kind", "pkcs7"], "--kind: more than one"),
    ],
)
@pytest.mark.parametrize("verb", ["verify", "show", "evidence"])
def test_options_that_make_no_sense_are_usage(
    verb: str, arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, and nothing was asked of any network."""
    (tmp_path / "some.pem").write_text(forge.OURS.certificate("rsa2048"))
    files = {"PEM": str(tmp_path / "some.pem"), "ITEM": str(item("rsa2048"))}
    rest = {"verify": [files["ITEM"]], "show": ["--no-network"], "evidence": ["--save", "x", "--no-network"]}[verb]
    if verb != "verify" and "more than one" in says:
        pytest.skip("there --kind is for certificates alone")

    assert USAGE == main([verb, *rest, *(files.get(one, one) for one in arguments)])

    captured = capsys.readouterr()
    assert ("", 1) == (captured.out, len(captured.err.splitlines()))
    assert says in captured.err


def test_pkcs7_of_china_is_found_where_nothing_tells_the_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There it is signed with RSA and SHA-256 too, and looks like rsa2048: a wrong guess must not be a forgery."""
    (tmp_path / "blob").write_text(forge.CHINA.sign(forge.document("cn-north-1"), "pkcs7", forge.SIGNED_AT))
    for kind in Kind:
        (tmp_path / f"{kind}.pem").write_text(forge.CHINA.certificate(kind))
    certificates = [part for kind in Kind for part in ("--certificate", str(tmp_path / f"{kind}.pem"))]

    assert YES == main(["verify", str(tmp_path / "blob"), *certificates, "--region", "cn-north-1"])
    assert capsys.readouterr().out.startswith("pkcs7: signed by AWS for cn-north-1")


def test_a_giant_file_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items have less than 1600 bytes."""
    (tmp_path / "rsa2048").write_bytes(b"A" * (LARGEST + 1))

    assert UNKNOWN == main(["verify", str(tmp_path / "rsa2048")])
    assert f"more than {LARGEST} bytes" in capsys.readouterr().err


def test_region_says_where_its_services_are(capsys: pytest.CaptureFixture[str]) -> None:
    """China is another cloud."""
    assert YES == main(["region", "cn-north-1", "ec2", "--json"])

    assert {
        "region": "cn-north-1",
        "partition": "aws-cn",
        "dns_suffix": "amazonaws.com.cn",
        "known": True,
        "endpoints": {"ec2": "https://ec2.cn-north-1.amazonaws.com.cn"},
    } == json.loads(capsys.readouterr().out)


def test_region_lists_every_region_with_china_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name all partitions, with a partition's name its regions: that list is published on many pages."""
    assert YES == main(["region", "--json"])
    everything = json.loads(capsys.readouterr().out)
    assert YES == main(["region", "aws-cn", "ec2", "s3"])
    china = capsys.readouterr().out
    assert YES == main(["region"])
    shown = capsys.readouterr().out

    assert [(one.name, region) for one in Partition.all() for region in one.regions] == [
        (one["partition"], one["region"]) for one in everything
    ]
    assert (
        "aws-cn, DNS suffix amazonaws.com.cn\n"
        "  cn-north-1      https://ec2.cn-north-1.amazonaws.com.cn  https://s3.cn-north-1.amazonaws.com.cn\n"
        "  cn-northwest-1  https://ec2.cn-northwest-1.amazonaws.com.cn  https://s3.cn-northwest-1.amazonaws.com.cn\n"
    ) == china
    lines = shown.splitlines()
    assert [one.name for one in Partition.all()] == [line.split(",")[0] for line in lines if line[0] != " "]
    assert [tuple(one["endpoints"].values()) for one in everything] == [
        (line.split()[1],) for line in lines if line[0] == " "
    ]


def test_what_is_saved_overwrites_nothing(tmp_path: Path) -> None:
    """Neither a file nor what a link points to; and it loads again."""
    contents = {"rsa2048": item("rsa2048").read_bytes(), "document": item("document").read_bytes()}

    save(str(tmp_path / "new"), contents)

    loaded = load([str(tmp_path / "new")])
    assert (contents["document"], contents["rsa2048"]) == (loaded.document, loaded.items[Kind.RSA2048])
    with pytest.raises(FileExistsError, match="already there"):
        save(str(tmp_path / "new"), contents)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/rsa2048").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError, match="already there"):
        save(str(tmp_path / "links"), contents)
    assert not (tmp_path / "target").exists()


def test_what_is_carried_away_verifies_elsewhere_and_holds_no_secret(
    metadata_service: MetadataService, tmp_path: Path
) -> None:
    """All four items, byte for byte; no token among them."""
    imds = Imds(20.0, endpoints=metadata_service.endpoint)
    verdict = detect(Level.PROOF, 20, root=str(tmp_path), imds=imds, trust=metadata_service.trust)

    found, failed = fetch(imds, verdict)

    assert {} == failed
    assert ["document", "pkcs7", "rsa2048", "signature"] == sorted(found)
    for kind in Kind:
        assert verify(found[kind.value], kind=kind, document=found["document"], trust=metadata_service.trust)
    assert ({}, {}) == fetch(imds, detect(network=False, root=str(tmp_path)))


@pytest.mark.parametrize(("left", "asked"), [(0.5, 4), (0.021, 4), (0.02, 1), (0.005, 1), (-1.0, 1)])
def test_an_item_that_came_too_late_leaves_no_time_for_the_others(
    left: float, asked: int, metadata_service: MetadataService, tmp_path: Path
) -> None:
    """The client gives up some milliseconds before the deadline; they are too few to ask for the next item."""
    now, names = [0.0], []

    class Late(Imds):
        def identity_item(self, kind: Kind | str, *, deadline: float | None = None) -> bytes | None:
            names.append(kind)
            now[0] = 10.0 - left
            raise ImdsError("metadata service: only a part of an answer in time", Reason.SLOW)

    imds = Imds(20.0, endpoints=metadata_service.endpoint)
    verdict = detect(Level.PROOF, 20, root=str(tmp_path), imds=imds, trust=metadata_service.trust)

    found, failed = fetch(Late(clock=lambda: now[0]), verdict, 10.0)

    assert ({}, {"document", *Kind}) == (found, {*failed})
    assert asked == len(names)
    assert {Reason.SLOW} == {error.reason for error in failed.values()}


@pytest.mark.parametrize("module", ["ec2ident", "ec2ident.cli"])
def test_this_machine_without_a_network(module: str) -> None:
    """As a program: JSON on standard output, nothing on standard error, and the code of the answer."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--no-network", "--json"], cwd=TOP, capture_output=True, text=True
    )

    verdict = json.loads(done.stdout)
    assert {"yes": 0, "no": 1, "unknown": 3, "suspect": 4}[verdict["answer"]] == done.returncode
    assert "" == done.stderr


#: Questions that are read without argparse.
PLAIN = [
    ["--no-network"],
    ["--no-network", "--explain"],
    ["--no-network", "--timeout", "2"],
    ["--level=claim", "--no-network"],
]


@pytest.mark.parametrize("words", PLAIN)
def test_a_plain_question_pays_for_no_argument_parser(words: list[str], tmp_path: Path) -> None:
    """All that the whole run loads stays near the cost of starting Python; it is looked at when the run is over."""
    code = f"""
import sys
from ec2ident import cli, standin
from ec2ident.host import Host
standin.host = lambda root: Host({str(tmp_path)!r}, platform="linux", environ={{}})
cli.main({words!r})
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=TOP, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("unknown: ")
    loaded = set(done.stdout.split())
    assert set() == {"argparse", "re", "json", "typing", "requests", "subprocess"} & loaded
    # Each module costs 0.1 ms and more: one that is added here is added to every run.
    assert len([name for name in loaded if name.split(".")[0] == "ec2ident"]) <= 16


@pytest.mark.parametrize("count", range(4))
def test_flags_alone_mean_what_the_argument_parser_makes_of_them(count: int) -> None:
    """The short way and argparse are one: same values, and what argparse refuses is left to it."""
    for flags in itertools.combinations(("--no-network", "--explain", "--json"), count):
        words = [*flags, *flags]
        short = cli._plain(words)
        if {"--explain", "--json"} <= set(flags):
            assert short is None
            continue
        assert short is not None
        parsed = vars(cli._options(["show", *words]))
        due = {"network": True, "explain": False, "json": False, **short}
        assert due == {name: parsed[name] for name in due}
    assert [None] * 3 == [cli._plain([word]) for word in ("--no-networ", "show", "--level")]


@pytest.mark.parametrize(
    "words",
    ["--timeout 2", "--timeout=0.5", "--level proof", "--level=HINT --json", "--timeout 9 --level bound --timeout 1e1"],
)
def test_values_mean_what_the_argument_parser_makes_of_them(words: str) -> None:
    """The last one counts, with a blank or an equals sign before it."""
    short = cli._plain(words.split())

    assert short
    parsed = vars(cli._options(["show", *words.split()]))
    assert short == {name: parsed[name] for name in short}


@pytest.mark.parametrize(
    "words", ["--timeout", "--timeout=", "--timeout 0", "--timeout -1", "--timeout nan", "--level none", "--level=",
              "--level --json", "--lev claim", "--certificate x", "--json=1"],
)  # fmt: skip
def test_a_value_that_is_refused_is_left_to_the_argument_parser(words: str) -> None:
    """Its words say what is wrong, as they do for every verb."""
    assert cli._plain(words.split()) is None


def test_the_overview_shows_the_options_of_the_default_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """`ec2ident --json` is `ec2ident show --json`; a reader of `ec2ident --help` sees which options may stand alone."""
    assert YES == main(["--help"])
    overview = capsys.readouterr().out
    assert YES == main(["show", "--help"])
    of_show = capsys.readouterr().out

    options = of_show.partition("  -h, --help")[2].partition("\n")[2].partition("\n\n")[0]
    assert {"--level", "--json", "--no-network"} <= set(options.split())
    assert f":\n{options}\n" in overview
    assert max(map(len, overview.splitlines())) <= 80
