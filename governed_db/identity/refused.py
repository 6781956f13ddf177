"""How a token's refusal is worded: what is wrong, the rule, the remedy, whether trying again can help."""

from __future__ import annotations

from governed_db.errors import TokenRefused


def refused(
    rule: str, why: str, remedy: str, *, retryable: bool = False, kind: type[TokenRefused] = TokenRefused
) -> TokenRefused:
    """Return the error of ``identity.token.<rule>``; the verifier adds the issuer and the key."""
    rule = f"identity.token.{rule}"
    again = "" if retryable else " Trying the same token again will not help."
    return kind(
        f"{why} [rule {rule}]. {remedy[:1].upper()}{remedy[1:]}.{again}",
        rule=rule,
        remedy=remedy,
        retryable=retryable,
    )
