"""The documents that AWS signed, as tests take them; what each is stands in tests/vectors/real/README.md."""

from __future__ import annotations

from pathlib import Path

REAL = Path(__file__).parent.parent / "vectors" / "real"
KINDS = ("rsa2048", "pkcs7", "signature")

#: (folder, kind) of every genuine signature.
GENUINE = [(path.parent.name, path.stem) for path in sorted(REAL.glob("*/*.b64")) if path.stem in KINDS]
#: Those that carry the document.
WITH_CONTENT = [(folder, kind) for folder, kind in GENUINE if kind != "signature"]


def document(folder: str, name: str = "document.json") -> bytes:
    return (REAL / folder / name).read_bytes()


def signature(folder: str, kind: str) -> str:
    return (REAL / folder / f"{kind}.b64").read_text()
