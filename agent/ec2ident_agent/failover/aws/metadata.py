"""The metadata service, from which a move takes the role's credentials and what no setting names.

A caller chooses how long to wait for a service that is absent or silent. A command that a person or a script repeats
waits for a few seconds. The start of a cluster's resource is not repeated: after the first one that fails Pacemaker
excludes the node (`start-failure-is-fatal`, "Pacemaker Explained"), until `failure-timeout` or a cleanup. Such a start
is patient: it waits until its deadline, as it does for the API.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ec2ident.imds.client import Imds

#: The most seconds that a question takes without patience.
BRIEFLY = 3.0

#: More repeats than fit into any deadline: the time ends them. The client pauses up to a second between two.
REPEATS = 10_000


def client(environ: Mapping[str, str], seconds: float, *, patient: bool = False) -> Imds:
    """A client with `seconds` for each question, at most BRIEFLY unless it is patient.

    It honours AWS_EC2_METADATA_SERVICE_ENDPOINT, as the AWS SDKs do. Raises ValueError for a wrong endpoint.
    """
    from ec2ident.imds.client import Imds

    limit = max(0.01, seconds if patient else min(BRIEFLY, seconds))
    return Imds.from_environment(environ, timeout=limit, retries=REPEATS if patient else None, use_requests=False)
