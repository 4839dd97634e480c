"""Arm (a): selfreward itself, by the stages that a run goes through, with their planning, hashing, writing and reading back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from selfreward.engines import Model, Trainer, load_checkpoint, open_model
from selfreward.errors import terminal
from selfreward.lab.speed.ledger import Ledger
from selfreward.lab.speed.work import Work, by_score, score
from selfreward.recipe import BackendConfig, DPOConfig, JudgeConfig, LoRAConfig, ServerConfig, TrainerConfig
from selfreward.records import Checkpoint, Completion, Judgment, Prompt, Request, Sampling, preference_texts
from selfreward.rundir import JUDGMENTS, PAIRS, PROMPTS, RESPONSES, Progress, RunDir, Runner
from selfreward.steps import Answering, Grader, ask_candidates, choose_pairs


def selfreward(
    work: Work, ledger: Ledger, folder: Path, train: bool, start: Checkpoint | None = None,
    servers: Mapping[str, ServerConfig] | None = None,
) -> None:  # fmt: skip
    """One iteration, from prompts to M2; without `train` up to the pairs.

    `start`: a model in place of the work's, perhaps one of `servers`.
    """
    start = start or load_checkpoint("M1", str(work.model))
    rundir = RunDir(folder / "run", {"bench": True, "seed": work.seed})
    with open(os.devnull, "w") as nowhere:
        progress = Progress(rundir.logs, console=terminal(file=nowhere))
        run = Runner(rundir, lambda model: _engine(work, ledger, model, servers or {}), lambda: _trainer(work, ledger), progress)
        try:
            _iterate(work, ledger, run, start, train)
        finally:
            run.unload()
            rundir.close()


def _iterate(work: Work, ledger: Ledger, run: Runner, start: Checkpoint, train: bool) -> None:
    it = run["M2"]
    with ledger.stage("candidates"):
        prompts = it.keep(PROMPTS, ([Prompt(text=text, source="seed") for text in work.texts()], []))
        sampling = Sampling(temperature=work.temperature, top_p=work.top_p, max_tokens=work.candidate_tokens)
        responses = list(it.ask(RESPONSES, Answering(sampling, work.n), prompts, start))
    ledger.sampled["candidates"] += it.receipt(RESPONSES)["completion_tokens"]
    with ledger.stage("judging"):
        grader, texts = _grader(work, run.dir.path / "rubric.txt"), {prompt.id: prompt.asked for prompt in prompts}
        candidates = [(texts[response.prompt_id], response) for response in responses]
        judgments = ask_candidates(it, candidates, grader, start)
    ledger.sampled["judging"] += it.receipt(JUDGMENTS)["completion_tokens"]
    with ledger.stage("dpo"):
        pairs = it.keep(PAIRS, choose_pairs(prompts, responses, grader.mean_scores(judgments), by_score))
        if train:
            examples = preference_texts(pairs, prompts, responses)
            it.train_dpo(examples, start, start, DPOConfig(batch_size=work.batch, dropout=0.0), work.seed)


def _grader(work: Work, rubric: Path) -> Grader:
    rubric.write_text(work.rubric(), encoding="utf-8")
    config = JudgeConfig(
        rubric=str(rubric), samples=work.k, max_tokens=work.judgment_tokens, temperature=work.temperature,
        top_p=work.top_p, min_valid=work.k,
    )  # fmt: skip
    return StandIn(config)


class StandIn(Grader):
    """A judge whose judgments have the score that stands in for the one that a random model cannot write."""

    def read(self, request: Request, completion: Completion) -> Judgment:
        """A judgment that counts, whatever was written."""
        return Judgment(
            response_id=request.about, judge=request.model, sample=request.index, rationale=completion.text,
            outcome="scored", score=score(completion.text),
        )  # fmt: skip


def _engine(work: Work, ledger: Ledger, model: Checkpoint, servers: Mapping[str, ServerConfig]) -> Model:
    engine = ledger.timed(open_model)(model, BackendConfig.model_validate({"device": work.device, "dtype": work.dtype}), servers)
    if not servers:
        ledger.count(getattr(engine, "model"))  # noqa: B009  # of the hf engine, which the protocol does not know
    return ledger.time_inside(engine, "prepare", "generate")  # type: ignore[no-any-return]


def _trainer(work: Work, ledger: Ledger) -> Trainer:
    from selfreward.engines.training.trl import TRLTrainer

    config = TrainerConfig.model_validate({"dtype": work.dtype, "lora": LoRAConfig() if work.lora else None})
    return ledger.time_inside(TRLTrainer(config=config), "dpo")  # type: ignore[no-any-return]
