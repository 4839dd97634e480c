#!/usr/bin/env bash
# reasoning-gym 0.1.25 (the generators and graders of many runs of reinforcement learning with checked rewards).
# The grader that gcd, lcm, basic_arithmetic, count_primes, number_sequence and dozens more share gives an answer that is not the right one
# the share of its characters that the right one makes up, if it stands in it anywhere, as a part of another number too. So a wrong
# number of more digits has more than the right number in a sentence, with ".0" or with a line end at its end; and "True or
# False" is paid on every item. A policy is taught to put more digits on, and brevity before truth.
# Guess before it was run: 1 for the right number, with blank around it too, and 0, or at most a trace, for a wrong one.
# Seen, right 1: "1" 1.0, "10" 0.5, "11" 0.5, "1\n" 0.5, "1.0" 0.333, "The answer is 1." 0.062. Right -129: "-1290" 0.8. "True or False": 0.308, 0.385.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile reasoning-gym==0.1.25
venv/bin/python -W ignore - <<'PY'
import reasoning_gym

def scores(name, right, texts):
    """Rewards of some texts for the first item of a task that has this right answer."""
    data = reasoning_gym.create_dataset(name, seed=7, size=200)
    item = next(data[at] for at in range(200) if data[at]["answer"] == right)
    return {text: round(data.score_answer(text, item), 3) for text in texts}

one = scores("gcd", "1", ("1", "10", "11", "1\n", "1.0", "The answer is 1."))
minus = scores("basic_arithmetic", "-129", ("-129", "-1290", "The answer is -129."))
both = [scores("course_schedule", right, ("True or False",))["True or False"] for right in ("True", "False")]
print(one, minus, both)
assert one == {"1": 1.0, "10": 0.5, "11": 0.5, "1\n": 0.5, "1.0": 0.333, "The answer is 1.": 0.062}, "graded otherwise now"
assert minus == {"-129": 1.0, "-1290": 0.8, "The answer is -129.": 0.211} and both == [0.308, 0.385], "graded otherwise now"
PY
