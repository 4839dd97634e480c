"""What counts as new, against ROUGE as others compute it and against comparing everything with everything."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from selfreward.stats import WORD_OF_ANY_SCRIPT, Novelty, novelty, words

SCORER = RougeScorer(["rougeL"], use_stemmer=False)
WORDS = ["a", "b", "a", "Cat's", "ÄPFEL", "x1", "-", "你好", "", "dog", "dog"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
LIMITS = [0.0, 0.3, 0.5, 0.7, 2 / 3, 0.9, 0.99, 1.0]


def rouge_l(a, b, limit=0.0):
    """F of two texts, 0 where it is not above `limit`."""
    return Novelty([a], limit).nearest(b)


@pytest.mark.parametrize(
    ("a", "b", "f"),
    [
        ("the cat sat", "the dog sat", 2 / 3),  # LCS 2; 2·2 / (3 + 3)
        ("a b c d", "b d", 2 / 3),  # LCS 2; 2·2 / (4 + 2)
        ("a b", "b a", 0.5),
        ("a a a", "a", 0.5),  # LCS 1; 2·1 / (3 + 1)
        ("The CAT's hat", "the cat s hat", 1),
        ("a", "", 0),
        ("", "", 0),
        ("a b", "c d", 0),
    ],
)
def test_rouge_l_by_hand(a, b, f):
    assert rouge_l(a, b) == rouge_l(b, a) == pytest.approx(f)


@given(TEXTS, TEXTS)
def test_rouge_l_is_that_of_the_rouge_score_package(a, b):
    assert rouge_l(a, b) == pytest.approx(SCORER.score(a, b)["rougeL"].fmeasure, abs=1e-12)


def test_near_is_more_than_the_limit_and_the_limit_itself_is_still_new():
    ten = "a b c d e f g h i j"
    assert Novelty([ten], 0.7).add("a b c d e f g x y z")  # LCS 7 of 10 and 10: exactly 0.7
    assert not Novelty([ten], 0.7).add("a b c d e f g h y z")


def unpruned(seen, texts, limit):
    """Whether each text is new by comparing it with all there are."""
    seen, decided = list(seen), []
    for text in texts:
        old = any(novelty.plain(text) == novelty.plain(other) or rouge_l(text, other) > limit for other in seen)
        decided.append(not old)
        seen += [] if old else [text]
    return decided


def decides_as_unpruned(seen, texts, limit):
    near = Novelty(seen, limit)
    assert [near.add(text) for text in texts] == unpruned(seen, texts, limit)


@given(st.lists(TEXTS, max_size=6), st.lists(TEXTS, max_size=12), st.sampled_from(LIMITS))
def test_pruning_changes_no_decision(seen, texts, limit):
    decides_as_unpruned(seen, texts, limit)


LIST = st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=14).map(" ".join)


@given(st.lists(LIST, max_size=8), st.lists(LIST, max_size=20), st.sampled_from(LIMITS))
def test_pruning_changes_no_decision_among_texts_of_the_same_few_words(seen, texts, limit):
    decides_as_unpruned(seen, texts, limit)


def test_pruning_by_one_word_too_many_would_be_caught(monkeypatch):
    rarest = Novelty._rarest
    monkeypatch.setattr(Novelty, "_rarest", lambda self, words: rarest(self, words)[:-1])
    with pytest.raises(AssertionError):
        decides_as_unpruned(["e f g h i j"], ["x1 x2 x3 x4 e f g h i j"], 0.7)  # the most words that may differ


def test_words_that_occur_twice_may_match_twice_and_no_more():
    assert rouge_l("no no no yes", "no no yes", 0.7) == pytest.approx(6 / 7)
    assert rouge_l("no no no no", "no yes yes yes", 0.2) == 0.25


def test_more_words_than_there_are_characters_of_one_byte_or_two_stay_apart():
    many = [f"w{n}" for n in range(70_000)]
    near = Novelty([" ".join(many[at : at + 1000]) for at in range(0, 70_000, 1000)], 0.5)
    assert near.nearest(" ".join(many[54_500:55_500])) == 0  # half of one text and half of another: 0.5 of each
    assert near.nearest(" ".join(many[54_400:55_400])) == pytest.approx(0.6)  # around the surrogates


@pytest.mark.parametrize("text", ["写一首关于春天河流的诗", "Describe how rivers change"])
def test_an_exact_copy_is_never_new_even_where_rouge_sees_no_word_or_has_no_limit(text):
    near = Novelty([text], 1.0)
    assert not near.add(text) and not near.add(f"  {text.upper()}\n")
    assert near.add(text + " 吗")


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("опиши как реки меняют своё русло", "опиши как реки меняют русло", "назови три большие рыбы"),
        ("写一首关于春天河流的诗", "写一首关于秋天河流的诗", "请列出三种鱼的名字"),
        ("Beschreibe größere Flüsse für Kinder", "Beschreibe größere Flüsse für Äpfel", "Nenne ölige Fische überall"),
    ],
)
def test_words_of_other_scripts_count_where_they_are_asked_for(text, near, far):
    everywhere = Novelty([text], 0.7, WORD_OF_ANY_SCRIPT)
    assert not everywhere.add(near) and everywhere.add(far)


def test_words_in_ascii_are_the_same_for_any_script():
    text = "The cat's hat, x1_y2 (2nd)"
    assert WORD_OF_ANY_SCRIPT.findall(text.lower()) == novelty.WORD.findall(text.lower())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't write - more", 4),
        ("写一首关于春天的诗", 9),
        ("写一首诗，关于春天。", 8),
        ("写 Python 代码", 4),
        ("春についての詩を書いて", 11),
        ("봄에 관한 시를 써 줘", 5),
        ("हिन्दी में कविता लिखो", 4),
        ("", 0),
    ],
)
def test_words_are_counted_between_spaces_and_as_rouge_does_where_there_are_none(text, words):
    assert novelty.count_words(text) == words


def test_a_language_without_spaces_is_neither_too_short_nor_ever_too_long():
    assert novelty.count_words("อธิบายว่าแม่น้ำไหลอย่างไร") > 4


# published data


def test_every_published_rouge_l_is_reproduced(reference):
    rows = reference("rougeL_pairs")
    assert len(rows) == 4000
    assert max(abs(rouge_l(row["a"], row["b"]) - row["rougeL_f"]) for row in rows) < 1e-12


def test_a_published_self_instruct_run_is_reproduced_decision_by_decision(reference):
    """All maxima and decisions, once its seeds are given and it is known that it was started anew after 46."""
    rows, seeds = reference("rougeL_pipeline"), [row["instruction"] for row in reference("self_instruct_seed_tasks")]
    first, second = rows[:46], rows[46:]
    assert [row["instruction"] for row in first] == [row["instruction"] for row in second[:46]]
    for run in (first, second):
        every, kept = Novelty(seeds, 0.0), Novelty(seeds, 0.7)
        for row in run:
            assert every.nearest(row["instruction"]) == pytest.approx(row["max_rougeL"], abs=1e-12)
            assert kept.add(row["instruction"]) and row["max_rougeL"] <= 0.7
            every._remember(row["instruction"])
    assert len(seeds) == 175 and len(first) + len(second) == 1161


SCRIPTS = {
    "हिन्दी में किताब पढ़ो।": ["हिन्दी", "में", "किताब", "पढ़ो"],
    "বাংলায় একটি কবিতা লেখো": ["বাংলায়", "একটি", "কবিতা", "লেখো"],
    "தமிழில் எழுது": ["தமிழில்", "எழுது"],
    "مُحَمَّدٌ كَتَبَ": ["مُحَمَّدٌ", "كَتَبَ"],
    "می\u200cخواهم بروم": ["می\u200cخواهم", "بروم"],
    "cafe\u0301 noir": ["cafe\u0301", "noir"],
    "שָׁלוֹם עוֹלָם": ["שָׁלוֹם", "עוֹלָם"],
    "你好 ok": ["你", "好", "ok"],
    "ที่นี่": ["ที่", "นี่"],
    "snake_case x2": ["snake", "case", "x2"],
}


@pytest.mark.parametrize("text", SCRIPTS)
def test_signs_on_letters_are_parts_of_their_word(text):
    assert WORD_OF_ANY_SCRIPT.findall(text) == SCRIPTS[text]


def test_words_that_differ_in_their_vowel_signs_alone_are_other_words():
    novelty = Novelty(["का की कु के को"], 0.7, WORD_OF_ANY_SCRIPT)
    assert novelty.add("कि कू कै कौ कं") and not novelty.add("का की कु के कौ")


@given(st.text(st.sampled_from("aZ9_ .-éÄ\u0301\u200dßЖहिไ漢か한\n")))
def test_a_word_is_the_same_whether_or_not_it_is_followed_by_what_is_not_ascii(text):
    """A word of letters and digits of ASCII takes a way of its own; the words found are those without it."""
    assert WORD_OF_ANY_SCRIPT.findall(text) == re.findall(novelty.ANY_SCRIPT, text)


@given(st.text() | st.text(st.sampled_from("aZ9_ .-éÄİ\u212a\u0301\u200dßЖहिไ漢か한\n\x85\xa0\x1c\u2028\ud800")))
def test_words_of_a_text_that_is_parted_at_ascii_first_are_those_of_the_pattern(text):
    assert words(text) == re.findall(novelty.ANY_SCRIPT, text.lower())
