"""Holds the tree to the house style: sizes, names, include direction, and the architecture page.

Every check is a function from a root folder to a list of findings, so that the self-tests below can feed it a bad tree.
"""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

PRODUCT_FOLDERS = ["core", "optim", "data", "model", "streaming/plan", "streaming", "app"]
CHECKED_FOLDERS = ["core", "optim", "data", "model", "streaming", "app", "bench", "tests", "scripts", "cmake", ".ci"]
CPP_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
HEADER_SUFFIXES = {".h", ".cuh"}

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 400
MAX_HEADER_LINES = 150
MAX_LINE_CHARACTERS = 120

# What each folder may include beside itself: core <- data, optim, model, streaming/plan <- streaming <- the rest.
LEAVES = ["data", "optim", "model", "streaming/plan"]
ALLOWED_INCLUDES = {
    "core": [],
    "data": ["core"],
    "optim": ["core"],
    "model": ["core"],
    "streaming/plan": ["core"],
    "streaming": ["core", *LEAVES],
    "app": ["core", *LEAVES, "streaming"],
    "bench": PRODUCT_FOLDERS,
    "tests": PRODUCT_FOLDERS,
}
NO_LIBTORCH = ["core", "optim", "data", "streaming/plan"]
LIBTORCH_INCLUDE = re.compile(r"^(torch|ATen|c10)/")
STANDARD_HEADER = re.compile(r"^[a-z_0-9]+$")

FORBIDDEN_WORDS = {"util", "utils", "helpers", "common", "manager", "base"}
FORBIDDEN_CLASS = re.compile(r"\b(?:class|struct)\s+(\w*(?:Utils?|Helpers|Common|Manager|Base))\b")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def files(root, suffixes=None):
    for folder in CHECKED_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and (suffixes is None or path.suffix in suffixes):
                yield path


def folder_of(name):
    """The architecture's folder of a path such as streaming/plan/op.h; None for a file outside of them."""
    matches = [folder for folder in ALLOWED_INCLUDES if name.startswith(folder + "/")]
    return max(matches, key=len, default=None)


TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<delimiter>[^(\s]*)\(.*?\)(?P=delimiter)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'|^[ \t]*\#(?:\\\n|[^\n])*",
    re.DOTALL | re.MULTILINE,
)


CONTAINER = re.compile(r"\b(namespace|class|struct|union|enum)\b(?![^()]*\))")
TEMPLATE_PARAMETERS = re.compile(r"\btemplate\s*<[^;{}()]*>")


def without_text(source):
    """The source with comments, literals and preprocessor lines blanked; line numbers stay."""
    return TOKEN.sub(lambda match: "\n" * match.group().count("\n") or " ", source)


def functions(source):
    """(first line, last line) of each function body's definition; lambdas count as part of theirs."""
    text = without_text(source)
    found, head_start, parentheses, depth_inside = [], 0, 0, 0
    in_function, body_start = False, 0
    for position, character in enumerate(text):
        if depth_inside:  # inside a function or an initialiser: only its end matters
            depth_inside += {"{": 1, "}": -1}.get(character, 0)
            if depth_inside == 0:
                if in_function:
                    found.append((body_start, text.count("\n", 0, position) + 1))
                head_start = position + 1
        elif character in "()":
            parentheses += 1 if character == "(" else -1
        elif parentheses:
            continue
        elif character == "{":
            head = text[head_start:position]
            if CONTAINER.search(TEMPLATE_PARAMETERS.sub("", head)) or not head.strip():
                head_start = position + 1
                continue
            in_function = "(" in head and not head.rstrip().endswith(("=", ","))
            leading = len(head) - len(head.lstrip())
            body_start = text.count("\n", 0, head_start + leading) + 1
            depth_inside = 1
        elif character in ";}":
            head_start = position + 1
    return found


def includes(path):
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def check_function_length(root):
    findings = []
    for path in files(root, CPP_SUFFIXES):
        for first, last in functions(path.read_text()):
            if last - first + 1 > MAX_FUNCTION_LINES:
                findings.append(f"{path.relative_to(root)}:{first}: a function of {last - first + 1} lines")
    return findings


