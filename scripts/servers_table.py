"""Ask running servers what they honour, and print the table of docs/servers.md.

    python scripts/servers_table.py NAME=URL#MODEL … [--extra JSON]

Each is asked some nine short requests, the way `selfreward check` does it, and three more: for JSON by a schema, for the ids of
sampled tokens, and with more tokens than a context has. `--extra` goes into every body.
"""

import argparse
import json
from typing import Any

from selfreward.engines.sampling.probe import Honours, probe
from selfreward.engines.sampling.server import ServerModel
from selfreward.errors import SelfRewardError
from selfreward.recipe import ServerConfig
from selfreward.records import Checkpoint, Completion, Message, Request, Sampling

SAID = {True: "yes", False: "no", None: "?"}
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "score": {"enum": [1, 2, 3]}},
    "required": ["city", "score"], "additionalProperties": False,
}  # fmt: skip
"""A small model that is not held to it would not keep to it."""
HEAD = ("seed", "temperature 0", "top-p", "n", "log-probs", "JSON schema", "ids", "context", "a context's tokens, and 64 more")


def ask(engine: ServerModel, text: str, **more: Any) -> Completion | str:
    """The completion of one request, or why the server answers none."""
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=more.pop("max_tokens", 64))
    asked = Request(
        about="table", index=0, messages=(Message(role="user", content=text),), sampling=sampling, seed=1, model="m", **more
    )
    try:
        return next(iter(engine.generate([asked])))
    except SelfRewardError as error:
        return error.what


def keeps_to_schema(engine: ServerModel) -> bool:
    """Tell whether answers that ended by themselves are JSON of the schema; in white space a model may run on to its limit."""
    asked = [
        ask(engine, text, json_schema=json.dumps(SCHEMA)) for text in ("Tell me about Rome.", "Write a poem.", "What is 3 + 4?")
    ]
    ended = [answer.text for answer in asked if isinstance(answer, Completion) and answer.finish == "stop"]
    return bool(ended) and all(map(_fits, ended)) and "response_format" not in engine.dialect.without


def _fits(text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and found.keys() == set(SCHEMA["required"]) and found["score"] in (1, 2, 3)


def longest(engine: ServerModel, context: int | None) -> str:
    """Tell what a server makes of a short prompt that asks for as many tokens as the context has, and 64 more."""
    answer = ask(engine, "Say yes.", max_tokens=(context or 1024) + 64)
    return "answered" if isinstance(answer, Completion) and answer.finish in ("stop", "length") else "not answered"


def row(name: str, honours: Honours, engine: ServerModel) -> str:
    """A line of the table."""
    drawn = "one answer whatever the seed" if honours.alike else SAID[honours.seed]
    fields = [drawn, *(SAID[value] for value in (honours.temperature, honours.top_p, honours.n, honours.logprobs))]
    with_ids = ask(engine, "Say yes.", top_logprobs=1)
    ids = isinstance(with_ids, Completion) and with_ids.ids is not None
    fields += [SAID[keeps_to_schema(engine)], SAID[ids], f"{honours.context:,}" if honours.context else "not told"]
    return "| " + " | ".join([name, *fields, longest(engine, honours.context)]) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("servers", nargs="+")
    parser.add_argument("--extra", type=json.loads, default={})
    given = parser.parse_args()
    print(f"| | {' | '.join(HEAD)} |\n|---{'|---' * len(HEAD)}|")
    for server in given.servers:
        name, _, address = server.partition("=")
        url, _, model = address.partition("#")
        engine = ServerModel(ServerConfig(url=url, model=model, extra=given.extra, timeout=600))
        print(row(name, probe(engine, Checkpoint(name=model, path=model, fingerprint=model)), engine), flush=True)
        engine.close()


if __name__ == "__main__":
    main()
