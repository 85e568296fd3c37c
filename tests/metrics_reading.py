"""Metrics as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


def read(text: bytes) -> dict[str, dict[Labels, float]]:
    """Return the samples of a text by name and labels."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            samples = found.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in samples, "a series stands there twice"
            samples[labels] = sample.value
    return found


def labels(**given: str) -> Labels:
    return frozenset(given.items())
