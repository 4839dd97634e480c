"""What leaves a run: records as a dataset that trains, a card for every model, and nothing on the hub that was not asked for."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from datasets import get_dataset_config_names, load_dataset
from huggingface_hub.utils import filter_repo_objects
from markdown_it import MarkdownIt
from markupsafe import Markup
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from typer.testing import CliRunner

import selfreward
from selfreward.cli import app
from selfreward.engines.fake import FakeModel, write_like_a_model
from selfreward.engines.training.rows import dpo_row
from selfreward.errors import SelfRewardError, Stopped
from selfreward.records import Judgment, Pair, Prompt, Response, read_jsonl
from selfreward.reports import KINDS, export_run, push, write_cards
from selfreward.reports.card import CARD, without_folders
from selfreward.reports.export import EXPORTED
from selfreward.steps import best_against_worst
from tinymodels import make_model, make_tokenizer, nudge
from tinyrun import go, make_world, quiet, tree

HOSTILE = "</details>| # <script>alert(1)</script> [x](https://evil.example) `y` ![z](z.png)\n---\nlicense: mit\n---\n{{ 7 * 7 }}"
SETTINGS = {
    "iterations": 2, "sft__baseline": True, "responses__n": 4, "prompts__per_iteration": 12, "prompts__unsuited": [],
    "prompts__max_rouge_l": 1.0, "prompts__min_words": 14, "pairs__policy": "test_export:policy",
    "drift": {"sample": 2, "pool": 2, "limits": {"policy.untold": {"above": 0.5}, "people.kendall": {"below": -1, "above": 1}}},
}  # fmt: skip


def write_hostile(request):
    text, finish = write_like_a_model(request)
    return (text if "Score" in text or "verdict" in text else text.replace("\n", f" {HOSTILE}\n", 1) + HOSTILE), finish


def policy(prompt_id, group):
    """A policy whose reasons are as hostile as the texts."""
    return HOSTILE if prompt_id < "6" else best_against_worst(prompt_id, group)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, every text of which is hostile; its folder and that of the base too."""
    world = tmp_path_factory.mktemp("world")
    recipe = make_world(world)
    (world / "base").rename(world / "a_base|<b>*x*")
    recipe.write_text(recipe.read_text().replace('base = "base"', 'base = "a_base|<b>*x*"'))
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        patch.setattr("selfreward.engines.opening.FakeModel", lambda: FakeModel(write_hostile))
        go(recipe, world / "run", **SETTINGS)
    return world / "run"


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    to = tmp_path_factory.mktemp("export") / "dataset"
    export_run(run, to)
    return to


def load(folder, cache, *config, **more):
    return load_dataset(str(folder), *config, cache_dir=str(cache), **more)


# records


def records(run, kind):
    """Every line of a kind in the folders of a run, with the folder's name."""
    for folder in ("seed", "M0", "SFT", "M1", "M2", "M3"):
        pattern = "*.dropped.jsonl" if kind == "dropped" else f"{kind}.jsonl"
        for file in sorted((run / folder).glob(pattern)):
            yield from ({**json.loads(line), "iteration": folder} for line in file.read_text().splitlines())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pairs"])
def test_what_datasets_loads_is_what_the_run_wrote(run, exported, tmp_path, kind):
    written = list(records(run, kind))
    assert (kind in get_dataset_config_names(str(exported))) == bool(written)
    if written:
        loaded = load(exported, tmp_path, kind)
        assert list(loaded) == [EXPORTED[kind].use if kind in EXPORTED else "train"]
        names = dict.fromkeys(name for line in written for name in line)  # what a line leaves out is null in a table
        told = [{name: line.get(name) for name in names} for line in written]
        assert [loaded[split][n] for split in loaded for n in range(len(written))] == told


def test_the_run_has_records_of_almost_every_kind(run):
    of_select = {"validation", "selection", "selection_responses", "selection_preferences"}
    of_others = {
        *("changed_prompts", "worse_responses", "preferences", "votes", "likelihoods", "likelihoods_before", "likelihoods_m1"),
        *("pairs_ahead", "judgments_added", "meta_judgments", "eft_replayed", "judge_pairs", "checks", "heldout_checks"),
    }
    none = {kind for kind in KINDS if not list(records(run, kind))}
    assert none == {"eft_judgments", "rankings", "heldout_preferences", "judgments_before"} | of_select | of_others


