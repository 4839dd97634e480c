"""A model in a GGUF file becomes a folder with its very weights, its template and its stops; what cannot is told in a line."""

import json
import os

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from selfreward.checks.reach import look_up
from selfreward.cli import app
from selfreward.engines import convert_gguf, find_gguf, load_checkpoint
from selfreward.errors import SelfRewardError
from selfreward.recipe import Recipe
from selfreward.records import file_hash
from tinygguf import HEADS, HIDDEN, LAYERS, TEMPLATE, TOKENS, gguf, write_file


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_file(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory):
    made = tmp_path_factory.mktemp("made") / "tiny"
    convert_gguf(file, made)
    return made


def in_file(file, name):
    """A tensor as gguf's own reader has it."""
    found = next(each for each in gguf.GGUFReader(file).tensors if each.name == name)
    return gguf.dequantize(found.data, found.tensor_type).reshape([int(size) for size in reversed(found.shape)])


def test_the_weights_are_those_of_the_file(file, folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    own = {name: weight.numpy() for name, weight in model.state_dict().items()}
    assert np.array_equal(own["model.embed_tokens.weight"], in_file(file, "token_embd.weight"))
    assert np.array_equal(own["lm_head.weight"], in_file(file, "output.weight"))
    assert np.array_equal(own["model.layers.1.mlp.down_proj.weight"], in_file(file, "blk.1.ffn_down.weight"))
    assert np.array_equal(own["model.norm.weight"], in_file(file, "output_norm.weight"))
    # llama.cpp keeps a head's rows of queries and keys in pairs; transformers keeps its two halves.
    rows = in_file(file, "blk.0.attn_q.weight").reshape(HEADS, HIDDEN // HEADS // 2, 2, HIDDEN).swapaxes(1, 2)
    assert np.array_equal(own["model.layers.0.self_attn.q_proj.weight"], rows.reshape(HIDDEN, HIDDEN))
    assert model.dtype == torch.float32 and not hasattr(model.config, "quantization_config")


def test_template_tokens_and_all_stops_are_kept(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == TEMPLATE
    assert [tokenizer.convert_ids_to_tokens(at) for at in range(6)] == TOKENS[:6]
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2, 5]


def by_the_converter(length=8192):
    """llama.cpp's factors of a stretch by 8: 1 for short waves, 8 for long ones, and between them a mean by inverse length."""
    for at in range(HIDDEN // HEADS // 2):
        wave = 2 * np.pi * 500_000 ** (at / (HIDDEN // HEADS // 2))
        smooth = min(max((length / wave - 1) / (4 - 1), 0), 1)
        yield 1 / ((1 - smooth) / 8 + smooth)


def test_the_stretched_positions_of_llama_3_are_those_of_the_file(tmp_path):
    factors = list(by_the_converter())
    assert factors[:2] == [1, 1] and 1 < factors[2] < 8 and factors[3] == 8
    convert_gguf(write_file(tmp_path / "3.gguf", factors=factors), tmp_path / "made")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "made").model.rotary_emb.inv_freq.numpy()
    assert np.allclose(found * factors, 500_000 ** (-np.arange(4) / 4), rtol=1e-4)
    convert_gguf(write_file(tmp_path / "plain.gguf", factors=[1] * 4), tmp_path / "plain")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "plain").model.rotary_emb.inv_freq.numpy()
    assert np.allclose(found, 500_000 ** (-np.arange(4) / 4), rtol=1e-4)


def test_the_same_file_gives_the_same_bytes(file, folder, tmp_path):
    convert_gguf(file, tmp_path / "again")
    assert {each.name: file_hash(each) for each in (tmp_path / "again").iterdir()} == {
        each.name: file_hash(each) for each in folder.iterdir()
    }


def test_the_command_converts_and_overwrites_nothing(file, tmp_path):
    told = CliRunner().invoke(app, ["convert", str(file), str(tmp_path / "out")])
    assert told.exit_code == 0 and (tmp_path / "out" / "model.safetensors").exists()
    told = CliRunner().invoke(app, ["convert", str(file), str(tmp_path / "out")])
    assert told.exit_code == 1 and "is there already" in told.output


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(SelfRewardError, match=r"no\.gguf: there is no such file"):
        convert_gguf(tmp_path / "no.gguf", tmp_path / "out")


def torn(path):
    write_file(path)
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (torn, "is no whole GGUF file"),
        (os.mkfifo, "a pipe stands where a file should be"),
        (lambda path: path.write_bytes(b"GGUF"), "is no whole GGUF file"),
        (lambda path: path.write_text("no such thing"), "is no whole GGUF file"),
        (lambda path: write_file(path, parts=3), "is one of 3 parts of a model. Put them together: llama-gguf-split --merge"),
        (lambda path: write_file(path, architecture="rwkv6"), "holds no model that transformers can read (GGUF model with arch"),
        (lambda path: write_file(path, template="{{ raise_exception('no') }}"), "its chat template refuses"),
        (lambda path: write_file(path, scaling=gguf.RopeScalingType.YARN), "stretches positions in a way"),
        (lambda path: write_file(path, factors=by_the_converter(4096)), "stretches positions in a way"),
        (lambda path: write_file(path, factors=[1, 1, 8]), "stretches positions in a way"),
    ],
    ids=["torn", "a pipe", "cut short", "text", "split", "architecture", "template", "yarn", "another length", "fewer factors"],
)
def test_a_file_that_cannot_be_converted_is_told_of_in_a_line_and_leaves_nothing(make, says, tmp_path):
    path = tmp_path / "x.gguf"
    make(path)
    with pytest.raises(SelfRewardError) as caught:
        convert_gguf(path, tmp_path / "out")
    assert says in str(caught.value) and not list(tmp_path.glob("out*"))
    (problem,) = look_up(str(path), ("M0",), Recipe(base=str(path), data={"ift": {"path": "x"}})).problems
    assert says.partition(". ")[0] in problem.what


def test_a_name_means_a_file_or_a_folder_that_has_nothing_else(file, tmp_path):
    assert find_gguf(str(file)) == file and find_gguf(str(file.parent)) == file
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "a.gguf").touch()
    assert find_gguf(str(tmp_path)) is None
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "b.gguf").touch()
    with pytest.raises(SelfRewardError, match="has 2 GGUF files"):
        find_gguf(str(tmp_path))


def test_no_library_shows_a_bar_while_a_file_is_converted(file, tmp_path, capfd):
    convert_gguf(file, tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_check_knows_such_a_base_and_another_part_is_to_be_converted_first(file):
    found = look_up(str(file), ("M0",), Recipe(base=str(file), data={"ift": {"path": "x"}}))
    assert not found.problems and found.shape.layers == LAYERS and found.talk.own
    (problem,) = look_up(str(file), ("judge",), Recipe(base="org/x", data={"ift": {"path": "x"}})).problems
    assert "selfreward convert" in problem.now
    with pytest.raises(SelfRewardError, match="only a run's base is converted automatically"):
        load_checkpoint("judge", str(file))


def test_check_says_of_a_file_without_a_template_how_it_is_asked_and_the_way_out(tmp_path):
    plain = write_file(tmp_path / "plain.gguf", template=None)
    (warning,) = look_up(str(plain), ("M0",), Recipe(base=str(plain), data={"ift": {"path": "x"}})).problems
    assert warning.level == "warning" and "has no chat template" in warning.what
    assert "chat_template.jinja" in warning.now and "selfreward convert" in warning.now
