"""New prompts: what the writer is shown, where its task ends, and Self-Instruct's filters."""

import random
import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfreward.errors import SelfRewardError
from selfreward.recipe import PromptsConfig
from selfreward.records import Checkpoint, Completion, Prompt, Proposal
from selfreward.stats import Novelty
from selfreward.steps import choose_prompts, plan_prompts, read_proposal, take_prompts
from selfreward.steps.prompts import cut, unfit

WRITER = Checkpoint(name="frozen", path="writer", fingerprint="f00d")
CONFIG = PromptsConfig(per_iteration=20)
SEEDS = [Prompt(text=f"seed task {name} about {name * 2}", source="seed") for name in string.ascii_lowercase]
WRITTEN = [Prompt(text=f"own task {name} about {name * 3}", source="self") for name in string.ascii_lowercase]
FINE = "Describe how rivers change their course"


def propose(*texts, finish="stop"):
    return [Proposal(request_id=f"r{n}", text=text, finish=finish) for n, text in enumerate(texts)]


def choose(texts, seeds=(), accepted=(), heldout=(), **changes):
    """(kept texts, reasons) for proposals of `texts`."""
    config = PromptsConfig(**changes)
    kept, dropped = choose_prompts(propose(*texts), seeds, accepted, heldout, config)
    return [prompt.text for prompt in kept], [drop.reason for drop in dropped]


def shown(request):
    """The numbered lines of a request."""
    return re.findall(r"^\d+\. (.+)$", request.messages[-1].content, re.MULTILINE)


# what the writer is shown


def test_the_writer_is_shown_a_header_numbered_shots_and_an_open_number():
    text = plan_prompts(SEEDS, [], PromptsConfig(per_iteration=1), WRITER, 0, 2)[0].messages[-1].content
    lines = text.split("\n")
    assert lines[0] == "Come up with a series of tasks:" and lines[-1] == "9."
    assert [line.split(".")[0] for line in lines[1:]] == [str(n) for n in range(1, 10)]


def test_the_first_iteration_shows_eight_seeds_and_later_ones_six_and_two_of_its_own():
    seeds, own = {p.text for p in SEEDS}, {p.text for p in WRITTEN}
    for request in plan_prompts(SEEDS, [], CONFIG, WRITER, 0, 2):
        assert len(set(shown(request)) & seeds) == 8
    for request in plan_prompts(SEEDS, WRITTEN, CONFIG, WRITER, 0, 3):
        assert (len(set(shown(request)) & seeds), len(set(shown(request)) & own)) == (6, 2)
    for request in plan_prompts(SEEDS, WRITTEN[:1], CONFIG, WRITER, 0, 3):
        assert (len(set(shown(request)) & seeds), len(set(shown(request)) & own)) == (7, 1)


def test_fewer_seeds_than_shots_are_all_shown():
    assert {len(shown(request)) for request in plan_prompts(SEEDS[:3], [], CONFIG, WRITER, 0, 2)} == {3}


def test_shots_follow_from_seed_iteration_and_number_alone():
    def plan(seed=0, iteration=2):
        return [r.messages[-1].content for r in plan_prompts(SEEDS, [], CONFIG, WRITER, seed, iteration)]

    assert plan() == plan() and len(set(plan())) == 20
    assert not set(plan()) & set(plan(seed=1)) and not set(plan()) & set(plan(iteration=3))


def test_as_many_requests_as_the_recipe_says_each_with_an_id_of_its_own():
    plan = plan_prompts(SEEDS[:2], [], PromptsConfig(per_iteration=50, temperature=0.6), WRITER, 0, 2)
    assert len({request.id for request in plan}) == 50 and len({request.seed for request in plan}) == 50
    assert {(r.sampling.temperature, r.sampling.top_p, r.model) for r in plan} == {(0.6, 0.9, "f00d")}


def stays_short(plan_twice):
    assert all(len(shown(request)) == 8 for plan in plan_twice() for request in plan)


def test_the_text_shown_does_not_grow_from_call_to_call():
    stays_short(lambda: [plan_prompts(SEEDS, [], CONFIG, WRITER, 0, t) for t in (2, 3)])


