#!/usr/bin/env bash
# evalica 0.4.2 (both solvers), pandas 2.3.3.
# evalica's eigen() is one of seven ratings that take the same three lists of games; with six of them the better of two players
# has the higher score, and with eigen() the lower one. Where a beats b and c, and b beats c, c is put first, without a word: a leaderboard that
# sorts by score, as it does for the others, is upside down. Draws and the side on which a player stands change nothing of it.
# Guess before it was run: a first, b second, c last, as with the others.
# Seen, of ten games each: eigen a 0.246, b 0.560, c 0.791; bradley_terry a 3.311, b 0.836, c 0.361.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install evalica==0.4.2 pandas==2.3.3
venv/bin/python - <<'PY'
import evalica
from evalica import Winner

games = [("a", "b", Winner.X)] * 8 + [("a", "b", Winner.Y)] * 2 + [("a", "c", Winner.X)] * 9 + [("c", "a", Winner.X)]
games += [("c", "b", Winner.Y)] * 7 + [("b", "c", Winner.Y)] * 3
for solver in ("pyo3", "naive"):
    for name in ("counting", "average_win_rate", "bradley_terry", "newman", "elo", "pagerank", "eigen"):
        scores = getattr(evalica, name)(*zip(*games), solver=solver).scores
        order = "".join(scores.sort_values(ascending=False).index)
        print(solver, name, order, scores.round(3).to_dict())
        assert order == ("cba" if name == "eigen" else "abc"), f"{name} puts the players in another order now"
PY
