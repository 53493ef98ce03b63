"""Execute the notebooks and store their outputs: ``python notebooks/refresh.py [NAME ...]``; README.md says when."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
TIMEOUT_S = 1800
LARGE_PICTURE_BYTES = 60_000
# A folder of tempfile.mkdtemp(prefix="lensflow-..."): its random end would change with every execution.
_RUN_FOLDER = re.compile(r"(?:/[\w.@-]+)+/(lensflow-[a-z-]+?)-?[a-z0-9_]{8}(?=[/\s'\"`),:;]|$)")
# What execution adds and no reader needs.
_NOT_KEPT = ("image/svg+xml", "application/vnd.jupyter.widget-view+json")


def source_hash(notebook: dict[str, Any]) -> str:
    """SHA-256 of the code cells: outputs are current while it is the one that was stored with them."""
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def clean(notebook: dict[str, Any]) -> None:
    """Drop what differs between two executions or tells of this machine; note whose outputs these are."""
    for cell in notebook["cells"]:
        cell.get("metadata", {}).pop("execution", None)
        if cell["cell_type"] != "code":
            continue
        kept = [o for o in cell["outputs"] if not (o["output_type"] == "stream" and o["name"] == "stderr")]
        for output in kept:
            if "text" in output:
                output["text"] = _without_folders(output["text"])
            for kind in [*output.get("data", {})]:
                if kind in _NOT_KEPT:
                    del output["data"][kind]
                elif kind == "image/png":
                    small, content = _small(output["data"].pop(kind))
                    output["data"][small] = content
                elif kind.startswith("text/"):
                    output["data"][kind] = _without_folders(output["data"][kind])
        cell["outputs"] = kept
    notebook["metadata"].pop("widgets", None)
    notebook["metadata"]["language_info"] = {"name": "python"}
    notebook["metadata"]["lensflow"] = {"outputs_of": source_hash(notebook)}


def _without_folders(text: Any) -> str:
    return _RUN_FOLDER.sub(r"/tmp/\1", text if isinstance(text, str) else "".join(text))


def _small(picture: str) -> tuple[str, str]:
    """Kind and content of a picture: in 256 colours where that is small, as JPEG where noise would make it large."""
    png, out = base64.b64decode(picture), io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    flat.quantize(256, dither=Image.Dither.NONE).save(out, format="PNG", optimize=True)
    small = min(png, out.getvalue(), key=len)
    if len(small) < LARGE_PICTURE_BYTES:
        return "image/png", base64.b64encode(small).decode()
    out = io.BytesIO()
    flat.save(out, format="JPEG", quality=80)
    return "image/jpeg", base64.b64encode(out.getvalue()).decode()


def refresh(path: Path) -> None:
    """Execute one notebook in an empty folder and store it with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    clean(notebook)
    nbformat.write(notebook, path)


def main(names: list[str]) -> None:
    """Refresh the named notebooks, or all."""
    for path in sorted(HERE.glob("*.ipynb")):
        if not names or path.stem in names or path.name in names:
            refresh(path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
