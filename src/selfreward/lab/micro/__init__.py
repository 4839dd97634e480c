"""The embedded micro world: tasks with a checkable truth, and a small base model that solves a few of them."""
