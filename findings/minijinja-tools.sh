#!/usr/bin/env bash
# minijinja 3.0.5 (the engine by which servers written in Rust run chat templates), transformers 5.23.0, jinja2 3.1.6.
# `tojson`, by which templates put tools and the arguments of their calls into a prompt, writes <, >, & and ' as \u003c, \u003e, \u0026 and \u0027
# in minijinja. transformers puts its own tojson in the place of Jinja's and writes them as they are, so that is what models are trained
# on. A description "a user's <id>" or an argument "x > 0 && y" then comes to the model as another text of more tokens, and it learns from earlier calls of
# the dialogue to write escapes. Texts without those four signs are the same. Nothing is raised.
# Guess before it was run: the same text, for both are made for the same templates.
# Seen: transformers {"description": "a user's <id> & more"}, minijinja {"description": "a user\u0027s \u003cid\u003e \u0026 more"}.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile transformers==5.23.0 jinja2==3.1.6 minijinja==3.0.5
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import minijinja
from transformers.utils.chat_template_utils import render_jinja_template

template = "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% for message in messages %}{{ message.content }}{% endfor %}"
messages = [{"role": "user", "content": "it's <b> & \"q\""}]

def both(description):
    tools = [{"description": description}]
    right = render_jinja_template(conversations=[messages], tools=tools, chat_template=template)[0][0]
    found = minijinja.Environment(trim_blocks=True, lstrip_blocks=True).render_str(template, tools=tools, messages=messages)
    print(right, found, sep="\n")
    return right, found

right, found = both("a user's <id> & more")
assert right.startswith('{"description": "a user\'s <id> & more"}\n')
assert found.replace("\\u0027", "'").replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&") == right
assert found != right, "tools are written as they are now"
right, found = both('caf\u00e9 "quoted" \\ 1.5')
assert found == right, "texts without the four signs differ too"
PY