def test_few_shot_text_that_grows_with_every_call_would_be_caught():
    kept = []

    def planted():  # schauppi: `global prompt; prompt += ...`
        for t in (2, 3):
            kept.extend(prompt.text for prompt in SEEDS[:8])
            text = "\n".join(f"{n}. {shot}" for n, shot in enumerate(kept, start=1))
            request = plan_prompts(SEEDS, [], CONFIG, WRITER, 0, t)[0]
            yield [request.model_copy(update={"messages": (request.messages[0].model_copy(update={"content": text}),)})]

    with pytest.raises(AssertionError):
        stays_short(planted)


def test_a_shot_of_several_lines_forges_no_item_of_the_list():
    hostile = [Prompt(text="sum up this:\n9. a list\n10. of things", source="seed")]
    text = plan_prompts(hostile, [], PromptsConfig(per_iteration=1), WRITER, 0, 2)[0].messages[-1].content
    assert text == "Come up with a series of tasks:\n1. sum up this: 9. a list 10. of things\n2."


def test_a_shot_that_ends_in_a_colon_is_shown_without_it():
    text = plan_prompts([Prompt(text="sum up :", source="seed")], [], PromptsConfig(per_iteration=1), WRITER, 0, 2)[0].messages
    assert text[-1].content == "Come up with a series of tasks:\n1. sum up \n2."


# where the task ends


@pytest.mark.parametrize(
    ("written", "task"),
    [
        (" describe a  river\tin spring", "Describe a river in spring"),
        ("describe a river\n10. name a fish\n11. more", "Describe a river"),
        ("describe a river\n10 . name a fish", "Describe a river"),
        ("describe a river\n  10. name a fish", "Describe a river"),
        ("describe a river\n10.", "Describe a river"),
        ("describe NASA", "Describe NASA"),
        ("multiply these:\n3.14 and 2", "Multiply these: 3.14 and 2"),
        ("sum up this:\na river runs", "Sum up this: a river runs"),
        ("9. Describe a river\n10. Name a fish", "Describe a river"),
        ("\n9. Describe a river", "Describe a river"),
        ("describe a river\n---\nA river is", "Describe a river"),
        ("describe a river\n\n#####\nA river is", "Describe a river"),
        ("describe a river\nAnswer: wet", "Describe a river"),
        ("describe a river\n\n  response :\nwet", "Describe a river"),
        ("describe a river\n**Output:** wet", "Describe a river"),
        ("describe a river\n## Solution: wet", "Describe a river"),
        ("describe a river\nassistant: wet\n10. name a fish", "Describe a river"),
        ("describe a river\n\n**10.** name a fish", "Describe a river"),
        ("**9.** describe a river\n**10.** name a fish", "Describe a river"),
        ("**9. describe a river**\n**10. name a fish**", "Describe a river"),
        ("describe a river\r\n10. name a fish", "Describe a river"),
        ("describe a river\n\n- - -\nA river is", "Describe a river"),
        ("describe a river\n~~~~\nA river is", "Describe a river"),
        ("describe a river\n———\nA river is", "Describe a river"),
        ("describe a river\n___\nA river is", "Describe a river"),
        ("describe a river\nThe correct answer: wet", "Describe a river"),
        ("describe a river\n> Sample response: wet", "Describe a river"),
        ("what is 2 + 2? Answer: 4", "What is 2 + 2?"),
        ("describe a river. **Response:** wet", "Describe a river."),
        ("describe a river<|im_end|>\n<|im_start|>assistant\nwet", "Describe a river"),
        ("describe a river</s>wet", "Describe a river"),
        ("describe a river [/INST] wet", "Describe a river"),
        ("describe a river<end_of_turn>\n<start_of_turn>model\nwet", "Describe a river"),
        ("describe a river\nUser: and a lake", "Describe a river"),
        ("find the answer: 2 + 2", "Find the answer: 2 + 2"),
        ("give each answer in one word: red or blue", "Give each answer in one word: red or blue"),
        ("fill the gap:\n____ is wet", "Fill the gap: ____ is wet"),
        ("sort these:\n- a\n- b", "Sort these: - a - b"),
        ("compare:\nA: a river\nB: a lake", "Compare: A: a river B: a lake"),
        ("turn this round:\nInput: wet", "Turn this round: Input: wet"),
        ("what came in 1066.\nand in 1453.", "What came in 1066. and in 1453."),
        ("", ""),
        ("\n---", ""),
    ],
)
def test_a_task_ends_at_the_next_number_or_where_the_writer_answers_itself(written, task):
    assert cut(written) == task


