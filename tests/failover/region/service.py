"""The service of a node: an echo that adds the node's name, in a process of its own: `service.py NAME`."""

from __future__ import annotations

import select
import sys

from tests.lab.echo import answer, listeners


def main() -> None:
    """Answer until the node ends."""
    name, sockets = sys.argv[1].encode(), listeners()
    while True:
        for each in select.select(sockets, [], [])[0]:
            answer(each, name)


if __name__ == "__main__":
    main()
