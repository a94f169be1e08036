"""Label terms as people write them: `role=web,site=a`. All terms must hold."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import invalid

TERMS_MAX = 16


def parse_selector(text: str) -> dict[str, str]:
    """The terms of a selector; an empty text has none. Raises AdminError."""
    terms: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise invalid(f"cannot read selector {text!r}: {part!r} is not label=value")
        if name in terms:
            raise invalid(f"cannot read selector {text!r}: {name} is asked for twice, and a host has one value of a label")
        terms[name] = value
    if len(terms) > TERMS_MAX:
        raise invalid(f"cannot read selector: {len(terms)} terms, at most {TERMS_MAX}")
    return terms


def matches(terms: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether all terms hold."""
    return all(labels.get(name) == value for name, value in terms.items())