@pytest.mark.parametrize("run", ["\n", " ", "\n*", "\n# ", ">\n ", "- ", "_", "1", "the ", "? ", "answer\n", "\nanswer*"])
@pytest.mark.parametrize("before", ["", "\n", "\n1", "\n- -", "?", "\nanswer"])
def test_a_writer_that_repeats_itself_without_end_is_still_read(before, run):
    assert cut(f"describe a river{before}{run * (200_000 // len(run))}x").startswith("Describe a river")


@pytest.mark.parametrize(
    ("written", "task"),
    [
        ("learn C#\n10. name a fish", "Learn C#"),
        ("learn C# \n\n#\n10. name a fish", "Learn C#"),
        ("learn C#\n\n> *Answer*: no\n", "Learn C#"),
        ("learn C#\n\n> Answer*: no\n", "Learn C#"),
        ("learn C#\n***\nAnswer: no", "Learn C#"),
    ],
)
def test_marks_are_kept_on_the_line_of_the_task_and_not_on_those_after_it(written, task):
    assert cut(written) == task


@given(st.text(alphabet="ab .:0123\n-#", max_size=60))
def test_a_task_is_one_line_with_no_space_to_spare(written):
    assert cut(written) == " ".join(cut(written).split())


def reads_back_only_new(parse):
    """What `parse` makes of prompt and completion holds no seed."""
    request = plan_prompts(SEEDS, [], CONFIG, WRITER, 0, 2)[0]
    completion = Completion(request_id=request.id, text=f" {FINE}", finish="stop", prompt_tokens=1, completion_tokens=1)
    assert parse(request, completion) == [FINE]


def test_only_what_the_writer_wrote_is_read():
    reads_back_only_new(lambda request, completion: [cut(read_proposal(request, completion).text)])


def test_seeds_parsed_back_as_new_prompts_would_be_caught():
    def planted(request, completion):  # Oxen, schauppi: every numbered item of the decoded prompt and completion
        return re.findall(r"\d+\. (.+)", request.messages[-1].content + completion.text)

    with pytest.raises(AssertionError):
        reads_back_only_new(planted)


def test_a_writer_that_repeats_a_seed_adds_nothing():
    assert choose([seed.text for seed in SEEDS], seeds=SEEDS) == ([], ["not_novel"] * len(SEEDS))


# filters


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FINE, None),
        ("Name two fish", "too_short"),
        ("Name two big fish", None),
        ("", "too_short"),
        ("why " * 150, None),
        ("why " * 151, "too_long"),
        ("Describe the image shown here", "not_for_text"),
        ("Describe the IMAGES shown here", "not_for_text"),
        ("Imagine a world without maps", "not_for_text"),
        ("Imagine a world of cartography", None),
        ("Explain why profiles are mapped", None),
        ("Tell me where to go to eat", "not_for_text"),
        ("Tell me where goto is used", None),
        ("Tell me the plot: a summary", "not_for_text"),
        ("Write a program that counts", "program"),
        ("write a programme of a concert", "program"),
        ("Please write a program that counts", None),
        ("'Describe' is what word class", "punctuation_first"),
        ("(a) name two big fish", "punctuation_first"),
        ("Über den Fluss und weiter", "not_ascii"),
        ("Walk über den Fluss weiter", None),
    ],
)
def test_self_instructs_filters(text, reason):
    proposal = propose(text)[0]
    assert unfit(cut(text), proposal, CONFIG) == reason


def self_instruct(text):
    """The filters of Self-Instruct's generate_instructions.py, but for ROUGE; None where it keeps `text`."""
    words = text.split()
    banned = "images?|graphs?|pictures?|files?|maps?|draw|plot|go to"
    if len(words) <= 3:
        return "too_short"
    if len(words) > 150:
        return "too_long"
    if re.search(rf"\b({banned})\b", text, re.IGNORECASE):
        return "not_for_text"
    if text.startswith("Write a program"):
        return "program"
    if text[0] in string.punctuation:
        return "punctuation_first"
    return None if text[0].isascii() else "not_ascii"


