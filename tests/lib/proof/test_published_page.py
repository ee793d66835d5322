"""AWS's page of certificates against what is shipped, and one more certificate: the commands of CONTRIBUTING.md.

The forms are those of the page "AWS public certificates for instance identity document signatures" of the EC2 User
Guide as it stood in 2026: as HTML, and as the Markdown that AWS serves beside it (`regions-certs.md`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]
SHIPPED = TOP / "ec2ident/proof/certificates"
HEADER, *ROWS = [line.split("\t") for line in (SHIPPED / "index.tsv").read_text(encoding="utf-8").splitlines()]
TABS = (("DSA", "pkcs7"), ("RSA", "signature"), ("RSA-2048", "rsa2048"))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    #: Region, then kind, then PEM.
    Regions = dict[str, dict[str, str]]


def shipped(*partitions: str) -> Regions:
    """What is shipped of some partitions."""
    found: Regions = {}
    for partition, region, kind, file, *_ in ROWS:
        if partition in partitions:
            found.setdefault(region, {})[kind] = (SHIPPED / file).read_text(encoding="ascii")
    return found


def markdown(regions: Regions) -> str:
    """The page as Markdown."""
    text = '# AWS public certificates for instance identity document signatures\n<a name="regions-certs"></a>\n'
    for region, kinds in regions.items():
        text += f'\n## A Place (Town) — {region}\n<a name="{region}-cert"></a>\n\n------\n'
        for tab, kind in TABS:
            if kind in kinds:
                text += f"#### [ {tab} ]\n\n```\n{kinds[kind]}```\n\n------\n"
    return text


def as_html(regions: Regions) -> str:
    """The page as HTML: tabs are lists of terms, and lines of a certificate may be joined by spaces."""
    text = "<html><body><p>use the DSA certificate or the RSA certificate or the RSA-2048 certificate.</p>"
    for region, kinds in regions.items():
        text += f'<h2 id="{region}-cert">A Place &#40;Town&#41; &mdash; {region}</h2><awsdocs-tabs><dl>'
        for tab, kind in TABS:
            if kind in kinds:
                body = " ".join(kinds[kind].replace("=", "&#x3D;").splitlines())
                text += f"<dt>{tab}</dt><dd><pre><code>{body}</code></pre></dd>"
        text += "</dl></awsdocs-tabs>"
    return text + "</body></html>"


def script(*words: object, top: Path = TOP) -> subprocess.CompletedProcess[str]:
    """scripts/check-certificates of this checkout or of a copy."""
    argv = [sys.executable, str(top / "scripts/check-certificates"), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture(params=[markdown, as_html], ids=["markdown", "html"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Regions], Path]:
    """A function that stores a page in one of its two forms."""

    def store(regions: Regions) -> Path:
        path = tmp_path / "page"
        path.write_text(request.param(regions), encoding="utf-8")
        return path

    return store


@pytest.mark.parametrize("partitions", [("aws", "aws-us-gov", "aws-eusc"), ("aws-cn",)])
def test_a_page_like_what_is_shipped_differs_in_nothing(
    stored: Callable[[Regions], Path], partitions: tuple[str, ...]
) -> None:
    """China has a page of its own, which says nothing of the other partitions."""
    page = shipped(*partitions)
    count = sum(map(len, page.values()))

    done = script("--page", stored(page))

    assert (0, f"page: {count} certificates of {len(page)} regions, 0 differences\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )


def test_what_is_new_changed_or_gone_is_named(stored: Callable[[Regions], Path]) -> None:
    """A region that opens, a key that was replaced, and a region that is missing from the page."""
    page = shipped("aws")
    page["xx-north-7"] = dict(page["eu-west-3"])
    page["us-east-1"]["rsa2048"] = page["us-east-2"]["rsa2048"]
    del page["sa-east-1"]

    done = script("--page", stored(page))

    lines = done.stdout.splitlines()
    assert (1, 8) == (done.returncode, len(lines))
    assert [True] * 3 == [any(line.startswith(f"xx-north-7 {kind}: new: ") for line in lines) for _, kind in TABS]
    assert any(line.startswith("us-east-1 rsa2048: ANOTHER KEY: ") and "(shipped " in line for line in lines)
    assert [f"sa-east-1 {kind}: gone from the page" for _, kind in sorted(TABS, key=lambda tab: tab[1])] == [
        line for line in lines if "sa-east-1" in line
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<html><body>Access denied</body></html>", "no certificate found: is it AWS's page?"),
        (markdown(shipped("aws-cn")).replace("#### [", "#### ("), "under no region or no tab"),
        (markdown(shipped("aws-cn")).replace("RSA-2048", "RSA"), "cn-north-1 RSA: two certificates"),
    ],
)
def test_a_page_of_another_form_is_refused(text: str, says: str, tmp_path: Path) -> None:
    """Half a page would report every other region as gone."""
    (tmp_path / "page").write_text(text, encoding="utf-8")

    done = script("--page", tmp_path / "page")

    assert (1, "") == (done.returncode, done.stdout)
    assert says in done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the library and the script, to which a certificate may be added."""
    top = tmp_path / "copy"
    shutil.copytree(TOP / "ec2ident", top / "ec2ident", ignore=shutil.ignore_patterns("__pycache__"))
    (top / "scripts").mkdir()
    shutil.copy2(TOP / "scripts/check-certificates", top / "scripts")
    return top


def test_a_certificate_is_added_by_one_command(checkout: Path, tmp_path: Path) -> None:
    """Its file, its row in its place, and a library that trusts it; nothing else changes, and the table holds."""
    index = checkout / "ec2ident/proof/certificates/index.tsv"
    before = index.read_text(encoding="utf-8").splitlines()
    pem = tmp_path / "new.pem"
    pem.write_text(shipped("aws")["eu-west-3"]["rsa2048"], encoding="ascii")

    done = script("--add", pem, "eu-west-9", "rsa2048", "AWS's page of 2026-11-28", top=checkout)

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("aws eu-west-9 rsa2048: ")
    after = index.read_text(encoding="utf-8").splitlines()
    assert before == [line for line in after if "eu-west-9" not in line]
    checked = script(top=checkout)
    rows, regions = len(before), len({line.split("\t")[1] for line in before[1:]}) + 1
    assert 0 == checked.returncode
    assert checked.stdout.startswith(f"certificates: {rows} rows, {regions} regions, ")


@pytest.mark.parametrize(
    ("region", "kind", "says"),
    [
        ("us-east-1", "rsa2048", "aws us-east-1 rsa2048: another key is shipped"),
        ("eu-west-9", "dsa", "dsa: not a kind; there are pkcs7, rsa2048, signature"),
        ("Paris", "rsa2048", "region: 'Paris' is like no region"),
    ],
)
def test_a_wrong_addition_changes_nothing(checkout: Path, tmp_path: Path, region: str, kind: str, says: str) -> None:
    """A key is never replaced by the way."""
    index = checkout / "ec2ident/proof/certificates/index.tsv"
    before = index.read_bytes()
    pem = tmp_path / "new.pem"
    pem.write_text(shipped("aws")["eu-west-3"]["rsa2048"], encoding="ascii")

    done = script("--add", pem, region, kind, "a test", top=checkout)

    assert 1 == done.returncode
    assert says in done.stderr
    assert before == index.read_bytes()
