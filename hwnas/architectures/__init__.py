"""Instruction sets, one a file: `ARCHITECTURE = Architecture(...)`, what all compiler targets of one share."""
