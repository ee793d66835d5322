"""Run the fake by itself: python -m tests.failover.fake --port 5001 --journal /tmp/journal.jsonl."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.failover.fake", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--journal", type=Path, help="one JSON line for each call")
    arguments = parser.parse_args(argv)
    _few_images()
    from .server import Fake

    fake = Fake(arguments.host, arguments.port, region=arguments.region, journal=arguments.journal)
    print(json.dumps({"url": fake.url, "lab": fake.lab.as_dict()}), flush=True)
    fake.serve_forever()
    return 0


def _few_images() -> None:
    """moto reads some megabytes of machine images at start; no test launches them."""
    if "MOTO_AMIS_PATH" not in os.environ:
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            file.write("[]")
        os.environ["MOTO_AMIS_PATH"] = file.name


if __name__ == "__main__":
    sys.exit(main())
