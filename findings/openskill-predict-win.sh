#!/usr/bin/env bash
# openskill 6.2.0 (PlackettLuce; its four other models have the same function).
# predict_win() gives "odds of each team winning", which sum to 1 but are no chances of winning where more than two meet: each is the mean of
# the chances against each other player, divided by half of their number. No player of n ever gets more than 2 / n. A model that
# beats each of nine others for certain has 0.2 in a field of ten, and 0.67 in a field of three. A tournament planned, or a bet scored, by
# them (Brier, log loss) takes the certain winner for an outsider.
# Guess before it was run: with ten players, one of them far above, its chance is near 1, as it is against any one of them.
# Seen: 1.0000 against one, 0.6667 of three, 0.2000 of ten.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install openskill==6.2.0
venv/bin/python - <<'PY'
from openskill.models import BradleyTerryFull, PlackettLuce, ThurstoneMostellerPart

for kind in (PlackettLuce, BradleyTerryFull, ThurstoneMostellerPart):
    model = kind()
    found = {}
    for players in (2, 3, 10):
        teams = [[model.rating(mu=60, sigma=1)], *([model.rating(mu=20, sigma=1)] for _ in range(players - 1))]
        chances = model.predict_win(teams)
        assert abs(sum(chances) - 1) < 1e-9
        found[players] = round(chances[0], 4)
    print(kind.__name__, found)
    assert found == {2: 1.0, 3: 0.6667, 10: 0.2}, "the certain winner has other odds now"
PY
