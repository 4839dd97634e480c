#!/usr/bin/env bash
# scikit-learn 1.9.1, numpy 2.4.6.
# cohen_kappa_score(weights="quadratic") weighs two scores by how far apart they stand in the list of scores that were given, and not by
# how far apart the scores are. Two judges who give 1, 2, 5 and 10 of ten are three steps apart between 1 and 10, and one between 5 and 10. Adding one
# row with another score, or a judge that never says 3, changes the weight of all others; figures of two
# sets of answers are not of one scale. labels=range(1, 11) gives the differences of scores.
# Guess before it was run: the weights are squared differences of the scores.
# Seen: 0.800; by differences of the scores 0.735, and with labels=range(1, 11) 0.735. 1000 in the place of 10 changes nothing: 0.800.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - <<'PY'
import numpy
from sklearn.metrics import cohen_kappa_score

def by_scores(first, second):
    """Kappa with the squared differences of the scores themselves, by its definition."""
    first, second = numpy.array(first), numpy.array(second)
    return 1 - ((first - second) ** 2).mean() / ((first[:, None] - second) ** 2).mean()

first, second = [1, 2, 5, 10, 10, 1, 2, 5], [1, 2, 10, 10, 5, 2, 1, 5]
found = cohen_kappa_score(first, second, weights="quadratic")
whole = cohen_kappa_score(first, second, weights="quadratic", labels=range(1, 11))
print("as it comes", found, "by the scores", by_scores(first, second), "with all labels", whole)
far = {1: 1, 2: 2, 5: 5, 10: 1000}
moved = cohen_kappa_score([far[score] for score in first], [far[score] for score in second], weights="quadratic")
print("1000 in the place of 10:", moved)
assert abs(found - 0.8) < 1e-9 and moved == found, "unused scores count now"
assert abs(whole - by_scores(first, second)) < 1e-9 and abs(whole - found) > 0.05
PY
