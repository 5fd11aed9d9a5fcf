"""Blocks: one fused unit a file. `layers(operator)` expands the block into the primitives of `hwnas/ops/`.

Boundary rule: int8 blocks take and give uint8 tensors, fp32 and w1a1 blocks take and give float32; `convert` stands
wherever the two meet. A block of your own is a module with the same function; its import path is its kind.
"""

THING = "layers"  # what a block's file defines; shapes.py serves them