def check_file_length(root):
    findings = []
    for path in files(root, CPP_SUFFIXES | {".py", ".sh", ".cmake"}):
        limit = MAX_HEADER_LINES if path.suffix in HEADER_SUFFIXES else MAX_FILE_LINES
        count = len(path.read_text().splitlines())
        if count > limit:
            findings.append(f"{path.relative_to(root)}: {count} lines, the limit is {limit}")
    return findings


def check_line_length(root):
    findings = []
    for path in files(root, CPP_SUFFIXES | {".py"}):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > MAX_LINE_CHARACTERS:
                findings.append(f"{path.relative_to(root)}:{number}: {len(line)} characters")
    return findings


def check_include_direction(root):
    findings = []
    for path in files(root, CPP_SUFFIXES):
        name = path.relative_to(root).as_posix()
        folder = folder_of(name)
        for bracket, target in includes(path):
            where = f"{name}: includes {target}"
            other = folder_of(target)
            if other and other != folder and other not in ALLOWED_INCLUDES[folder]:
                findings.append(f"{where}: {folder} may not depend on {other}")
            if folder in NO_LIBTORCH and LIBTORCH_INCLUDE.match(target):
                findings.append(f"{where}: no LibTorch in {folder}")
            if folder == "streaming/plan" and bracket == "<" and not STANDARD_HEADER.match(target):
                findings.append(f"{where}: only the standard library and core in {folder}")
    return findings


def check_names(root):
    findings = []
    for path in files(root):
        words = set(re.split(r"[_.\-]", path.stem.lower()))
        if words & FORBIDDEN_WORDS:
            findings.append(f"{path.relative_to(root)}: the name says nothing")
        if path.suffix in CPP_SUFFIXES:
            for name in FORBIDDEN_CLASS.findall(without_text(path.read_text())):
                findings.append(f"{path.relative_to(root)}: class {name}: the name says nothing")
    return findings


def check_unfinished(root):
    return [
        f"{path.relative_to(root)}:{number}: unfinished"
        for path in files(root, CPP_SUFFIXES | {".py", ".sh", ".cmake", ".txt"})
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]


def check_architecture_page(root):
    """The page names every source file (a pair .h/.cpp once, with or without suffix), and no file that is not there."""
    page = root / "docs" / "architecture.md"
    if not page.exists():
        return ["docs/architecture.md is missing"]
    mentions = {m for m in re.findall(r"`([\w./-]+)`", page.read_text()) if folder_of(m) in PRODUCT_FOLDERS}
    sources = {
        path.relative_to(root).as_posix()
        for path in files(root, CPP_SUFFIXES)
        if folder_of(path.relative_to(root).as_posix()) in PRODUCT_FOLDERS
    }
    stems = {re.sub(r"\.\w+$", "", source) for source in sources}
    findings = [
        f"docs/architecture.md names {mention}, which does not exist"
        for mention in sorted(mentions)
        if mention not in sources and mention not in stems and not (root / mention).exists()
    ]
    named_stems = {re.sub(r"\.\w+$", "", mention) for mention in mentions}
    findings += [f"docs/architecture.md does not name {stem}" for stem in sorted(stems - named_stems)]
    return findings


