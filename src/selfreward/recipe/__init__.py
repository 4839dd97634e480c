"""The recipe of a run: the tables of its TOML file, and the recipes and rubrics that ship."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
