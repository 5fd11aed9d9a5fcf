"""What this package adds to hwnas: a sampler, a format, an operator, a block and a space."""
