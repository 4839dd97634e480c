"""Ask running servers what they honour, and print the table of docs/servers.md.

    python scripts/servers_table.py NAME=URL#MODEL … [--extra JSON]

Each is asked some nine short requests, the way `selfreward check` does it; `--extra` goes into every body.
"""

import argparse
import json

from selfreward.engines.sampling.probe import Honours, probe
from selfreward.engines.sampling.server import ServerModel
from selfreward.recipe import ServerConfig
from selfreward.records import Checkpoint

SAID = {True: "yes", False: "no", None: "?"}


def row(name: str, honours: Honours) -> str:
    """A line of the table."""
    drawn = "one answer whatever the seed" if honours.alike else SAID[honours.seed]
    fields = [drawn, *(SAID[value] for value in (honours.temperature, honours.top_p, honours.n, honours.logprobs))]
    return "| " + " | ".join([name, *fields, f"{honours.context:,}" if honours.context else "not told"]) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("servers", nargs="+")
    parser.add_argument("--extra", type=json.loads, default={})
    given = parser.parse_args()
    print("| | seed | temperature 0 | top-p | n | log-probs | context |\n|---|---|---|---|---|---|---|")
    for server in given.servers:
        name, _, address = server.partition("=")
        url, _, model = address.partition("#")
        engine = ServerModel(ServerConfig(url=url, model=model, extra=given.extra, timeout=600))
        print(row(name, probe(engine, Checkpoint(name=model, path=model, fingerprint=model))), flush=True)
        engine.close()


if __name__ == "__main__":
    main()
