#!/usr/bin/env bash
# duckdb 2.0.1.
# read_json() finds the type of a column in the first 20,480 rows of at most 32 files. Where scores are whole up to there, the column is of whole
# numbers, and a 4.7 that comes later is rounded to 5, 4.5 and 0.5 to the even neighbour 4 and 0, without a word. A folder with a file for each of 60
# prompts, of which the 33rd is the first with a judge's half point, is enough. A field that the sample did not have is an
# error, so that one feels safe. Means, ties, margins and the choice of pairs are of other scores than the files hold; sample_size=-1 reads them right.
# Guess before it was run: the column is of floats, or a number that does not fit is an error, as polars has it.
# Seen: 60 files, 40 with 4 and 20 with 4.7: BIGINT, mean 4.333 (4.233); one file, [0.5, 1.5, 2.5, 4.5, 4.7] after 20,480 of 4: [0, 2, 2, 4, 5].
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile duckdb==2.0.1
venv/bin/python - <<'PY'
import json
import os
import duckdb

def write(path, scores):
    with open(path, "w") as file:
        file.writelines(json.dumps({"place": place, "score": score}) + "\n" for place, score in enumerate(scores))

def read(source, what):
    return duckdb.sql(f"SELECT {what} FROM {source}").fetchall()

os.mkdir("judged")
for prompt in range(60):
    write(f"judged/{prompt:02}.jsonl", [4 if prompt < 40 else 4.7])
late = [0.5, 1.5, 2.5, 4.5, 4.7]
write("long.jsonl", [4] * 20480 + late)
many = read("read_json('judged/*.jsonl')", "any_value(typeof(score)), round(avg(score), 3)")
whole = read("read_json('judged/*.jsonl', maximum_sample_files=60)", "any_value(typeof(score)), round(avg(score), 3)")
one, all_of_it = ([row[0] for row in read(f"read_json('long.jsonl'{way}) WHERE place >= 20480 ORDER BY place", "score")] for way in ("", ", sample_size=-1"))
print("60 files:", many, "all sampled:", whole, "one file:", one, "all sampled:", all_of_it)
assert whole == [("DOUBLE", 4.233)] and all_of_it == late
assert many == [("BIGINT", 4.333)] and one == [0, 2, 2, 4, 5], "later fractions are read otherwise now"
PY
