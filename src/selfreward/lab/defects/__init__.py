"""The laboratory: the micro world many times over, with and without a planted defect, and what each monitor saw of it.

Defects are planted in the judge or in the candidates; the loop and its monitors are the ones that every run has.
"""
