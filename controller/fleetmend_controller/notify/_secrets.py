"""Secrets come from files, read at each use, so that a new one counts at once and none stands in a configuration."""

from __future__ import annotations

from pathlib import Path

SECRET_BYTES_MAX = 16 * 1024


class SecretError(RuntimeError):
    """A secret that cannot be had; the text begins with `cannot`."""


def read_secret(path: Path) -> str:
    """The first line of a file."""
    return read_lines(path)[0]


def read_lines(path: Path) -> list[str]:
    """The lines of a file that hold something."""
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise SecretError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > SECRET_BYTES_MAX:
        raise SecretError(f"cannot read {path}: larger than {SECRET_BYTES_MAX} bytes")
    try:
        lines = [line.strip() for line in raw.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise SecretError(f"cannot read {path}: not UTF-8 at byte {error.start}") from error
    if not lines:
        raise SecretError(f"cannot use {path}: it is empty")
    return lines