def test_pairs_load_first_as_conversations_with_the_texts_and_scores_of_the_records(run, exported, tmp_path):
    loaded = load(exported, tmp_path, split="train")
    assert set(loaded.unique("iteration")) == {"M2", "M3"} and len(loaded) >= 4
    for name in ("M2", "M3"):
        prompts = {p.id: p.text for p in read_jsonl(run / name / "prompts.jsonl", Prompt)}
        said = {r.id: r.text for r in read_jsonl(run / name / "responses.jsonl", Response)}
        pairs = read_jsonl(run / name / "pairs.jsonl", Pair)
        rows = [row for row in loaded if row["iteration"] == name]
        assert [row["id"] for row in rows] == [pair.id for pair in pairs]
        for row, pair in zip(rows, pairs, strict=True):
            assert row["prompt"] == [{"role": "user", "content": prompts[pair.prompt_id]}]
            assert row["chosen"] == [{"role": "assistant", "content": said[pair.chosen_id]}]
            assert row["rejected"] == [{"role": "assistant", "content": said[pair.rejected_id]}]
            assert (row["score_chosen"], row["score_rejected"]) == (pair.chosen_score, pair.rejected_score)
    assert any(HOSTILE in row["chosen"][0]["content"] for row in loaded)


def test_a_judgment_without_a_score_has_none_in_the_dataset(exported, tmp_path):
    loaded = load(exported, tmp_path, "judgments", split="train")
    assert {row["outcome"] for row in loaded if row["score"] is None} >= {"unparsed", "off_scale"}
    assert {row["outcome"] for row in loaded if row["score"] is not None} == {"scored"}


def test_exported_pairs_train_in_trl_as_they_are_on_the_tokens_that_we_train_on(tmp_path):
    recipe = make_world(tmp_path / "world")
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        go(recipe, tmp_path / "run", responses__n=4, prompts__per_iteration=12)
    export_run(tmp_path / "run", tmp_path / "export", ["pairs"])
    pairs = load(tmp_path / "export", tmp_path / "cache", split="train")
    base, tokenizer = make_model(tmp_path / "base"), make_tokenizer()
    settings = DPOConfig(
        output_dir=str(tmp_path / "out"), max_steps=3, per_device_train_batch_size=2, learning_rate=1e-3, logging_steps=1,
        report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, max_length=None,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base), args=settings, train_dataset=pairs, processing_class=tokenizer
    )
    for row, pair in zip(trainer.train_dataset, pairs, strict=True):
        ours = dpo_row(tokenizer, *(pair[part][0]["content"] for part in ("prompt", "chosen", "rejected")))
        assert {name: row[name] for name in ours} == ours
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4) and len(losses) == 3 and all(map(math.isfinite, losses))
    assert any(not torch.equal(weight, before[name]) for name, weight in trainer.model.named_parameters())


def test_of_a_run_under_way_what_is_finished_is_exported(tmp_path):
    recipe, left = make_world(tmp_path), [14]

    def stopping():
        left[0] -= 1
        return left[0] < 0

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        quiet(patch)
        go(recipe, tmp_path / "run", stopping)
    finished = {path.name.split(".")[0] for path in (tmp_path / "run").glob("*/*.receipt.json")}
    kinds = {table.kind for table in export_run(tmp_path / "run", tmp_path / "export")}
    assert kinds - {"dropped"} == finished & set(KINDS) and 3 <= len(kinds) < len(KINDS) - 5
    assert "pairs" not in kinds
    split = next(iter(load(tmp_path / "export", tmp_path / "cache").values()))
    assert len(split)


