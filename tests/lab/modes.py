"""Permissions that do not depend on the umask of the tests."""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def umask(mask: int = 0o022) -> Iterator[None]:
    """A umask for a while; by default the one under which distributions make their files."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