PIECES = ["write", "a", "program", "image", "mapped", "map", "go", "to", "(draw)", "Plot.", "é", "-", "3.", "why\nso"]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join))
@example("write a program for maps")
@example("- " * 151)
def test_our_filters_decide_and_reason_as_self_instructs_do(text):
    task = " ".join(text.split())
    task = task[:1].upper() + task[1:]
    assert unfit(task, propose("x")[0], CONFIG) == self_instruct(task)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (FINE, "ran_on"),
        (f"9. {FINE}", "ran_on"),
        (f"{FINE}\n10. name a", None),
        (f"{FINE}\nAnswer: they", None),
    ],
)
def test_a_task_that_was_cut_off_by_length_is_dropped_and_one_that_had_ended_is_not(written, reason):
    assert unfit(cut(written), propose(written, finish="length")[0], CONFIG) == reason


def test_a_failed_request_is_a_reason_of_its_own():
    assert unfit("", propose("", finish="error")[0], CONFIG) == "writer_failed"


def test_the_recipe_sets_limits_words_and_form():
    assert choose(["one two"], min_words=2)[1] == []
    for word in ("PYTHON", "C++", ".NET"):
        assert choose([f"Name a {word.lower()} web server"], unsuited=[word])[1] == ["not_for_text"]
        assert choose(["Name a dotnetted pythonic cc server"], unsuited=[word])[1] == []
    assert choose(["Über den Fluss und weiter"], ascii_only=False)[1] == []
    assert choose(["sort these words: a", "sort these words: a, please"], form=r"sort these words: \w")[1] == ["malformed"]
    assert choose([FINE], max_words=4)[1] == ["too_long"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Image (x)", "too_short"),
        ("Write a program with a graph", "not_for_text"),
        (f"{SEEDS[0].text} as a picture", "not_for_text"),
        (FINE, "held_out"),
    ],
)
def test_of_several_reasons_the_first_is_counted(text, first):
    known = Prompt(text=FINE, source="seed")
    assert choose([text], seeds=[*SEEDS, known], heldout=[known])[1] == [first]


def test_a_prompt_equal_to_a_held_out_one_is_dropped_whatever_its_case_and_spaces():
    heldout = [Prompt(text="describe HOW rivers  change\ntheir course", source="seed")]
    assert choose([FINE, f"{FINE} and why"], heldout=heldout) == ([f"{FINE} and why"], ["held_out"])


# novelty


def novel_against_everything(novelty):
    near = novelty([seed.text for seed in SEEDS], 0.7)
    assert not near.add(SEEDS[-1].text + " too")  # the last seed, not only the shots
    assert near.add(FINE)
    assert not near.add(FINE + " often")  # what was accepted a moment ago
    assert not near.add(SEEDS[0].text)


def test_a_prompt_is_measured_against_all_seeds_and_everything_accepted_so_far():
    novel_against_everything(Novelty)
    assert choose([FINE], accepted=[Prompt(text=f"{FINE} often", source="self")])[1] == ["not_novel"]


def test_novelty_by_exact_string_and_against_seeds_alone_would_be_caught():
    class Exact(Novelty):
        """Oxen, schauppi: only the very same string is old."""

        def nearest(self, text):
            return 0.0

    class Forgetful(Novelty):
        """Never remembers what it accepted."""

        def _remember(self, text):
            if text.startswith("seed"):
                super()._remember(text)

    for planted in (Exact, Forgetful):
        with pytest.raises(AssertionError):
            novel_against_everything(planted)


def test_a_dropped_prompt_bars_no_other():
    texts = [f"{FINE} on a map", f"{FINE} on paper"]
    assert choose(texts) == ([texts[1]], ["not_for_text"])


@pytest.mark.parametrize("text", ["写一首关于春天河流的诗 吧 好 吗", FINE])
def test_an_exact_copy_is_never_new_even_where_rouge_sees_no_word_or_has_no_limit(text):
    assert choose([text, text], ascii_only=False, max_rouge_l=1.0) == ([text], ["not_novel"])


@given(st.lists(st.sampled_from([*PIECES, FINE, "a b c d", "A  b c D", SEEDS[0].text]), max_size=12), st.integers(0, 9))
def test_everything_proposed_is_kept_once_or_dropped_with_a_reason(texts, seed):
    heldout = [Prompt(text="a b c d", source="seed")]
    random.Random(seed).shuffle(texts)
    kept, dropped = choose_prompts(propose(*texts), SEEDS, WRITTEN, heldout, CONFIG)
    assert len(kept) + len(dropped) == len(texts)
    assert all(drop.reason and drop.stage == "prompts" for drop in dropped)
    assert len({prompt.id for prompt in kept}) == len(kept)
    assert all(prompt.source == "self" for prompt in kept)
    assert not {prompt.text.lower() for prompt in kept} & {"a b c d", SEEDS[0].text}


