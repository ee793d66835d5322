"""A library that cannot be loaded: an error of the library with its cause, and the level that other facts reach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident.dependency import Loading, words
from ec2ident.testing import MetadataService

from .machines import EC2, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import CompletedProcess

TOP = Path(__file__).parents[2]
GENUINE = TOP / "tests" / "vectors" / "real" / "cloudinit-us-east-2-2018"

#: What importing a broken library raises: an attribute that another version lacks (conda/conda#13619), an ImportError
#: for another processor, a panic, which is not an Exception (learningequality/morango#234, pyca/cryptography#9060).
FAILURES = {
    "not installed": "raise ModuleNotFoundError('No module named it')",
    "another processor": "raise ImportError('it.so: cannot open shared object file: wrong ELF class')",
    "another openssl": "raise AttributeError(\"module 'lib' has no attribute 'X509_V_FLAG_NOTIFY_POLICY'\")",
    "file system": "raise OSError(5, 'Input/output error')",
    "panic": "class PanicException(BaseException): pass\nraise PanicException('Python API call failed')",
}


def run(broken: str, failure: str, directory: Path, code: str) -> CompletedProcess[str]:
    """A fresh interpreter in which importing the library `broken` raises."""
    package = directory / broken
    package.mkdir()
    (package / "__init__.py").write_text(FAILURES.get(failure, failure), encoding="utf-8")
    path = f"{directory}:{TOP}:{TOP / 'agent'}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        cwd=TOP,
    )


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("machine", ["nitro t3.micro, AL2023", "xen pv"])
def test_without_requests_the_other_facts_count(failure: str, machine: str, tmp_path: Path) -> None:
    """A claim from firmware stays a claim; the rest is unknown, and `prove` raises the error with its cause."""
    root = build(tmp_path / "root", EC2[machine])
    with MetadataService() as service:
        code = f"""
from ec2ident import Imds, ImdsError, Level, detect, prove
from ec2ident.host import Host
host = Host({root!r}, environ={{}})
verdict = detect(Level.PROOF, 20, host=host, imds=Imds(20, endpoints={service.endpoint!r}))
print(verdict.answer, verdict.level.name, verdict.reason)
try:
    prove(20, host=host, imds=Imds(20, endpoints={service.endpoint!r}))
except ImdsError as error:
    print(error.reason, type(error.__cause__).__name__, "requests cannot be loaded: " in str(error))
"""
        done = run("requests", failure, tmp_path, code)

    level = {"xen pv": "HINT"}.get(machine, "CLAIM")
    first, second = done.stdout.splitlines()
    assert f"unknown {level} dependency" == first
    assert second.startswith("dependency ")
    assert second.endswith("Error True") or (failure, "dependency PanicException True") == ("panic", second)


@pytest.mark.parametrize("failure", FAILURES)
def test_without_cryptography_nothing_is_verified_and_nothing_is_forged(failure: str, tmp_path: Path) -> None:
    """Exit code 3, in one line; never 1 (not signed by AWS)."""
    code = f"import sys; from ec2ident.cli import main; sys.exit(main(['verify', {str(GENUINE)!r}]))"

    done = run("cryptography", failure, tmp_path, code)

    assert (3, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("ec2ident: rsa2048: cryptography cannot be loaded: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("library", ["requests", "psutil", "cryptography"])
@pytest.mark.parametrize("failure", ["panic", "another openssl"])
def test_is_ec2_never_raises(library: str, failure: str, tmp_path: Path) -> None:
    """Not even for a panic, which is not an Exception."""
    with MetadataService() as service:
        code = f"""
from ec2ident import Imds, Level, detection, is_ec2
detect = detection.detect
detection.detect = lambda level, timeout: detect(
    level, 20, imds=Imds(20, endpoints={service.endpoint!r}), root={str(tmp_path)!r})
print(is_ec2(Level.BOUND))
"""
        done = run(library, failure, tmp_path, code)

    assert ("False\n", "", 0) == (done.stdout, done.stderr, done.returncode)


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "SystemExit"])
def test_an_interrupt_is_not_a_failure_of_a_library(raised: str, tmp_path: Path) -> None:
    """Ctrl-C while a library loads ends the program."""
    with MetadataService() as service:
        code = f"""
from ec2ident import Imds
try:
    Imds(20, endpoints={service.endpoint!r}).get("meta-data/mac")
except {raised}:
    print("passed")
"""
        done = run("requests", f"raise {raised}", tmp_path, code)

    assert "passed\n" == done.stdout


@pytest.mark.parametrize("failure", FAILURES)
def test_an_agent_without_pyroute2_says_so(failure: str, tmp_path: Path) -> None:
    """An error of the agent's, which its command line turns into one line and an exit code."""
    code = """
from ec2ident_agent.errors import KernelError
from ec2ident_agent.kernel.messages import load
try:
    load()
except KernelError as error:
    print(error)
"""
    done = run("pyroute2", failure, tmp_path, code)

    assert done.stdout.startswith("pyroute2 cannot be loaded: ")
    assert done.stdout.endswith("; it is needed to change anything\n")


@pytest.mark.parametrize("failure", FAILURES)
def test_failover_without_botocore_says_so(failure: str, tmp_path: Path) -> None:
    """Only the chain of credentials needs it."""
    code = """
from ec2ident_agent.failover.aws.credentials import botocore_chain
from ec2ident_agent.failover.errors import CredentialsError
try:
    botocore_chain("", 1.0, {})
except CredentialsError as error:
    print(error)
"""
    done = run("botocore", failure, tmp_path, code)

    assert done.stdout.startswith("credentials: none in the environment, and botocore cannot be loaded: ")


def test_the_words_are_one_printable_line_of_bounded_length() -> None:
    """They come from another library, and end on a terminal."""
    with pytest.raises(ValueError, match="it cannot be loaded: OSError: a b") as caught, Loading("it", ValueError):
        raise OSError("a\n\tb\x1b[2J" + "x" * 1000)

    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
    assert "KeyError" == words(KeyError())
