"""A run on disk: its stages and how they resume, its layout, and reading it back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
