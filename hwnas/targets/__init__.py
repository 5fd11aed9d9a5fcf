"""Compiler targets, one a file: `TARGET = CompilerTarget(...)`. `x86_avx2.py` is spelt x86-avx2 by users."""
