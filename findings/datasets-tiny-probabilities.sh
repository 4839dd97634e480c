#!/usr/bin/env bash
# datasets 5.2.0, pyarrow 26.0.1, pandas 3.1.1.
# Dataset.to_json() writes ten digits behind the point and no exponents. A probability below 5e-11, as a sure judge or policy gives to
# all words but one, is written 0.0, whose logarithm is minus infinity; 2.34e-9 keeps two digits, and a log-probability of -2e-11 becomes 0. The same rows
# by to_csv, to_parquet or json.dumps come back as they were. Expected scores, KL and importance weights computed again
# from the file are others, or not numbers. double_precision=15, handed through to pandas, moves the point and does not mend it.
# Guess before it was run: a float in JSON is written so that it is read back the same, as Python's json does.
# Seen: [0.5, 2.345678e-09, 4e-11, 1e-12] comes back as [0.5, 2.3e-09, 0.0, 0.0]; -2e-11 as 0.0; by parquet and csv the same as before.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" HF_DATASETS_DISABLE_PROGRESS_BARS=1 venv/bin/python - <<'PY'
import json
import math
from datasets import Dataset

chances, sure = [0.5, 2.345678e-09, 4e-11, 1e-12], [math.log1p(-2e-11)] * 4
rows = Dataset.from_dict({"chance": chances, "sure": sure})
rows.to_json("rows.jsonl"), rows.to_parquet("rows.parquet"), rows.to_csv("rows.csv")
with open("rows.jsonl") as file:
    written = [json.loads(line) for line in file]
again = {"json": written, "parquet": list(Dataset.from_parquet("rows.parquet")), "csv": list(Dataset.from_csv("rows.csv"))}
found = {kind: ([row["chance"] for row in read], read[0]["sure"]) for kind, read in again.items()}
print(found, "meant:", (chances, sure[0]))
assert found["parquet"] == found["csv"] == (chances, sure[0]) and json.loads(json.dumps(chances)) == chances
assert found["json"] == ([0.5, 2.3e-09, 0.0, 0.0], 0.0), "floats are written otherwise to JSON now"
PY
