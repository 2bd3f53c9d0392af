"""The style that no linter checks, as tests: each failure names the file and the line."""

import ast
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import mesoslite.testing

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = ("mesoslite", "agents", "frameworks", "benchmarks", "protos", "tests")
GENERATED = ROOT / "mesoslite" / "v1"
COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70  # a function fits a screen
FILE_LINES_MAX = 700
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "common", "misc", "base", "manager"}
# Assembled from halves, or this file would be the first to be found out.
MARKERS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.~/-])/(?:wo" + r"rk|ro" + r"ot)/[\w.-]+")
DOCUMENT = re.compile(r"[\w/.-]+\.md\b")
URL = re.compile(r"https?://\S+")
TEXT_SUFFIXES = {
    "", ".cfg", ".conf", ".html", ".ini", ".json", ".md", ".patch", ".proto", ".py", ".pyi",
    ".service", ".sh", ".sql", ".svg", ".toml", ".txt", ".yaml", ".yml",
}  # fmt: skip


def own_files() -> list[Path]:
    """Every file that is, or would be, committed and still exists."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # an unpacked archive: everything in it is ours
        paths = [path for name in CODE for path in (ROOT / name).rglob("*")]
    return sorted(p for p in set(paths) if p.is_file() and "__pycache__" not in p.parts)


def own_modules() -> list[Path]:
    return [p for p in own_files() if p.suffix == ".py" and GENERATED not in p.parents]


def text_lines() -> Iterator[tuple[str, str]]:
    """(where, line) of every text file that people write."""
    for path in own_files():
        if path.suffix in TEXT_SUFFIXES and GENERATED not in path.parents:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                yield f"{path.relative_to(ROOT)}:{number}", line


def test_python_lines_fit_100_columns() -> None:
    """ruff leaves some alone: long strings and comments with one word."""
    assert [
        f"{path.relative_to(ROOT)}:{number}"
        for path in own_modules()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > COLUMNS_MAX
    ] == []


def test_functions_fit_a_screen() -> None:
    assert [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for path in own_modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ] == []


def test_files_are_small() -> None:
    sizes = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in own_modules()}
    assert {
        str(path.relative_to(ROOT)): lines
        for path, lines in sizes.items()
        if lines > FILE_LINES_MAX
    } == {}


def test_every_module_is_named_for_what_it_is_about() -> None:
    assert [
        str(path.relative_to(ROOT))
        for path in own_modules()
        if NAMES_THAT_SAY_NOTHING & {path.stem, path.parent.name}
    ] == []


def test_every_module_says_what_it_is_for() -> None:
    """An empty __init__.py says enough."""
    assert [
        str(path.relative_to(ROOT))
        for path in own_modules()
        if (text := path.read_text(encoding="utf-8")).strip()
        and ast.get_docstring(ast.parse(text)) is None
    ] == []


def test_nothing_is_left_for_later() -> None:
    assert [
        f"{where}: {line.strip()}" for where, line in text_lines() if MARKERS.search(line)
    ] == []


def test_nothing_names_the_machine_it_was_written_on() -> None:
    assert [
        f"{where}: {line.strip()}" for where, line in text_lines() if MACHINE_PATHS.search(line)
    ] == []


def test_every_document_that_is_cited_exists() -> None:
    """From the root, from where it is cited, or as the name of one in docs."""
    assert [
        f"{where}: {cited}"
        for where, line in text_lines()
        if (path := ROOT / where.rpartition(":")[0]).suffix in {".md", ".proto", ".py"}
        for cited in DOCUMENT.findall(URL.sub("", line))
        if not any((start / cited).is_file() for start in (ROOT, path.parent, ROOT / "docs"))
    ] == []


def test_every_decision_that_is_cited_is_explained() -> None:
    """`D5` in a comment is a paragraph of docs/decisions.md."""
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\*\*(D\d+) ", text, re.MULTILINE))
    assert [
        f"{where}: {cited}"
        for where, line in text_lines()
        if ".py:" in where or ".proto:" in where
        for cited in re.findall(r"\bD\d{1,2}\b", line)
        if cited not in explained
    ] == []


def test_every_public_name_exists_and_has_a_docstring() -> None:
    """`mesoslite.testing` is public too; values that are not classes or functions are excused."""
    assert [
        f"{module.__name__}.{name}"
        for module in (mesoslite, mesoslite.testing)
        for name in module.__all__
        if is_bare(getattr(module, name))
    ] == []


def is_bare(value: object) -> bool:
    """Whether it is a class or function without a docstring that somebody wrote."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return False
    text = value.__doc__ or ""
    return not text or text.startswith(f"{value.__name__}(")  # what dataclass writes
