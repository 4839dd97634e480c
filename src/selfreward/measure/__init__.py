"""Measurement of a model: both axes, the monitors, and evaluations on published benchmarks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