@pytest.mark.parametrize(
    ("written", "task"),
    [
        ("写一首关于春天的诗。\n回答：春天来了。", "写一首关于春天的诗。"),
        ("Nenne drei Vögel.\nAntwort: Amsel, Drossel, Fink.", "Nenne drei Vögel."),
        ("Nomme trois oiseaux.\nRéponse : le merle.", "Nomme trois oiseaux."),
        ("Name three birds.\nAnswer： a wren.", "Name three birds."),
        ("<think>Which birds?\nUser: any</think>Name three birds.", "Name three birds."),
        ("写一首关于春天的诗。回答：春天来了。", "写一首关于春天的诗。"),
        ("写一首关于春天的诗\n参考答案：春天来了。", "写一首关于春天的诗"),
        ("写一首关于春天的诗\n【回答】春天来了。", "写一首关于春天的诗"),
        ("वसंत पर एक कविता लिखो।\nउत्तर: वसंत", "वसंत पर एक कविता लिखो।"),
        ("Escribe un poema. Respuesta: mayo", "Escribe un poema."),
        ("اكتب قصيدة عن الربيع\nالإجابة: الربيع", "اكتب قصيدة عن الربيع"),
        ("Écris un poème. Réponse : Mai", "Écris un poème."),
        ("বসন্ত নিয়ে কবিতা লেখো।\nউত্তর: বসন্ত", "বসন্ত নিয়ে কবিতা লেখো।"),
        ("Escreva um poema.\nResposta: maio", "Escreva um poema."),
        ("Напиши стихи о весне.\nОтвет: Весна", "Напиши стихи о весне."),
        ("بہار پر نظم لکھو\nجواب: بہار", "بہار پر نظم لکھو"),
        ("Tulis puisi tentang musim.\nJawaban: musim", "Tulis puisi tentang musim."),
        ("Schreibe ein Gedicht. Antwort: Der Mai", "Schreibe ein Gedicht."),
        ("Schreibe ein Gedicht.\n**Lösung:** Der Mai", "Schreibe ein Gedicht."),
        ("春の詩を書いて。\n回答：春", "春の詩を書いて。"),
        ("写诗\n人类：再写一首", "写诗"),
        ("Пиши стихи.\nЧеловек: ещё", "Пиши стихи."),
        ("Was heißt Antwort: auf Englisch?", "Was heißt Antwort: auf Englisch?"),
    ],
)
def test_a_task_ends_where_its_writer_answers_it_in_any_language_and_begins_behind_a_thought(written, task):
    assert cut(written) == task


@pytest.mark.parametrize(
    ("text", "kept"),
    [("写一首关于春天河流的诗", True), ("写诗吧", False), ("写一首诗。" * 31, True), ("写一首诗。" * 38, False)],
)
def test_word_limits_count_characters_where_a_script_has_no_spaces(text, kept):
    assert (choose([text], ascii_only=False)[1] == []) == kept  # 4 words at least and 150 at most, here 11, 3, 124 and 152


def test_prompts_of_ones_own_are_told_with_the_line_that_they_should_have_and_empty_ones_are_counted(tmp_path):
    file = tmp_path / "own.jsonl"
    config = PromptsConfig.model_validate({"from": str(file), "per_iteration": 3})
    file.write_text('{"text": "Name a bird", "source": "seed"}\n{"text": " ", "source": "seed"}\n')
    kept, dropped = take_prompts(config, 2, [])
    assert [prompt.text for prompt in kept] == ["Name a bird"] and [drop.reason for drop in dropped] == ["empty"]
    for line in ('{"prompt": "Name a bird"}', "Name a bird", '["Name a bird"]'):
        file.write_text(line)
        with pytest.raises(
            SelfRewardError, match=r'own.jsonl:1: .*Give an object a line, such as \{"text": "Name a bird\.", "source": "seed"\}'
        ):
            take_prompts(config, 2, [])
    file.unlink()
    with pytest.raises(SelfRewardError, match="Give a file that exists"):
        take_prompts(config, 2, [])
