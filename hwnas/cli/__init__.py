"""The command line: one verb a file, no logic of its own. `main.py` finds a verb by its file name."""
