#!/usr/bin/env bash
# xgrammar 0.2.9, llguidance 1.9.1, outlines-core 0.2.14, lm-format-enforcer 0.11.3, jsonschema 4.26.0 (torch 2.13.0, transformers 5.23.0).
# A judge is held to its scale by the JSON Schema of its verdict, {"type": "integer", "minimum": 0, "maximum": 5}. llguidance and xgrammar keep both ends;
# outlines-core and lm-format-enforcer pass over them without a word, so that the judge can write 100 and -1, which the schema that it was "bound" to refuses.
# Half points (multipleOf .5) are kept by llguidance alone; xgrammar keeps multiples of integers, and warns of those of numbers on stderr. Where the
# schema names the reason before the score, so that the judge thinks first, lm-format-enforcer lets it write the score first. An enum of scores
# (0, 1, ..., 5) is kept by all four.
# Guess before it was run: whoever cannot keep a bound refuses the schema; and the order is the schema's in all four.
# Seen: minimum 0, maximum 5: llguidance and xgrammar write 0 to 5, the other two 6, 10, 100 and -1 as well; multipleOf .5: 4.7 by all but llguidance;
# {"score": 3, "reason": "good"} for a schema with the reason first: lm-format-enforcer alone.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 xgrammar==0.2.9 llguidance==1.9.1 outlines-core==0.2.14 \
  lm-format-enforcer==0.11.3 jsonschema==4.26.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import json
import re

import jsonschema
import llguidance
import xgrammar
from lmformatenforcer import JsonSchemaParser
from outlines_core.json_schema import build_regex_from_schema

letters, end = [chr(code) for code in range(128)], 128
compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([*letters, "</s>"], stop_token_ids=[end]))


class Letters:
    """One token a letter, in the form that llguidance takes."""

    eos_token_id, bos_token_id, special_token_ids = end, None, [end]
    tokens = [letter.encode() for letter in letters] + [b"</s>"]

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())


reader = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Letters()))


def by_jsonschema(schema, text):
    return jsonschema.Draft202012Validator(schema).is_valid(json.loads(text))


def by_llguidance(schema, text):
    matcher = llguidance.LLMatcher(reader, llguidance.LLMatcher.grammar_from_json_schema(schema))
    assert not matcher.is_error(), matcher.get_error()
    return matcher.try_consume_tokens([*text.encode()]) == len(text) and matcher.is_accepting()


def by_xgrammar(schema, text):
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
    return matcher.accept_string(text) and matcher.accept_token(end)


def by_outlines(schema, text):
    return re.fullmatch(build_regex_from_schema(json.dumps(schema)), text) is not None


def by_enforcer(schema, text):
    parser = JsonSchemaParser(schema)
    for letter in text:
        if letter not in parser.get_allowed_characters():
            return False
        parser = parser.add_character(letter)
    return parser.can_end()


ways = {"jsonschema": by_jsonschema, "llguidance": by_llguidance, "xgrammar": by_xgrammar, "outlines-core": by_outlines, "enforcer": by_enforcer}


def taken(schema, *texts):
    found = {name: [text for text in texts if way(schema, text)] for name, way in ways.items()}
    print(json.dumps(schema), *(f"\n  {name}: {' '.join(some)}" for name, some in found.items()))
    return found


scale = taken({"type": "integer", "minimum": 0, "maximum": 5}, "0", "5", "6", "10", "100", "-1")
assert scale["jsonschema"] == scale["llguidance"] == scale["xgrammar"] == ["0", "5"]
assert scale["outlines-core"] == scale["enforcer"] == ["0", "5", "6", "10", "100", "-1"]
listed = taken({"enum": [0, 1, 2, 3, 4, 5]}, "0", "5", "6", "10", "100", "-1")
assert all(texts == ["0", "5"] for texts in listed.values()), listed
half = taken({"type": "number", "multipleOf": 0.5}, "4.5", "4.7")
assert half["jsonschema"] == half["llguidance"] == ["4.5"]
assert half["xgrammar"] == half["outlines-core"] == half["enforcer"] == ["4.5", "4.7"]
parts = {"reason": {"type": "string"}, "score": {"type": "integer"}}
thinks_first, blurts = '{"reason": "good", "score": 3}', '{"score": 3, "reason": "good"}'
order = taken({"type": "object", "properties": parts, "required": [*parts]}, thinks_first, blurts)
assert order["enforcer"] == [thinks_first, blurts]
assert all(order[name] == [thinks_first] for name in ("llguidance", "xgrammar", "outlines-core"))
PY
