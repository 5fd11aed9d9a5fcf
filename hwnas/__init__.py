"""hwnas: measure blocks on your device, search under a hard limit, export INT8 and 1-bit networks that run there."""

__version__ = "0.1.0"
