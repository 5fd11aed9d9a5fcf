"""Measuring from a run file: what is said beforehand, what is measured again, what needs no data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import run_file, SETTINGS

