"""Numbers in, verdict out: p-values, sets of pictures, flags, negative controls, null banks, line-ups."""
