"""Metrics in the text format of Prometheus: what the supervisor measures, and what the dispatcher counts."""

from .rendering import CONTENT_TYPE, render

__all__ = ["CONTENT_TYPE", "render"]
