"""Would these policies allow this call? The part of IAM's evaluation that least privilege needs.

Every resource of a call must be matched by an Allow, and by no Deny (IAM User Guide, "Policy evaluation logic"; EC2
checks an action against each of its resources). Conditions that are not known here raise, so that no test is fooled.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Policy = Mapping[str, Any]
#: A resource's ARN and the condition keys that hold for it, each with its values.
Resource = tuple[str, Mapping[str, Sequence[str]]]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def like(pattern: str, value: str) -> bool:
    """IAM's wildcards are `*` and `?` alone; fnmatch knows brackets too."""
    return bool(re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), value))


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: value == wanted,
    "StringLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": lambda wanted, value: value.lower() == wanted.lower(),
}


def holds(operator: str, wanted: list[str], values: Sequence[str] | None) -> bool:
    quantifier, _, plain = operator.rpartition(":")
    test = OPERATORS[plain.removesuffix("IfExists")]
    if values is None:
        # ForAllValues is true of an empty list; everything else is false where the key is not in the request.
        return quantifier == "ForAllValues" or plain.endswith("IfExists")
    matched = [any(test(str(want), value) for want in wanted) for value in values]
    return all(matched) if quantifier == "ForAllValues" else any(matched)


def conditions_hold(conditions: Mapping[str, Mapping[str, Any]], keys: Mapping[str, Sequence[str]]) -> bool:
    known = {name.lower(): values for name, values in keys.items()}
    return all(
        holds(operator, as_list(wanted), known.get(name.lower()))
        for operator, tests in conditions.items()
        for name, wanted in tests.items()
    )


def matches(statement: Mapping[str, Any], action: str, resource: Resource) -> bool:
    arn, keys = resource
    return (
        any(like(pattern.lower(), action.lower()) for pattern in as_list(statement["Action"]))
        and any(like(pattern, arn) for pattern in as_list(statement["Resource"]))
        and conditions_hold(statement.get("Condition", {}), keys)
    )


def allowed(policies: Sequence[Policy], action: str, resources: Sequence[Resource]) -> str | None:
    """None, or the ARN that is not allowed. *action* is `ec2:ReplaceRoute`."""
    if action == "sts:GetCallerIdentity":
        return None
    statements = [statement for policy in policies for statement in as_list(policy["Statement"])]
    for resource in resources:
        effects = {s["Effect"] for s in statements if matches(s, action, resource)}
        if effects != {"Allow"}:
            return resource[0]
    return None
