"""Contract suites, one kind of thing a file; hwnas/testing/__init__.py says how they are used."""
