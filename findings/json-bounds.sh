#!/usr/bin/env bash
# outlines-core 0.2.14, lm-format-enforcer 0.11.3, xgrammar 0.2.9, jsonschema 4.26.0 as the judge of validity.
# A judge held to {"score": an integer, minimum 1, maximum 5} by guided decoding is held to an integer and no more by outlines-core
# and lm-format-enforcer: 9, 0, -1 and 55 can be written, and so they can with exclusiveMinimum and exclusiveMaximum, and 1.5 where a number from 0
# to 1 is asked. Both make their automaton without an error for the words they pass over, and honour the bounds of lengths and
# of lists beside them. xgrammar honours the bounds, so that one schema is two scales in two engines.
# Guess before it was run: all three refuse 9, or raise for a word of the schema that they do not support.
# Seen, integers let through of 3, 9, 0, -1, 55: outlines-core all five, lm-format-enforcer all five, xgrammar 3.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0 outlines-core==0.2.14 lm-format-enforcer==0.11.3 xgrammar==0.2.9 jsonschema==4.26.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import json, re
import jsonschema
import xgrammar
from lmformatenforcer import JsonSchemaParser
from outlines_core.json_schema import build_regex_from_schema

compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([chr(code) for code in range(128)] + ["</s>"], stop_token_ids=[128]))

def by_xgrammar(schema, text):
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
    return matcher.accept_string(text) and matcher.accept_token(128)

def by_outlines(schema, text):
    return re.fullmatch(build_regex_from_schema(json.dumps(schema)), text) is not None

def by_enforcer(schema, text):
    parser = JsonSchemaParser(schema)
    for letter in text:
        if letter not in parser.get_allowed_characters():
            return False
        parser = parser.add_character(letter)
    return parser.can_end()

def let_through(accepts, kind, values, **bounds):
    schema = {"type": "object", "properties": {"score": {"type": kind, **bounds}}, "required": ["score"]}
    valid = [value for value in values if jsonschema.Draft202012Validator(schema).is_valid({"score": value})]
    return [value for value in values if accepts(schema, json.dumps({"score": value}))], valid

for accepts in (by_outlines, by_enforcer, by_xgrammar):
    asked = [
        let_through(accepts, "integer", [3, 9, 0, -1, 55], minimum=1, maximum=5),
        let_through(accepts, "integer", [3, 9, 0, -1, 55], exclusiveMinimum=0, exclusiveMaximum=6),
        let_through(accepts, "number", [0.5, 1.5, -0.5], minimum=0, maximum=1),
    ]
    print(accepts.__name__, [passed for passed, _ in asked])
    bounded = accepts is by_xgrammar
    assert all((passed == valid) == bounded for passed, valid in asked), "bounds are met otherwise now"
    assert all(len(passed) in (3, 5) for passed, _ in asked) or bounded
PY
