"""Signature and document and pinned certificate make an identity: CMS, documents, trust, verification, policy."""
