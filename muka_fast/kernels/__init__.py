"""Operations of Monte-Carlo dropout: one a file, each with its PyTorch reference and its Triton kernel.

Ground floor: imports numpy, torch and triton only.
"""
