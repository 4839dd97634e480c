"""Evaluations of one model on published benchmarks, each named as on the command line."""
