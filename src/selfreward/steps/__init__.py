"""The steps of an iteration: seed → prompts → responses → judgments → pairs → selection."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
