"""`scripts/release`, in a temporary clone: everything but the upload, or nothing."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs git")

#: Stands for scripts/build, which takes half a minute and has its own test: files of the version that is committed.
BUILD = """#!/bin/sh
set -eu
mkdir -p "$1"
version=$(sed -n 's/^__version__ = "\\(.*\\)"$/\\1/p' ec2ident/__init__.py)
[ -z "$(git status --porcelain)" ]
echo wheel >"$1/ec2ident-$version-py3-none-any.whl"
echo sources >"$1/ec2ident-$version.tar.gz"
"""
MANUAL = "#!/bin/sh\nsed -n 's/^__version__ = //p' ec2ident/__init__.py >share/version\n"
CHANGES = (
    "# Changelog\n\nWhat.\n\n## Unreleased\n\n### Added\n\n- A thing.\n\n## 0.1.0 - 2026-01-02\n\n- The first one.\n"
)


class Clone:
    """A small checkout with the true script in it, and stand-ins for what it runs."""

    def __init__(self, directory: Path) -> None:
        self.top = directory / "clone"
        (self.top / "scripts").mkdir(parents=True)
        for name, text in (("build", BUILD), ("manual", MANUAL)):
            (self.top / "scripts" / name).write_text(text, encoding="utf-8")
            (self.top / "scripts" / name).chmod(0o755)
        shutil.copy(TOP / "scripts/release", self.top / "scripts/release")
        self.write("ec2ident/__init__.py", '"""Doc."""\n\n__version__ = "0.1.0"\n')
        self.write("CHANGELOG.md", CHANGES)
        self.write(
            "docs/install.md",
            "ec2ident-0.1.0-py3-none-any.whl ec2ident_0.1.0-1_amd64.deb ec2ident-0.1.0-1.suse.x86_64.rpm 10.0.1.0\n",
        )
        self.write("share/version", '"0.1.0"\n')
        self.write(".gitignore", "dist/\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("first")
        self.git("tag", "--annotate", "--message", "ec2ident 0.1.0", "v0.1.0")

    def write(self, name: str, text: str) -> None:
        (self.top / name).parent.mkdir(parents=True, exist_ok=True)
        (self.top / name).write_text(text, encoding="utf-8")

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
        done = subprocess.run(
            ["git", *who, *words], cwd=self.top, env=environment(), capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, text: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", text)

    def release(self, *words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "scripts/release", *words],
            cwd=self.top,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def state(self) -> tuple[str, ...]:
        """Everything that a release changes."""
        files = sorted(path for path in self.top.rglob("*") if path.is_file() and ".git" not in path.parts)
        return (self.git("rev-parse", "HEAD"), self.git("tag"), *(f"{path}: {path.read_text()}" for path in files))


def environment() -> dict[str, str]:
    """Git asks neither the user's configuration nor the system's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    names = {f"GIT_{who}_{what}": "tester" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_release_is_a_commit_a_tag_and_files_with_their_sums(clone: Clone) -> None:
    """One commit with the version, the section and what is made of them; the tag names it; nothing is pushed."""
    code, said, log = clone.release("0.2.0", "--gate", "true")
    assert 0 == code, said + log
    today = datetime.datetime.now(datetime.timezone.utc).date()
    days = {(today - datetime.timedelta(days=each)).isoformat() for each in (0, 1)}

    assert '__version__ = "0.2.0"' in (clone.top / "ec2ident/__init__.py").read_text()
    changes = (clone.top / "CHANGELOG.md").read_text()
    assert changes in {CHANGES.replace("Unreleased\n", f"Unreleased\n\n## 0.2.0 - {day}\n") for day in days}
    names = "ec2ident-0.2.0-py3-none-any.whl ec2ident_0.2.0-1_amd64.deb ec2ident-0.2.0-1.suse.x86_64.rpm 10.0.1.0\n"
    assert names == (clone.top / "docs/install.md").read_text()
    assert '"0.2.0"\n' == (clone.top / "share/version").read_text()
    assert "" == clone.git("status", "--porcelain")
    assert "release: 0.2.0" == clone.git("log", "-1", "--format=%s")
    assert clone.git("rev-parse", "HEAD") == clone.git("rev-parse", "v0.2.0^{commit}")
    assert "tag" == clone.git("cat-file", "-t", "v0.2.0")

    files = ["ec2ident-0.2.0-py3-none-any.whl", "ec2ident-0.2.0.tar.gz"]
    lines = (clone.top / "dist/SHA256SUMS").read_text().splitlines()
    digests = [hashlib.sha256((clone.top / "dist" / name).read_bytes()).hexdigest() for name in files]
    assert [f"{digest}  {name}" for digest, name in zip(digests, files)] == lines
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=clone.top / "dist", capture_output=True, check=False
    )
    assert 0 == checked.returncode
    assert "git push origin main v0.2.0" in said


