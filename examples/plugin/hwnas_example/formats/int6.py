"""int6: weights of 63 levels a channel, kept a byte each; activations and arithmetic as int8's."""

from __future__ import annotations

from dataclasses import replace

from hwnas.formats import int8

format = replace(int8.format, weight=int8.Symmetric(bits=6), bits=6, ends=("int8",), suffix="int6")
