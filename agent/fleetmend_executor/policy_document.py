"""The owner's file as plain values: read as YAML when it is new, else as it was remembered.

Loading the YAML library takes a good part of a start from cold, and the file hardly ever changes. So its values are kept in the
executor's own folder under the digest of the very bytes they came from: another byte, and the file itself is read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Hashable
from typing import Any

from .store import StateError, read_bounded, write_synced

FILE_NAME = "policy.json"
FILE_BYTES_MAX = 1024 * 1024


class PolicyError(ValueError):
    """A policy that permits nothing, because it cannot be read or understood; the text says where and why."""


def remembered(raw: bytes, name: str, state_dir: str) -> dict[str, Any]:
    """The values of a file's bytes, by the YAML library only where they were not seen before. Raises PolicyError."""
    digest = hashlib.sha256(raw).hexdigest()
    path = f"{state_dir}/{FILE_NAME}"
    try:
        kept = json.loads(read_bounded(path, FILE_BYTES_MAX))
        if kept["sha256"] == digest and isinstance(kept["values"], dict):
            return kept["values"]
    except (OSError, StateError, ValueError, KeyError, TypeError):
        pass  # nothing remembered, or nothing to trust: the file itself is asked
    values = parsed(raw, name)
    text = _exact_json({"sha256": digest, "values": values})
    if text:
        with contextlib.suppress(OSError):  # a full disk costs the next start some time, nothing else
            write_synced(path, text.encode())
    return values


def _exact_json(document: dict[str, Any]) -> str:
    """The document as JSON; empty if it would come back as something else (a date, a number as a key) or is large."""
    text = ""
    try:
        for piece in json.JSONEncoder().iterencode(document):
            text += piece
            if len(text) > FILE_BYTES_MAX:  # YAML's aliases can unfold without end
                return ""
    except (TypeError, ValueError, RecursionError):
        return ""
    return text if json.loads(text) == document else ""


def parsed(raw: bytes, name: str) -> dict[str, Any]:
    """The values of a YAML text; `name` is how errors call it. Raises PolicyError."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Strict(base):  # type: ignore[misc]
        """Refuses a key that is given twice: the second would silently win."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((k for i, k in enumerate(keys) if k in keys[:i]), None)
            if twice is not None:
                raise PolicyError(f"{name}:{node.start_mark.line + 1}: cannot use key {twice!r}: it is given twice")
            mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
            return mapping

    loader = Strict(raw)
    try:
        document = loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        text = " ".join(str(error).split())
        raise PolicyError(text if isinstance(error, PolicyError) else f"cannot read {name}: not YAML: {text}") from error
    finally:
        loader.dispose()
    if not isinstance(document, dict):
        raise PolicyError(f"cannot use {name}: it is not a mapping with actions")
    return document
