"""From directories to documents, from documents to rules. Reading touches the disk; compiling is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..rules import RuleSet


def read_documents(directories: Sequence[Path]) -> dict[str, str]:
    """The rule files of the directories: relative path, such as `checks/base.yaml`, to text. Raises RulesError."""
    raise NotImplementedError


def compile_rules(documents: Mapping[str, str]) -> RuleSet:
    """The rules that the documents state. Pure. Raises RulesError with every problem of every document."""
    raise NotImplementedError
