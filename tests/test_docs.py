"""What the documents name exists: commands with their options, functions, settings, files, names in code, links."""

import functools
import importlib.util
import itertools
import json
import re
import typing
from pathlib import Path

import pytest
import typer
import yaml
from pydantic import BaseModel

import lensflow
from lensflow import cli
from lensflow.config import RunConfig
from lensflow.measure.zoo.faults import FAULTS

ROOT = Path(__file__).parents[1]
# Pages that docs/conf.py makes.
MADE = {"api.md", "changelog.md", "commands.md", "contributing.md", "gallery.md"}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "notebooks/README.md")),
    ROOT / "lensflow/lensing/engine/README.md",
    *(p for p in sorted((ROOT / "docs").glob("*.md")) if p.name not in MADE),
    *sorted((ROOT / "docs/decisions").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
COMMANDS = typer.main.get_command(cli.app).commands
OPTIONS = {n: {o for p in c.params for o in (*p.opts, *p.secondary_opts)} | {"--help"} for n, c in COMMANDS.items()}
# Words of prose between which `lensflow` may stand at the beginning of a line.
PROSE = {"in", "does", "reads", "certificate"}
# Other people's names, columns that a reader makes, and names that code makes of parts (recipes of gates, coordinates).
FOREIGN = {
    "i_sdssshape_psf_shape11", "m_table", "DMAG_X", "CUSTOM_JAR", "RUN_B", "DIR_COM", "mag_g",
    "flux_g_nmgy", "psfsize_g_arcsec",
    "src_knot_x_arcsec_0", "stamp_g", "other_z", "annulus_all_robust", "azimuth_r_smooth", "core_all_radial",
    "metrics_column", "flags_column", "parameters_column",
}  # fmt: skip


@functools.cache
def text_of(page):
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    fences = ("", ""), ("```python\n", "\n```")
    parts = [(fences[c["cell_type"] == "code"], "".join(c["source"])) for c in cells]
    return "\n\n".join(f"{before}{source}{after}" for (before, after), source in parts)


def settings_of(model, prefix=""):
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in models_in(field.annotation):
            yield from settings_of(inner, f"{prefix}{name}.")


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    # Keys of a mapping are the user's.
    for inner in () if typing.get_origin(annotation) is dict else typing.get_args(annotation):
        yield from models_in(inner)


SETTINGS = set(settings_of(RunConfig))
SECTIONS = {name.partition(".")[0] for name in SETTINGS if "." in name}


@functools.cache
def words_of_the_code():
    ends = (".py", ".yaml", ".yml", ".sh", ".html", ".json")
    folders = [ROOT / name for name in ("lensflow", "workflows", "benchmarks", "deploy", "tests")]
    files = [f for folder in folders for f in folder.rglob("*") if f.suffix in ends and f != Path(__file__)]
    return set(re.findall(r"[A-Za-z_]\w*", "\n".join(f.read_text() for f in files)))


def lost_commands(text):
    """Commands that are typed in a page, and their options, that do not exist."""
    for command, rest in re.findall(
        r"(?:^[ >]*(?:\$ )?|`|&& )lensflow ([a-z][a-z-]*)((?:[^\n`\\]|\\\n|\\)*)", text, re.M
    ):
        if command not in OPTIONS:
            if command not in PROSE:
                yield f"lensflow {command}"
            continue
        yield from (f"lensflow {command} {o}" for o in re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)
                    if o not in OPTIONS[command])  # fmt: skip
    known = set().union(*OPTIONS.values()) | {"--version", "--install-completion", "--ignore-outputs"}
    yield from (o for o in re.findall(r"`(--[a-z][a-z-]*)", text) if o not in known)


def lost_functions(text):
    """Names of ``lf`` and dotted names of lensflow that do not exist."""
    public = set(lensflow.__all__)
    yield from (f"lf.{n}" for n in re.findall(r"\blf\.([A-Za-z_]\w*)", text) if n not in public and not module(n))
    for dotted in re.findall(r"`(lensflow(?:\.\w+)+)", text):
        if dotted.removesuffix(".py") == dotted and dotted != "lensflow.code" and not resolved(dotted):
            yield dotted


def module(name):
    return importlib.util.find_spec(f"lensflow.{name}") is not None


def resolved(dotted):
    parts = dotted.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(lambda at, name: getattr(at, name, None), parts[k:], found) is not None
    return False


