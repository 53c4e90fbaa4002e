"""Files of tensors: written whole or not at all, and checked before a byte of them is allocated."""
