"""The laboratory: many runs of the micro world, with and without a planted defect, and the readings of every monitor.

Defects are planted in the judge or in the candidates; the loop and its monitors are those of every run.
"""
