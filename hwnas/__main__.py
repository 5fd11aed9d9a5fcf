"""`python -m hwnas` is `hwnas` (torchrun starts modules)."""

from hwnas.cli.main import entry

entry()
