"""Monitors: figures of each model that tell whether the loop still earns trust, and the limits they are held against."""
