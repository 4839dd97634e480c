#!/usr/bin/env bash
# evalica 0.4.2 (both solvers), pandas 2.3.3.
# A leaderboard by evalica's bradley_terry() in which one player never lost, or never won, says nothing about anybody: the maximum of the
# likelihood is at infinity, and in place of an error or a far-off score for that one player all players get the same score,
# 1e-06, after two iterations and without a word. That holds for players between whom there are wins and losses enough. A sort
# by such scores gives the order in which players were met. With few games or bootstrap samples of few one unbeaten model is usual.
# Guess before it was run: the unbeaten player far above the others, and the others as their own games have them (b about 3 times c).
# Seen: a, b, c, d all 1e-06; with one defeat of a: a 6.27, b 1.15, c and d 0.37.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install evalica==0.4.2 pandas==2.3.3
venv/bin/python - <<'PY'
from evalica import Winner, bradley_terry

def scores(wins, solver):
    """Scores of a tournament given as (winner, loser, times)."""
    games = [(winner, loser) for winner, loser, times in wins for _ in range(times)]
    return bradley_terry([a for a, _ in games], [b for _, b in games], [Winner.X] * len(games), solver=solver).scores.to_dict()

rest = [("b", "c", 30), ("c", "b", 10), ("c", "d", 20), ("d", "c", 20)]
unbeaten = [("a", "b", 4), ("a", "c", 4), *rest]
winless = [("b", "a", 4), ("c", "a", 4), *rest]
for solver in ("pyo3", "naive"):
    found = {name: scores(wins, solver) for name, wins in
             (("unbeaten", unbeaten), ("winless", winless), ("one defeat", [*unbeaten, ("b", "a", 1)]))}
    print(solver, found)
    assert all(set(found[name].values()) == {1e-06} for name in ("unbeaten", "winless")), "an unbeaten player is met otherwise now"
    once = found["one defeat"]
    assert once["a"] > once["b"] > 2 * once["c"] and abs(once["c"] / once["d"] - 1) < 0.05
PY
