"""Everything that people look at: status, pages, cards, exports, trackers. It reads records and run folders only."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
