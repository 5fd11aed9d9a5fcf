"""Measuring: one harness, a backend a file; `measure_missing` fills a device's tables."""

from hwnas.measure.fill import Report, measure_missing

__all__ = ["Report", "measure_missing"]
