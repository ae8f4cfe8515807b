"""Corruptions of images: pure functions of a batch, CIFAR-10-C constants and our own shifts."""
