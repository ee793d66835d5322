"""Run the fake by itself: python -m tests.failover.fake --port 5001 --journal /tmp/journal.jsonl."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.failover.fake", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--journal", type=Path, help="one JSON line for each call")
    arguments = parser.parse_args(argv)
    from .server import Fake

    fake = Fake(arguments.host, arguments.port, region=arguments.region, journal=arguments.journal)
    print(json.dumps({"url": fake.url, "lab": fake.lab.as_dict()}), flush=True)
    fake.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
