"""Docstrings open as plain sentences: with their subject or with an imperative, and with no word that leaves the noun out."""

import ast
from pathlib import Path

import pytest

import selfreward

PACKAGE = Path(selfreward.__path__[0])
PRIVATE = {
    *("After", "Among", "As", "At", "Before", "Behind", "Beside", "Between", "By", "From", "How", "If", "It", "Let", "Of", "On"),
    *("Since", "So", "Such", "That", "These", "This", "Those", "Though", "To", "Under", "Until", "What", "When", "Where"),
    *("Whether", "Which", "While", "Who", "Whoever", "Whose", "Why"),
}
"""First words of a subordinate clause, or of a phrase whose noun only the signature gives."""
PRIVATE_PHRASES = ("The same ", "One that ", "The one that ", "All that ", "Nothing that ")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(tree):
    """(line, text) of every docstring: of modules, classes and functions, and of the names that one stands below."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for at, below in enumerate(body if isinstance(body, list) else ()):
            documents = isinstance(node, DOCUMENTED) if at == 0 else isinstance(body[at - 1], ast.Assign | ast.AnnAssign)
            if documents and isinstance(below, ast.Expr) and isinstance(text := getattr(below.value, "value", None), str):
                yield below.lineno, text.strip()


def is_private(text):
    return text.split()[0].rstrip(",:;") in PRIVATE or text.startswith(PRIVATE_PHRASES)


def test_every_docstring_opens_with_its_subject_or_an_imperative():
    texts = [
        (f"{path.relative_to(PACKAGE)}:{line}", text)
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(texts) > 2000
    assert [f"{place} {text[:60]}" for place, text in texts if is_private(text)] == []


@pytest.mark.parametrize(
    "code",
    [
        '"""What a run is."""',
        'class Way:\n    """How a model can be read."""',
        'def fits():\n    """Whether it fits."""',
        'def fits():\n    """The same of one user turn."""',
        'class Way:\n    shares: bool = True\n    """Where it lies."""',
        'STEPS = 100\n"""Of expectation maximisation."""',
    ],
)
def test_an_opening_without_its_noun_would_be_caught(code):
    (found,) = [text for _, text in docstrings(ast.parse(code)) if is_private(text)]
    assert found in code
