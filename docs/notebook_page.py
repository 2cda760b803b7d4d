"""The tutorial: a notebook that is run here, and a page of the guide with its outputs.

`python docs/notebook_page.py` runs docs/tutorial.ipynb anew and stores what its cells give. That
needs no Jupyter, nor does the guide: a notebook is JSON.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")
DOTS = 80  # an inch, of figures


def run(cells: list[dict[str, Any]], place: Path) -> Iterator[dict[str, Any]]:
    """Run the cells in a folder, one after the other, and give each with what it gives."""
    names: dict[str, Any] = {}
    count = 0
    with contextlib.chdir(place):
        for cell in cells:
            if cell["cell_type"] != "code":
                yield cell
                continue
            count += 1
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                value = _value("".join(cell["source"]), names)
            outputs = []
            if printed.getvalue():
                text = _lines(printed.getvalue())
                outputs.append({"name": "stdout", "output_type": "stream", "text": text})
            if value is not None:
                data, kind = _shown(value), "execute_result"
                outputs.append(
                    {"output_type": kind, "execution_count": count, "data": data, "metadata": {}}
                )
            yield {**cell, "execution_count": count, "outputs": outputs}


def write_page(file: Path) -> None:
    """Write the notebook as a page, unless it is there already."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        code = cell["cell_type"] == "code"
        parts.append(f"```python\n{source}\n```" if code else source)
        for i, output in enumerate(cell.get("outputs", ())):
            parts.append(_page_of(output, file.with_name(f"tutorial-{len(parts)}-{i}.png")))
    text = "\n\n".join([*parts, ""])
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def _value(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; give the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return (
        None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    )


def _shown(value: Any) -> dict[str, Any]:
    """Give what a notebook shows of a value: text, and HTML or an image where it has any."""
    from matplotlib.figure import Figure

    if isinstance(value, Figure):
        drawn = io.BytesIO()
        value.savefig(drawn, format="png", dpi=DOTS, bbox_inches="tight", facecolor="white")
        image = base64.b64encode(drawn.getvalue()).decode()
        return {"image/png": image, "text/plain": ["<Figure>"]}
    data = {"text/plain": _lines(repr(value))}
    html = getattr(value, "_repr_html_", lambda: None)()
    return data if html is None else {**data, "text/html": _lines(html)}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _page_of(output: dict[str, Any], image: Path) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        image.write_bytes(base64.b64decode(data["image/png"]))
        return f"![What the cell draws]({image.name})"
    if "text/html" in data:
        html = "".join(data["text/html"])
        return f'```{{raw}} html\n<div class="output">\n{html}\n</div>\n```'
    text = "".join(data.get("text/plain", output.get("text", ())))
    return f"```{{code-block}} text\n:class: output\n\n{text.rstrip()}\n```"


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        content["cells"] = list(run(content["cells"], Path(folder)))
    NOTEBOOK.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
