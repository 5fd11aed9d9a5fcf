"""`python -m hwnas` is `hwnas` (torchrun starts modules)."""

import os
import sys

# `python -m` puts the working directory before everything: a yaml.py that lies there would be run as the library.
if sys.path[:1] and sys.path[0] in ("", os.getcwd()):
    sys.path.append(sys.path.pop(0))

from hwnas.cli.main import entry

entry()
