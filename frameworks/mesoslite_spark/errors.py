"""What can go wrong that a person can mend: each says what to do."""

from __future__ import annotations


class SparkError(Exception):
    """Spark cannot run on mesoslite as asked; the message says why and what would help."""
