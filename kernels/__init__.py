"""Kernels written in TVM's tensor IR: one operator a file, one definition for every target."""
