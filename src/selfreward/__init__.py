"""A language model that improves itself by judging its own answers (Yuan et al. 2024, arXiv 2401.10020)."""

__version__ = "0.1.0"
