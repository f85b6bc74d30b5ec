"""What can be wrong with a fact, said so that a person knows what to do."""

from __future__ import annotations

import msgspec


class Defect(msgspec.Struct, frozen=True):
    """Why an input is not a fact: the reason code, the field, its value, the rule it breaks, the remedy."""

    reason: str
    field: str
    value: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}={self.value!r}: {self.rule}. {self.remedy}"


class DomainError(Exception):
    """Base of what the domain raises."""


class DefectError(DomainError):
    """An input breaks a rule; ``defect`` says which."""

    def __init__(self, defect: Defect) -> None:
        super().__init__(str(defect))
        self.defect = defect


SHOWN_VALUE_CHARS = 120  # a value in a message is there to be recognised, not to be stored


def defect_error(reason: str, field: str, value: object, rule: str, remedy: str) -> DefectError:
    """Build the error for one field; the value is cut to what a person can read."""
    shown = value if isinstance(value, str) else repr(value)
    if len(shown) > SHOWN_VALUE_CHARS:
        shown = shown[:SHOWN_VALUE_CHARS] + "…"
    return DefectError(Defect(reason, field, shown, rule, remedy))
