"""The models behind endpoints, met in `check` and before a run's first token: what each honours of what this recipe asks of it.

Engines of the user's own are met here too: opened once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from selfreward.checks.finding import Finding
from selfreward.checks.judged import unread
from selfreward.engines import assert_opens, outside_model
from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe, SamplingConfig, field_of
from selfreward.records import Example, content_id, readable, write_whole
from selfreward.rundir import Progress

if TYPE_CHECKING:
    from selfreward.engines.sampling.probe import Honours

FROZEN = "frozen judge"
"""The part of a model that grades for the monitors alone."""
GRADES = {"judge", FROZEN}
"""Parts that give scores, `judge.samples` of each response."""
SETTINGS_OF_ITS_OWN = "Look at the server's own settings, give what it needs in extra, or name another server"
ASKED = "servers.json"
"""A file beside the attempts of a run: the servers that were asked before it, and their answers."""


def ask_servers(recipe: Recipe, parts: Mapping[str, tuple[str, ...]], logs: Path, progress: Progress, example: Example) -> None:
    """Ask each server of `recipe` once for all what it honours; `parts` by model. Raises where the run would come to nothing.

    A judge is asked for a judgment of `example` too.
    """
    answers = _read(logs / ASKED)
    for name in [name for name in parts if name in recipe.servers]:
        key = content_id(
            outside_model(name, recipe.servers).fingerprint, parts[name], recipe.judge, recipe.prompts, recipe.pairwise
        )
        if key in answers:
            continue
        honours, found = meet(name, parts[name], recipe, example, progress=progress)
        for finding in found:
            if finding.level == "error":
                raise SelfRewardError(finding.what, finding.where, finding.now)
            progress.say(str(finding))
        answers[key] = f"{name}: {honours}"
        write_whole(logs / ASKED, json.dumps(answers, indent=1))


def meet_own(recipe: Recipe, parts: Iterable[str]) -> None:
    """Open each engine of the user's own once, but not those of other machines. Raises `SelfRewardError` where one cannot be."""
    if not (recipe.cluster and recipe.cluster.address):
        for name in parts:
            if name not in recipe.servers:
                assert_opens(name, field_of(recipe, name))


def meet(
    name: str,
    parts: tuple[str, ...],
    recipe: Recipe,
    example: Example,
    retries: int | None = None,
    progress: Progress | None = None,
) -> tuple[Honours, list[Finding]]:
    """The fields that the server `name` honours in its `parts`, and what is wrong with it; a judge judges `example`.

    `progress` has told what is waited for, and how many tries failed.

    Raises `SelfRewardError` where it does not answer.
    """
    from selfreward.engines.sampling.probe import probe
    from selfreward.engines.sampling.server import ServerModel

    config, model = recipe.servers[name], outside_model(name, recipe.servers)
    engine = ServerModel(config if retries is None else config.model_copy(update={"retries": retries}))
    try:
        with progress.waiting_for(engine, config.url) if progress else nullcontext():
            honours = probe(engine, model)
            found = list(findings(name, parts, recipe, honours))
            if not any(finding.level == "error" for finding in found):
                found += unread(name, parts, recipe, engine, model, example)
            return honours, found
    finally:
        engine.close()


def findings(name: str, parts: tuple[str, ...], recipe: Recipe, honours: Honours) -> Iterator[Finding]:
    """Findings about fields that `recipe` needs of the server `name` in its `parts`, and that the server does not honour."""
    if honours.failed:
        now = "Correct what it names, or name another server"
        yield Finding("error", name, f"does not answer a request of one sentence ({honours.failed})", now)
        return
    if GRADES & {*parts} and recipe.judge.read == "expected" and not honours.logprobs:
        what = 'gives no log-probabilities, which judge.read = "expected" needs'
        yield Finding("error", name, what, 'Set judge.read = "sampled", or name another judge')
    if honours.alike:
        yield from _alike(name, parts, recipe)
    yield from _all_tokens(name, parts, recipe, honours)
    for part, sampling in _samplings(parts, recipe):
        yield from _not_honoured(name, part, sampling, honours)
    yield from _too_many(name, recipe)


def _alike(name: str, parts: tuple[str, ...], recipe: Recipe) -> Iterator[Finding]:
    """One answer whatever the seed, where several different ones are wanted."""
    now = "Make the server sample (docs/servers.md says how, for each server)"
    for part, sampling in _samplings(parts, recipe):
        if part in GRADES and recipe.judge.most > 1 and sampling.temperature > 0:
            what = f"gives every seed the same answer: the {recipe.judge.most} judgments of a response are one judgment"
            yield Finding("error", name, what, f"{now}, or set judge.samples = 1")
        elif sampling.temperature > 0:
            yield Finding("warning", name, f"gives every seed the same answer, as if its temperature ({part}) were 0", now)


def _all_tokens(name: str, parts: tuple[str, ...], recipe: Recipe, honours: Honours) -> Iterator[Finding]:
    """One finding on `top_p`, where the server ignores it, about all parts that set it."""
    told = [f"{part} ({sampling.top_p:g})" for part, sampling in _samplings(parts, recipe) if sampling.top_p < 1]
    if honours.top_p is False and told:
        what = f"ignores top_p: more tokens are sampled from than it allows for {' and for '.join(told)}"
        yield Finding("warning", name, what, SETTINGS_OF_ITS_OWN)


def _not_honoured(name: str, part: str, sampling: SamplingConfig, honours: Honours) -> Iterator[Finding]:
    """Fields that `part` sets and that the server leaves out or refuses."""
    if honours.temperature is False and sampling.temperature == 0:
        yield Finding("warning", name, f"samples at temperature 0 too: its verdicts ({part}) are random", SETTINGS_OF_ITS_OWN)
    if honours.thinks and not sampling.sampling.thinking:
        what = f"thinks although it is not asked to ({part}): its thoughts use up max_tokens, and are not kept"
        way = "Set thinking, or turn it off in extra (docs/servers.md)"
        yield Finding("warning", name, what, way)
    for field in [field for field in honours.refused if getattr(sampling, field, 1) != 1]:
        yield Finding(
            "warning",
            name,
            f"refuses {field} as it is set ({part}): the field is left out",
            f"Set {field} to a value that it takes",
        )
    longest, with_thoughts = sampling.sampling.longest, " with its thoughts" * bool(sampling.sampling.thinking)
    if honours.context and longest >= honours.context:
        what = f"reads and writes {honours.context:,} tokens together, and max_tokens ({part}){with_thoughts} is {longest:,}"
        yield Finding("warning", name, f"{what}: answers are cut shorter", "Lower max_tokens, or give the server more context")


def _too_many(name: str, recipe: Recipe) -> Iterator[Finding]:
    from selfreward.engines.sampling.client import too_many

    if what := too_many(recipe.servers[name]):
        yield Finding("warning", name, what, "Set concurrency to that, or raise the limit of open files (ulimit -n)")


def _samplings(parts: tuple[str, ...], recipe: Recipe) -> list[tuple[str, SamplingConfig]]:
    """The sampling settings of each of `parts`."""
    compares = dict.fromkeys(("selects checkpoints", "measures"), recipe.pairwise)
    tables: dict[str, SamplingConfig] = {**dict.fromkeys(GRADES, recipe.judge), "writer": recipe.prompts, **compares}
    return [(part, tables[part]) for part in parts if part in tables]


def _read(file: Path) -> dict[str, str]:
    """The servers that were asked; one whose note is lost is asked again."""
    try:
        answers = json.loads(readable(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}
