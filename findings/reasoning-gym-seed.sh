#!/usr/bin/env bash
# reasoning-gym 0.1.25.
# create_dataset(name, seed=7) gives the same items again within a process, and for most tasks in each. Of four tasks another process
# gives other items: what they draw from is a set, whose order Python draws anew for each process. isomorphic_strings and ransom_note ask
# other questions, and word_ladder and polynomial_multiplication have another right answer. A run that is taken up again, a second worker or a
# held-out part that is made anew from its seed so has other items than before, and the part held out can have been trained on. The version and the
# machine are the same; nothing is said.
# Guess before it was run: a seed and a place give one item, in whichever process.
# Seen, PYTHONHASHSEED 0 and 1: gcd and spell_backward alike; the four named differ, with the same hash seed twice they are alike.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile reasoning-gym==0.1.25
cat > items.py <<'PY'
import json
import reasoning_gym

names = ("gcd", "spell_backward", "isomorphic_strings", "ransom_note", "word_ladder", "polynomial_multiplication")
made = {name: reasoning_gym.create_dataset(name, seed=7, size=4) for name in names}
print(json.dumps({name: [[data[at]["question"], data[at]["answer"]] for at in range(4)] for name, data in made.items()}))
PY
for hash in 0 1 0; do PYTHONHASHSEED=$hash venv/bin/python -W ignore items.py >> made.jsonl; done
venv/bin/python - <<'PY'
import json

first, other, again = (json.loads(line) for line in open("made.jsonl"))
alike = {name: first[name] == other[name] for name in first}
print("alike in two processes:", alike)
assert first == again, "something besides the order of sets differs"
assert [name for name in alike if alike[name]] == ["gcd", "spell_backward"], "a seed gives other items than it did"
PY
