"""Operations of Monte-Carlo dropout: one per file, each with its PyTorch reference and its Triton kernel.

The lowest layer: imports NumPy, PyTorch and Triton only.
"""
