"""How long a word is that may be a token. The errors of whole answers are in test_client.py."""

from __future__ import annotations

from ec2ident_agent.failover.aws.redaction import redacted


def test_a_word_as_long_as_a_token_is_removed_and_a_shorter_one_is_shown() -> None:
    """From 100 characters on: session tokens have hundreds, and the ids in a message are far shorter."""
    assert "bad: … here" == redacted(f"bad: {'aB3/' * 25} here")
    assert f"bad: {'a' * 99} here" == redacted(f"bad: {'a' * 99} here")
