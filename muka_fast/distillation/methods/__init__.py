"""The built-in methods, one module each, named after the method; importing one registers it and does not import torch.

Every module here is a method: a new one needs no other entry.
"""