def test_the_section_that_was_written_before_gets_the_date(clone: Clone) -> None:
    """As of the first release: its section stands there already, and nothing is unreleased."""
    clone.write("CHANGELOG.md", CHANGES.replace("### Added\n\n- A thing.\n\n## 0.1.0 - 2026-01-02", "## 0.2.0 - soon"))
    clone.commit("changes")
    assert 0 == clone.release("0.2.0", "--gate", "true")[0]
    assert re.search(
        r"\n## Unreleased\n\n## 0\.2\.0 - \d{4}-\d\d-\d\d\n\n- The", (clone.top / "CHANGELOG.md").read_text()
    )


def test_a_dry_run_says_what_it_would_do(clone: Clone) -> None:
    """Exit code 1, as of every dry run that would do something, and nothing is changed or run."""
    before = clone.state()
    code, said, _ = clone.release("0.2.0", "--dry-run", "--gate", "touch gate")
    assert 1 == code
    assert "would run: touch gate" in said
    assert "would commit and tag v0.2.0 on main" in said
    assert before == clone.state()


@pytest.mark.parametrize(
    "version",
    ["", "1", "1.2", "v1.2.3", "1.2.3.4", "1.2.3rc1", "01.2.3", "1.2.3\n", "-1.2.3", "0.1.0", "0.0.9", "1.2.³"],
)
def test_a_version_that_cannot_be_the_next_one_is_refused(clone: Clone, version: str) -> None:
    """Another form, one that was released, one before the last; with exit code 2."""
    before = clone.state()
    code, _, log = clone.release("--gate", "true", "--", version)
    assert 2 == code, log
    assert "Traceback" not in log
    assert before == clone.state()


def dirty(clone: Clone) -> None:
    clone.write("ec2ident/new.py", "")


def detached(clone: Clone) -> None:
    clone.git("checkout", "--quiet", "--detach")


def nothing_new(clone: Clone) -> None:
    clone.write("CHANGELOG.md", CHANGES.replace("- A thing.\n", ""))
    clone.commit("nothing")


def no_section(clone: Clone) -> None:
    clone.write("CHANGELOG.md", CHANGES.replace("Unreleased", "Next"))
    clone.commit("no section")


def both_sections(clone: Clone) -> None:
    clone.write("CHANGELOG.md", CHANGES.replace("## 0.1.0 -", "## 0.2.0 -"))
    clone.commit("both")


def two_versions(clone: Clone) -> None:
    clone.write("ec2ident/__init__.py", '__version__ = "1"\n__version__ = "2"\n')
    clone.commit("two")


def old_files(clone: Clone) -> None:
    clone.write("dist/ec2ident-0.1.0.tar.gz", "old")


@pytest.mark.parametrize("make", [dirty, detached, nothing_new, no_section, both_sections, two_versions, old_files])
def test_a_tree_that_is_not_ready_is_refused(clone: Clone, make: object) -> None:
    """With exit code 2 and the reason in one line, before the gate runs; nothing is changed."""
    make(clone)  # type: ignore[operator]
    before = clone.state()
    code, _, log = clone.release("0.2.0", "--gate", "touch gate")
    assert (2, 1) == (code, len(log.splitlines())), log
    assert log.endswith("; nothing was changed\n")
    assert before == clone.state()


@pytest.mark.parametrize("fails", ["gate", "manual", "build", "strange"])
def test_after_a_failure_commit_and_tag_are_as_before(clone: Clone, fails: str) -> None:
    """Exit code 4. The gate runs before anything is changed; what follows it is taken back."""
    if fails in ("manual", "build"):
        clone.write(f"scripts/{fails}", "#!/bin/sh\necho half >ec2ident/half.py\nexit 7\n")
        clone.commit("broken")
    if fails == "strange":
        clone.write("scripts/build", '#!/bin/sh\nmkdir -p "$1"\necho >"$1/other-1.0.tar.gz"\n')
        clone.commit("strange")
    before = clone.state()
    code, _, log = clone.release("0.2.0", "--gate", "exit 3" if fails == "gate" else "true")
    assert 4 == code, log
    assert "Traceback" not in log
    assert [line for line in before if "half.py" not in line] == [
        line for line in clone.state() if "half.py" not in line
    ]


def test_the_checkout_itself_could_be_released(clone: Clone) -> None:
    """Its files have the lines that the script looks for; something is new."""
    for name in ("CHANGELOG.md", "docs/install.md", "ec2ident/__init__.py"):
        clone.write(name, (TOP / name).read_text(encoding="utf-8"))
    changes = (clone.top / "CHANGELOG.md").read_text(encoding="utf-8")
    clone.write("CHANGELOG.md", changes.replace("## Unreleased\n", "## Unreleased\n\n- A thing.\n"))
    clone.commit("the checkout's own files")
    code, said, log = clone.release("9999.0.0", "--dry-run")

    assert 1 == code, said + log
    assert "would run: scripts/check && scripts/test\n" in said
    assert "would write 9999.0.0 into ec2ident/__init__.py, CHANGELOG.md, docs/install.md\n" in said
