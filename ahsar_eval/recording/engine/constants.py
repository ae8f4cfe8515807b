"""What loops and those who call them agree on; apart from the loops, which need numba."""

SUBTRACT, SET = 0, 1  # what a spike does to the potential
LANES = 16  # of a vector of weights; where the processor's are shorter LLVM takes several
WIDEST = 4  # vectors of one output position that are held in registers
