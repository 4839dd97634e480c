#!/usr/bin/env bash
# polars 2.1.0.
# read_ndjson() takes its columns from the first 100 rows. A field that appears in a later row is left out of the table, without a word: a reason that judges give for
# failures alone, a second reference, a field that a newer version of a script writes behind the rows of an older one. The same rows as
# one JSON array are refused by read_json() for just that, and a number of another kind (4.5 among whole scores) is refused by both, so
# that one takes what loads for whole. Which fields there are hangs on the order of rows.
# Guess before it was run: the field is a column that is null before, or the file is refused.
# Seen, a field from row 100 on (of 0 to 149): read_ndjson columns ["id"], scan_ndjson too; from row 99 on: ["id", "error"]; read_json: refused.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile polars==2.1.0
venv/bin/python - <<'PY'
import json
import polars

def columns(first, read=polars.read_ndjson):
    """Columns that are read of 150 rows, of which those from the place `first` on have a second field."""
    rows = [{"id": place} | ({"error": "no score"} if place >= first else {}) for place in range(150)]
    with open("rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with open("rows.json", "w") as file:
        json.dump(rows, file)
    try:
        return read("rows.json" if read is polars.read_json else "rows.jsonl").columns
    except polars.exceptions.ComputeError:
        return "refused"

whole = columns(100, lambda path: polars.read_ndjson(path, infer_schema_length=None))
found = {first: columns(first) for first in (99, 100)}
scanned, array = columns(100, lambda path: polars.scan_ndjson(path).collect()), columns(100, polars.read_json)
print(found, "scanned:", scanned, "array:", array, "all rows looked at:", whole)
assert found[99] == whole == ["id", "error"] and array == "refused"
assert found[100] == scanned == ["id"], "a later field is kept, or refused, now"
PY