CHECKS = [
    check_function_length,
    check_file_length,
    check_line_length,
    check_include_direction,
    check_names,
    check_unfinished,
    check_architecture_page,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_tree(check):
    findings = check(ROOT)
    assert not findings, "\n" + "\n".join(findings)


# The self-tests: a clean tree passes, and each check reports its own bad sample.

PAGE = "docs/architecture.md"
CLEAN = {
    "core/arena.h": "// An arena.\nclass Arena {\n  void release(int a = {}) noexcept;\n};\n",
    "core/arena.cpp": '#include "core/arena.h"\nvoid Arena::release(int) noexcept {\n  const char* s = "{";\n}\n',
    "streaming/plan/op.h": '#include <vector>\n#include "core/arena.h"\n',
    "streaming/executor.cpp": '#include <ATen/ATen.h>\n#include "streaming/plan/op.h"\n#include "optim/adamw.h"\n',
    PAGE: "- `core/arena.h`: x\n- `streaming/plan/op`: y\n- `streaming/executor.cpp`: z\n- `core/`\n",
}
LONG_BODY = "  x();\n" * MAX_FUNCTION_LINES

BAD_SAMPLES = {
    "free function": (check_function_length, "core/a.cpp", "namespace p {\nvoid f() {\n" + LONG_BODY + "}\n}\n"),
    "method": (check_function_length, "core/a.cpp", "class C {\n  int g() const override {\n" + LONG_BODY + "}\n};\n"),
    "test": (check_function_length, "core/a.cpp", "TEST_P(Suite, Name) {\n" + LONG_BODY + "}\n"),
    "constructor": (check_function_length, "core/a.cpp", "A::A(int b) : b_(b), c_(1) {\n" + LONG_BODY + "}\n"),
    "default argument": (check_function_length, "core/a.cpp", "void f(A a = {}) {\n" + LONG_BODY + "}\n"),
    "after text": (check_function_length, "core/a.cpp", "auto s = \"{'\"; // }\nint f() {\n" + LONG_BODY + "}\n"),
    "template": (check_function_length, "core/a.h", "template <class T>\nvoid f(T) {\n" + LONG_BODY + "}\n"),
    "struct argument": (check_function_length, "core/a.cpp", "void f(struct A a) {\n" + LONG_BODY + "}\n"),
    "long file": (check_file_length, "core/a.cpp", "\n" * (MAX_FILE_LINES + 1)),
    "long header": (check_file_length, "core/a.h", "\n" * (MAX_HEADER_LINES + 1)),
    "long line": (check_line_length, "core/a.cpp", "// " + "x" * MAX_LINE_CHARACTERS),
    "upward include": (check_include_direction, "core/a.cpp", '#include "optim/adamw.h"\n'),
    "sideways include": (check_include_direction, "data/a.cpp", '#include "model/decoder.h"\n'),
    "plan includes streaming": (check_include_direction, "streaming/plan/a.h", '#include "streaming/executor.h"\n'),
    "plan includes a library": (check_include_direction, "streaming/plan/a.h", "#include <fmt/format.h>\n"),
    "LibTorch in optim": (check_include_direction, "optim/a.cpp", "#  include <ATen/ATen.h>\n"),
    "app included by streaming": (check_include_direction, "streaming/a.cpp", '#include "app/console.h"\n'),
    "file name": (check_names, "core/string_utils.h", ""),
    "class name": (check_names, "core/a.h", "class SlotManager {};\n"),
    "unfinished": (check_unfinished, "core/a.h", "// TO" + "DO: later\n"),
    "file missing on the page": (check_architecture_page, "core/new_part.cpp", ""),
    "page names a ghost": (check_architecture_page, PAGE, CLEAN[PAGE] + "`core/ghost.h`"),
}


def write_tree(root, tree):
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_clean_tree_passes(tmp_path, check):
    write_tree(tmp_path, CLEAN)
    assert check(tmp_path) == []


@pytest.mark.parametrize("sample", BAD_SAMPLES)
def test_bad_sample_is_reported(tmp_path, sample):
    check, name, text = BAD_SAMPLES[sample]
    write_tree(tmp_path, CLEAN | {name: text})
    assert len(check(tmp_path)) == 1


def test_function_of_the_limit_passes(tmp_path):
    body = "  x();\n" * (MAX_FUNCTION_LINES - 2)
    write_tree(tmp_path, {"core/a.cpp": "void f() {\n" + body + "}\nvoid g() {\n" + body + "}\n"})
    assert check_function_length(tmp_path) == []


def test_long_table_is_no_function(tmp_path):
    table = "constexpr Row kRows[] = {\n" + '  Row{"a", f(1)},\n' * MAX_FUNCTION_LINES + "};\n"
    write_tree(tmp_path, {"core/a.cpp": table})
    assert check_function_length(tmp_path) == []
