"""Code out of pages and notebooks, run as a reader would run it."""

import json
import re
import sys
import types


def code_blocks(page):
    """The Python blocks of a Markdown page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def code_cells(notebook):
    """The code cells of a notebook, after a look at its form (nbformat 4)."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) >= (4, 5) and content["metadata"]["kernelspec"][
        "language"
    ] == "python"
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids) and {cell["cell_type"] for cell in content["cells"]} == {"markdown", "code"}
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    return ["".join(cell["source"]) for cell in cells]


def run_code(blocks, monkeypatch, where, name="__main__"):
    """Run the blocks one after another in one module, which functions can be imported from; returns its names."""
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    for at, block in enumerate(blocks, start=1):
        exec(compile(block, f"{where}, block {at}", "exec"), module.__dict__)
    return module.__dict__
