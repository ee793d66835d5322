"""A fake of the AWS calls that a move needs, faithful where moto is not, served over real HTTP on loopback.

    with Fake() as aws:                   # or `python -m tests.failover.fake` in a process of its own
        aws.url                           # the endpoint
        aws.lab                           # what exists at the start: VPC, instances, tables, interfaces, zone
        aws.fault(action="ReplaceRoute", code="UnauthorizedOperation", status=403)
        aws.calls()                       # the journal

moto keeps the state and does what it does well. In front of it stand, in this order: the journal, fault rules, IAM
(with ARNs and conditions), DryRun, and the refusals and delays that the real service has and moto has not.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

# moto would read some megabytes of machine images, which no test launches.
os.environ.setdefault("MOTO_AMIS_PATH", str(Path(__file__).with_name("images.json")))

with warnings.catch_warnings():
    # On an old Python, boto3 (which moto brings along) says at its import that it will leave that behind.
    warnings.simplefilter("ignore")
    from .server import Fake

__all__ = ["Fake"]
