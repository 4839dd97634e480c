"""Everything that samples text (`sampling`) or trains a model (`training`), behind two protocols. Nothing heavy loads here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
