"""Packaging: the one place for metadata, packages, dependencies and entry points."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

# One place for the number; importing the package would need what it depends on.
version = re.search(
    r'^__version__ = "(.+)"$', Path(__file__).with_name("ec2ident").joinpath("__init__.py").read_text(), re.M
)[1]

# Man pages and completion, made by scripts/manual: share/ has the layout of /usr/share. Relative to this file, and with
# `/` between, as setuptools asks.
share: dict[str, list[str]] = {}
here = Path(__file__).parent
for path in sorted((here / "share").rglob("*")):
    if path.is_file():
        share.setdefault(path.parent.relative_to(here).as_posix(), []).append(path.relative_to(here).as_posix())

setup(
    name="ec2ident",
    version=version,
    description="Is this machine Amazon EC2, and can it prove it? With an agent for policy routing.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The ec2ident developers",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=[
        *find_packages(".", include=["ec2ident", "ec2ident.*"]),
        *find_packages("agent", include=["ec2ident_agent", "ec2ident_agent.*"]),
    ],
    package_dir={"ec2ident_agent": "agent/ec2ident_agent"},
    package_data={
        "ec2ident": ["py.typed", "proof/certificates/*"],
        "ec2ident_agent": ["py.typed", "install/data/*", "install/data/**/*"],
    },
    data_files=[*share.items()],
    install_requires=[
        "requests>=2.28",
        "cryptography>=42",
        "psutil>=5.9",
        "pyroute2>=0.9.3; sys_platform == 'linux'",
        # The standard library has a TOML reader from Python 3.11 on.
        "tomli>=2.0; python_version < '3.11'",
    ],
    extras_require={
        # For its credential chain alone; moving a service never loads a service model.
        "failover": ["botocore>=1.31"],
        "dev": [
            # ec2ident/regions/endpoints.py is made from it; `scripts/check-partitions --write` renews both.
            "botocore==1.44.5; python_version >= '3.10'",
            "coverage>=7.10; python_version >= '3.10'",
            "flask",
            "flask-cors",
            "hypothesis",
            # The state behind the fake of the AWS API in tests/failover/fake.
            "moto>=5.1.22,<6",
            # The witness of tests/failover/test_witness.py; its version is that for this botocore.
            "awscli==1.46.3; python_version >= '3.10'",
            # Checks generated policies against AWS's own list of actions; it still needs pkg_resources.
            "parliament; python_version >= '3.10'",
            "setuptools<81; python_version >= '3.10'",
            # Its parser reads the metrics.
            "prometheus-client",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            # Reads the sample alerts; `responses` needs it too.
            "pyyaml",
            "responses",
            # Another version of these two may report what did not change in this code.
            "mypy==2.4.1; python_version >= '3.10'",
            "ruff==0.17.6",
            # The type checker looks at the oldest Python, which needs it.
            "tomli",
            "types-psutil",
            # On Python 3.9 it and botocore want different urllib3s, over which pip broods for minutes.
            "types-requests; python_version >= '3.10'",
            "typing_extensions",
            # Of the examples: the server that its attestation service runs under, and a reader of Terraform's language.
            "waitress",
            "python-hcl2",
            "types-PyYAML",
            "types-waitress",
        ],
    },
    # Not an entry point: hooks run it again and again, and it says itself what that would cost.
    scripts=["agent/bin/ec2ident-agent", "agent/bin/ec2ident-ocf"],
    entry_points={
        "console_scripts": [
            "ec2ident = ec2ident.cli:main",
            "ec2ident-failover = ec2ident_agent.failover.cli:main",
        ],
        # The name is the module's: a conftest.py that names the module in pytest_plugins gets the same plugin.
        "pytest11": ["ec2ident.testing.pytest_plugin = ec2ident.testing.pytest_plugin"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Networking",
        "Typing :: Typed",
    ],
)
