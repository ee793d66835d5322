"""What stands in for this machine, its metadata service and AWS's keys while a test pretends.

`ec2ident.testing.pretend` is the only writer; in every other process all three are None, and no environment variable,
file or argument can change that. The entry points read them at the one place where each leaves the process: the
connection to a metadata service, the machine that is looked at, the keys that are trusted unless others are given.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .host import Host
    from .imds.connect import Endpoint
    from .proof.trust import TrustStore

#: The endpoint to connect to in place of the given one; None stands for "no route to host".
dial: Callable[[Endpoint], Endpoint | None] | None = None

#: Makes the machine at a root directory; used if the caller gives no `host`.
host: Callable[[str], Host] | None = None

#: The keys of `TrustStore.bundled()`.
trust: Callable[[], TrustStore] | None = None
