"""Measuring: one harness, a backend a file; `measure_missing` fills a device's tables."""

from hwnas.measure.fill import Renewal, Report, measure_missing

__all__ = ["Renewal", "Report", "measure_missing"]
