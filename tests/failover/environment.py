"""The environment of the programs under test: keys that no service takes, and no way to a real metadata service."""

from __future__ import annotations

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDTEST",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}