def lost_settings(text):
    """Settings as ``section.key`` and in YAML blocks that no config has."""
    ends = (".py", ".md", ".yaml", ".zarr", ".json")
    for name in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)[`:= ]", text):
        if name.partition(".")[0] in SECTIONS and name not in SETTINGS and not name.endswith(ends):
            yield name
    for block in re.findall(r"```yaml\n(.*?)```", text, re.S):
        tree = yaml.safe_load(block)
        if isinstance(tree, dict) and set(tree) <= set(RunConfig.model_fields):
            yield from lost_keys(tree, "")


def lost_keys(tree, prefix):
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name not in SETTINGS:
            yield name
        elif isinstance(value, dict) and any(s.startswith(f"{name}.") for s in SETTINGS):
            yield from lost_keys(value, f"{name}.")


def lost_files(text):
    """Files of the repository, from its root or the package's, that are not there."""
    tops = {p.name for folder in (ROOT, ROOT / "lensflow") for p in folder.iterdir() if p.is_dir()} - {"runs"}
    for name in re.findall(r"`((?:\.ci|[a-z_]+)/[\w./*{}-]+)`", text):
        if name.split("/")[0] in tops and not any(
            list(top.glob(name.rstrip("/"))) for top in (ROOT, ROOT / "lensflow")
        ):
            yield name


def lost_names(text):
    """Names with an underscore that no line of code has: columns, functions, verdicts, reasons."""
    named = re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?:\(\))?`", text)
    named += re.findall(r"\b[A-Z][A-Z]+(?:_[A-Z]+)+\b(?![*-])", re.sub(r"```.*?```", "", text, flags=re.S))
    yield from (n for n in named if n not in words_of_the_code() | FOREIGN)


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def lost_links(page):
    """Links of a page to files and headings that are not there."""
    text = re.sub(r"```(?!{grid).*?```", "", text_of(page), flags=re.S) if page.suffix == ".md" else text_of(page)
    for target in re.findall(r"\]\((?!https?://|mailto:|attachment:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        # The site has copies of the notebooks.
        file = ROOT / "notebooks" / file.name if file.parent.name == "tutorials" else file
        if file.name not in MADE and (
            not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file))
        ):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_everything_that_a_page_names_exists(page):
    text = text_of(page)
    lost = {
        "commands": [*lost_commands(text)],
        "functions": [*lost_functions(text)],
        "settings": [*lost_settings(text)],
        "files": [*lost_files(text)],
        "names": [*lost_names(text)],
        "links": [*lost_links(page)],
    }
    assert {kind: names for kind, names in lost.items() if names} == {}


@pytest.mark.parametrize(
    ("judge", "text", "lost"),
    [
        (lost_commands, "`lensflow vieuw runs/demo`", ["lensflow vieuw"]),
        (lost_commands, "    lensflow view runs/demo \\\n      --prot 5007", ["lensflow view --prot"]),
        (lost_commands, "with `--no-brwser`", ["--no-brwser"]),
        (lost_commands, "    lensflow view runs/demo --port 5007", []),
        (lost_functions, "call `lf.openrun(x)`, or lf.open_run", ["lf.openrun"]),
        (lost_functions, "`lensflow.fits.nothing`, `lensflow.schema.Reason`", ["lensflow.fits.nothing"]),
        (lost_settings, "`survey.files: x` and `plan.sources.images`", ["survey.files"]),
        (lost_settings, "```yaml\nplan:\n  sources: {imges: x}\n```", ["plan.sources.imges"]),
        (lost_files, "`targets/units.py`, `targets/files.py`, `tests/test_*.py`", ["targets/units.py"]),
        (lost_names, "`psfsize_arcsec`, `psfsize_arcsecs` and NOT_TESTABEL", ["psfsize_arcsecs", "NOT_TESTABEL"]),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_named(judge, text, lost):
    assert [*judge(text)] == lost


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](#one) [b](#two) [c](other.md) [d](https://example.org/x.md)\n")
    assert [*lost_links(page)] == ["#two", "other.md"]


@pytest.mark.parametrize("page", [p for p in PAGES if p.suffix == ".md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_line_becomes_a_list_by_where_it_is_broken(page):
    assert [*broken_into_a_list(text_of(page))] == []


def broken_into_a_list(text):
    """Lines of a sentence that begin as an item of a list does: ``an AUC of 0.9 to`` / ``1. It draws``."""
    lines = re.sub(r"```.*?```", "", text, flags=re.S).splitlines()
    for before, line in itertools.pairwise(lines):
        in_list = re.match(r"\s*(\d+\.|[-+*]) ", before) and len(before) < 90
        if re.match(r"\s*(\d+\.|\+) ", line) and before.strip() and before[-1] not in ".:;" and not in_list:
            yield line


def test_a_line_that_becomes_a_list_is_named():
    assert [*broken_into_a_list("an AUC of 0.9 to\n1. It draws\n\n1. one\n2. two\n\nfirst of all:\n1. one")] == [
        "1. It draws"
    ]


def test_the_zoos_page_has_every_fault_and_what_must_detect_it():
    table = (ROOT / "docs/zoo.md").read_text().split("## How")[0]
    rows = {
        c[0].strip(): c[2].strip() for c in (r.split("|")[1:] for r in re.findall(r"^\|.*\|$", table, re.M)) if c[2:]
    }
    assert {f.name: set(f.caught_by) for f in FAULTS} == {f.name: set(rows[f.name].split(", ")) for f in FAULTS}
    assert f"plants {len(FAULTS)} known faults" in (ROOT / "README.md").read_text()


def test_every_page_of_the_site_is_in_one_list_of_pages_which_says_what_it_is():
    pages = {p.stem for p in PAGES if p.parent.name == "docs"} | {name[:-3] for name in MADE} | {"decisions/index"}
    pages |= {f"tutorials/{p.stem}" for p in PAGES if p.suffix == ".ipynb"}
    listed = []
    for name in ("index", "learn", "how-to", "reference", "explanation", "about"):
        text = (ROOT / f"docs/{name}.md").read_text()
        blocks = re.findall(r"```{toctree}\n(.*?)```", text, re.S)
        here = [line for block in blocks for line in block.splitlines() if line and line[0] != ":"]
        shown = re.sub(r"```{toctree}.*?```", "", text, flags=re.S)
        assert name == "index" or [page for page in here if f"({page}." not in shown] == []
        listed += here
    assert sorted(listed) == sorted(pages - {"index"})


def test_settings_are_written_as_yaml():
    text = (ROOT / "docs/config.md").read_text() + (ROOT / "docs/schema.md").read_text()
    assert re.findall(r"\{['\"]|'\.join|`None`|`True`|`False`|`\(|:mod:|:func:|:class:", text) == []
