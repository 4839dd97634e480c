#!/usr/bin/env bash
# reasoning-gym 0.1.25 (the generators and graders of many runs of reinforcement learning with checked rewards).
# The grader of "game_of_life_halting", a yes-or-no task, compares bool(answer) with bool(the right answer), and both are strings: "False" is
# as true as "True". Each answer that is not empty has a reward of 1, the wrong one and "I do not know." too. The task teaches nothing, and
# lifts the mean reward of a mixture that it is part of; as a benchmark every model solves it. circuit_logic, a yes-or-no task too, grades well.
# Guess before it was run: "False" where "True" is right has 0, and so has a text that is neither.
# Seen, 20 items: right, the other and "I do not know." 1.0 each; the same for circuit_logic 1.0, 0.0, 0.0.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile reasoning-gym==0.1.25
venv/bin/python -W ignore - <<'PY'
import reasoning_gym

def rewards(name, pair):
    """Mean reward, over 20 items, of the right answer, of the other of the two and of a text that is neither."""
    data = reasoning_gym.create_dataset(name, seed=7, size=20)
    items = [data[at] for at in range(20)]
    assert {str(item["answer"]) for item in items} == set(pair), "an item has another answer"
    other = {pair[0]: pair[1], pair[1]: pair[0]}
    texts = [lambda item: str(item["answer"]), lambda item: other[str(item["answer"])], lambda item: "I do not know."]
    return [sum(data.score_answer(text(item), item) for item in items) / 20 for text in texts]

found = {"game_of_life_halting": rewards("game_of_life_halting", ("True", "False")), "circuit_logic": rewards("circuit_logic", ("0", "1"))}
print("right, the other, neither:", found)
assert found == {"game_of_life_halting": [1.0, 1.0, 1.0], "circuit_logic": [1.0, 0.0, 0.0]}, "graded otherwise now"
PY