def test_what_cannot_be_exported_is_an_error_with_a_way_out(run, exported, tmp_path):
    with pytest.raises(SelfRewardError, match=r"there are no records named pears\. Choose among pairs, .*, prompts"):
        export_run(run, tmp_path / "new", ["pears"])
    with pytest.raises(SelfRewardError, match=r"is not empty\. Delete it, or name another folder with --to"):
        export_run(run, exported)
    with pytest.raises(SelfRewardError, match="has no finished records yet of rankings"):
        export_run(run, tmp_path / "new", ["rankings"])
    with pytest.raises(SelfRewardError, match="is no run folder"):
        export_run(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_record_that_was_edited_is_not_exported(run, tmp_path):
    file = run / "M2" / "judgments.jsonl"
    before = file.read_text()
    score = next(j.score for j in read_jsonl(file, Judgment) if j.score is not None)
    file.write_text(before.replace(f'"score":{score}', '"score":4.25', 1))
    try:
        with pytest.raises(SelfRewardError, match=r"judgments\.jsonl: was changed or damaged"):
            export_run(run, tmp_path / "new", ["judgments"])
    finally:
        file.write_text(before)


# cards


def parts(card):
    """(front matter, the rest)."""
    _, front, rest = card.split("---\n", maxsplit=2)
    return yaml.safe_load(front), rest


def section(card, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)[1]


def test_every_trained_model_has_a_card_when_the_run_ends(run):
    assert sorted(path.parts[-3] for path in run.glob(f"*/model/{CARD}")) == ["M1", "M2", "M3", "SFT"]


def test_a_card_states_lineage_counts_judge_settings_and_versions(run):
    front, card = parts((run / "M3" / "model" / CARD).read_text())
    assert front == {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["self-rewarding", "dpo"]}
    models = {model["name"]: model for model in json.loads((run / "summary.json").read_text())["models"]}
    line = re.findall(r"^\| (\w+) \| `(\w+)` \| (.*) \|$", section(card, "Lineage"), re.MULTILINE)
    assert [(name, print_) for name, print_, _ in line] == [(n, models[n]["fingerprint"]) for n in ("M0", "M1", "M2", "M3")]
    assert line[3][2] == "DPO of M2 on its own pairs, with M2 as the reference"
    data = section(card, "Data")
    for name in ("M2", "M3"):
        loop = models[name]["loop"]
        assert f"| {name} | pairs | {loop['pairs']} |" in data and f"| {name} | prompts | {loop['prompts']} |" in data
        dropped = ", ".join(f"{reason} {count}" for reason, count in loop["dropped_prompts"].items()).replace("_", r"\_")
        assert f"| {name} | prompts | {loop['prompts']} | {dropped} |" in data
    assert "| seed | ift | 6 |" in data and "| seed | eft | 3 |" in data
    assert "the model itself, as it was before each iteration" in section(card, "Judge")
    assert '"beta": 0.1' in section(card, "Settings") and "trl 1." in card
    assert "not stated here" in card and "license" not in front
    baseline = (run / "SFT" / "model" / CARD).read_text()
    assert "| seed | ift | 6 |" in baseline and "| seed | eft |" not in baseline
    assert "supervised fine-tuning of M0 on ift |" in baseline and "No preference pairs" in section(baseline, "Judge")


def test_what_a_model_says_of_itself_stands_apart_from_what_others_measured(run):
    model = json.loads((run / "M3" / "measured.json").read_text())
    card = (run / "M3" / "model" / CARD).read_text()
    others, own = section(card, "Measured by others"), section(card, "Said of itself")
    assert f": {model['true_score']:.3g} (" in others and f": {model['true_score']:.3g} (" not in own
    assert f"judgments: {model['self_score']['value']:.3g} (" in own and "Mean score of its own" not in others
    judges = [re.findall(r"^\| (?:M2|SFT) \| (\w+) \|", part, re.MULTILINE) for part in (others, own)]
    assert [set(found) for found in judges] == [{"truth"}, {"M3"}]
    assert f"| pairwise accuracy, % | {100 * model['pairwise_accuracy']:.3g} (" in others


def is_only_text(card):
    """Nothing in a card is markup but what its template says."""
    front, body = parts(card)
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    flat = [token for top in tokens for token in (top, *(top.children or []))]
    assert not {"html_inline", "html_block", "image"} & {token.type for token in flat}
    assert {token.attrs["href"] for token in flat if token.type == "link_open"} == {"https://arxiv.org/abs/2401.10020"}
    assert "license" not in front and not re.search(r"^license: mit$", body, re.MULTILINE)


def test_nothing_hostile_in_a_card_becomes_markup(run, exported):
    for card in (*run.glob(f"*/model/{CARD}"), exported / CARD):
        is_only_text(card.read_text())
    card = (run / "M3" / "model" / CARD).read_text()
    assert r"(a\_base\|&lt;b&gt;\*x\*)" in section(card, "Lineage")
    assert "alert(1)" in section(card, "Data")  # the reason is there, as text


def test_a_card_of_text_that_is_not_escaped_would_be_caught(run, monkeypatch):
    monkeypatch.setattr("selfreward.reports.render._as_text", Markup)
    monkeypatch.setattr("selfreward.reports.card._write", lambda file, text: text)
    with pytest.raises(AssertionError):
        is_only_text(write_cards(run)[-1])


def test_no_card_tells_of_the_folders_of_this_machine(run, exported):
    for card in (*run.glob(f"*/model/{CARD}"), exported / CARD):
        assert str(run.parent) not in card.read_text() and str(Path(selfreward.__path__[0])) not in card.read_text()
    assert without_folders({"a": ["/x/y/z.txt", "x/y"], "b": 1}) == {"a": ["z.txt", "x/y"], "b": 1}


def test_cards_are_the_same_each_time_and_a_finished_run_with_them_is_still_whole(run):
    recipe = run.parent / "recipe.toml"
    before = tree(run)
    write_cards(run)
    assert tree(run) == before
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        patch.setattr("selfreward.engines.opening.FakeModel", None)  # nothing is asked again
        (run / "M2" / "model" / CARD).unlink()
        go(recipe, run, **SETTINGS)
    assert tree(run) == before


def test_a_model_with_its_card_is_a_folder_that_transformers_loads(tmp_path):
    folder = make_model(tmp_path / "model")
    (folder / CARD).write_text("a card")
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "llama"
    assert AutoTokenizer.from_pretrained(folder).chat_template


# the hub


class Hub:
    """Stands for the hub: writes down what it is asked for."""

    def __init__(self, private=True, fails=None):
        self.calls, self.private, self.fails = [], private, fails

    def __call__(self, **settings):
        assert not settings  # the token is the library's business
        return self

    def create_repo(self, repo_id, **given):
        if self.fails:
            raise self.fails
        self.calls.append(("create_repo", repo_id, given))
        return f"https://hub.example/{repo_id}"

    def repo_info(self, repo_id, **given):
        return type("Info", (), {"private": self.private})

    def upload_folder(self, **given):
        self.calls.append(("upload_folder", given))


@pytest.fixture
def hub(monkeypatch):
    made = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", made)
    return made


@pytest.fixture
def model(tmp_path):
    """A trained model as training leaves it, and what must not leave with it."""
    folder = nudge(make_model(tmp_path / "base"), tmp_path / "M2" / "model")
    (folder / CARD).write_text("---\n---\na card")
    for name in (
        "metrics.jsonl",
        "training_args.bin",
        "optimizer.pt",
        "trainer_state.json",
        "provenance.json",
        "log.txt",
        "x.py",
    ):
        (folder / name).write_text("/home/someone/secret")
    (folder / "logs").mkdir()
    (folder / "logs" / "status.json").write_text("{}")
    (folder / "vocab.txt").symlink_to(tmp_path / "elsewhere.txt")
    (tmp_path / "elsewhere.txt").write_text("secret")
    return tmp_path / "M2"


SENT = [CARD, "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
SENT = sorted([*SENT, "tokenizer_config.json"])


def test_a_push_sends_a_model_and_nothing_else_to_a_private_repository(hub, model):
    result = CliRunner().invoke(app, ["push", str(model), "me/mine", "--yes"])
    assert result.exit_code == 0, result.output
    (created, name, given), (uploaded, sent) = hub.calls
    assert (created, name, given) == ("create_repo", "me/mine", {"repo_type": "model", "private": True, "exist_ok": True})
    assert (uploaded, sent["repo_id"], sent["repo_type"]) == ("upload_folder", "me/mine", "model")
    every = [path.relative_to(sent["folder_path"]).as_posix() for path in sent["folder_path"].rglob("*") if path.is_file()]
    assert sorted(filter_repo_objects(every, allow_patterns=sent["allow_patterns"])) == SENT
    assert len(every) > len(SENT) + 7
    for file in SENT:
        size = (model / "model" / file).stat().st_size
        assert re.search(rf"^ +{size:,} bytes  {re.escape(file)}$", result.output, re.MULTILINE)
    assert "to the private model repository me/mine" in result.output and "https://hub.example/me/mine" in result.output


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_nothing_is_sent_without_a_yes(hub, model, answer):
    result = CliRunner().invoke(app, ["push", str(model), "me/mine"], input=answer)
    assert hub.calls == [] and "Nothing was sent." in result.output and result.exit_code == 0
    assert CliRunner().invoke(app, ["push", str(model), "me/mine"], input="y\n").exit_code == 0 and len(hub.calls) == 2


def test_an_end_of_input_is_no_yes(hub, model):
    assert CliRunner().invoke(app, ["push", str(model), "me/mine"], input="").exit_code != 0
    assert hub.calls == []


def test_a_repository_is_public_only_where_that_is_said(hub, model):
    assert CliRunner().invoke(app, ["push", str(model), "me/mine", "--yes", "--public"]).exit_code == 0
    assert hub.calls[0][2]["private"] is False
    hub.calls.clear()
    hub.private = False
    result = CliRunner().invoke(app, ["push", str(model), "me/mine", "--yes"])
    assert result.exit_code == 1 and "is public; nothing was sent" in result.stderr
    assert [call[0] for call in hub.calls] == ["create_repo"]


def test_an_export_is_sent_as_a_dataset(hub, exported):
    (exported / "notes.txt").write_text("mine")
    assert CliRunner().invoke(app, ["push", str(exported), "me/pairs", "--yes"]).exit_code == 0
    (exported / "notes.txt").unlink()
    assert hub.calls[0][2]["repo_type"] == hub.calls[1][1]["repo_type"] == "dataset"
    sent = hub.calls[1][1]["allow_patterns"]
    assert CARD in sent and "pairs/train.parquet" in sent and "truth/test.parquet" in sent and "notes.txt" not in sent


@pytest.mark.parametrize("path", ["/home/someone/base", "~/models/base", "C:\\models\\base", "/a/b"])
def test_a_settings_file_with_a_path_of_this_machine_is_not_sent(hub, model, path):
    config = json.loads((model / "model" / "config.json").read_text())
    (model / "model" / "config.json").write_text(json.dumps({**config, "inner": [{"_name_or_path": path}]}))
    result = CliRunner().invoke(app, ["push", str(model), "me/mine", "--yes"])
    assert result.exit_code == 1 and f"names the path {path} of this machine" in result.stderr and hub.calls == []


def test_what_is_no_path_stops_no_push():
    for text in ("</s>", "org/name", "https://example.org/a/b", "/", "a/b/c", "~", "{% if a %}/x/{% endif %}"):
        assert not push.LOCAL_PATH.match(text)


def test_what_cannot_be_sent_is_said_in_one_line(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", Hub(fails=RuntimeError("401 Unauthorized\nfor url …")))
    result = CliRunner().invoke(app, ["push", str(model), "me/mine", "--yes"])
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1
    assert "me/mine: the upload failed, or is incomplete (401 Unauthorized). Log in with `hf auth login`" in result.stderr
    (tmp_path / "empty").mkdir()
    with pytest.raises(SelfRewardError, match="holds neither a model nor an exported dataset"):
        push.pack(tmp_path / "empty")
    with pytest.raises(SelfRewardError, match="none: there is no such folder"):
        push.pack(tmp_path / "none")
    (model / "model" / CARD).unlink()
    with pytest.raises(SelfRewardError, match=rf"has no {CARD}.*selfreward export"):
        push.pack(model)


def test_nothing_but_push_writes_to_the_hub():
    writes = re.compile(r"create_repo|upload_|create_commit|push_to_hub|hub_token|delete_repo")
    package = Path(selfreward.__path__[0])
    assert [path.name for path in package.rglob("*.py") if writes.search(path.read_text())] == ["push.py"]


# the commands


def test_export_writes_the_dataset_and_the_cards_and_says_where(run, tmp_path):
    card = run / "M2" / "model" / CARD
    before = card.read_text()
    card.unlink()
    given = ["export", str(run), "--what", "pairs", "--what", "truth", "--to", str(tmp_path / "out")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0 and card.read_text() == before
    lines = result.output.splitlines()
    assert lines[0].startswith(f"{tmp_path}/out/pairs/train.parquet: ") and str(card) in lines
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [CARD, "pairs", "truth"]
    assert Counter(EXPORTED[kind].use for kind in get_dataset_config_names(str(tmp_path / "out"))) == {"train": 1, "test": 1}
