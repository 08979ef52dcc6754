"""Every file of the source tree that a document names exists, and so does every name of a class, function or field.

A document names a file in backquotes, in a code block that is not a console's, or as the target of a link. A path
may be relative to the source tree or to the document; a name without a folder may be that of any file in the tree.
A pattern (`*`, `FOLDER`, `LAYER`, `NAME` or `TARGET`) matches at least one file. Files that a build makes
(`build/...`) and paths outside of the source tree are not checked. Where a document says that `this` is in `that.cpp`,
or names `this` (`that.cpp`), the name occurs in that file.
"""
import fnmatch
import glob
import os
import re

import pytest
from harness.build import ROOT

SOURCES = ("cpp", "hpp", "c", "h", "S", "inc", "js", "css", "py", "bash", "cmake", "md", "txt", "json")
WORD = r"[\w.*-]+"
# A path with a folder, or a file name with an extension of sources.
PATH = re.compile(rf"(?<![\w./$~<-])((?:{WORD}/)+(?:{WORD})?|[\w*-]+\.(?:{'|'.join(SOURCES)}))(?![\w/-])")
PLACEHOLDER = re.compile(r"(?<![A-Za-z])(?:FOLDER|LAYER|NAME|TARGET)(?![A-Za-z])")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
# Names with `::` or an underscore, and words such as `SharedPage`. They have to occur in a file of code.
CODE_NAME = re.compile(r"^(?:\w+(?:::~?\w+)+|\w*_\w*|[A-Z]+[a-z]+[A-Z]\w*)(?:\(\))?$")
CODE = (".cpp", ".hpp", ".h", ".c", ".S", ".inc", ".py", ".sh", ".txt", "")
NAME = r"`~?\w+(?:::~?\w+)*(?:\(\))?`"
FILE = r"\[?`([\w./-]+\.(?:cpp|hpp|h|S|inc))`"
PLACES = (re.compile(rf"((?:{NAME}(?:, | and )?)+) in {FILE}"), re.compile(rf"({NAME}) \({FILE}\)"))
LINUX = {"__change_page_attr", "filemap_map_pages"}


class Tree:
    def __init__(self, root):
        self.root = root
        self.tops = {e.name for e in os.scandir(root) if e.is_dir() and e.name not in (".git", "build")}
        self.names = set(os.listdir(root))
        self.words = set()
        for top in sorted(self.tops):
            for folder, _, files in os.walk(os.path.join(root, top)):
                self.names.update(files)
                for file in files:
                    if os.path.splitext(file)[1] in CODE and "corpus" not in folder:
                        with open(os.path.join(folder, file), encoding="utf-8", errors="replace") as code:
                            self.words.update(re.findall(r"\w+", code.read()))

    def has(self, path, document):
        """Whether there is such a file (a folder, if the path ends with a slash), or one that matches the pattern."""
        if path in self.names:
            return True
        pattern = PLACEHOLDER.sub("*", path)
        if "/" not in path:
            return bool(fnmatch.filter(self.names, pattern))
        starts = (self.root, os.path.dirname(document))
        return any(os.path.exists(os.path.join(start, path)) or glob.glob(os.path.join(start, pattern)) for start in starts)

    def is_ours(self, path, document):
        """Whether the path claims to be in this tree, and is not one of a guest's, a user's or a build's."""
        if path.split("/")[0] in self.tops or "/" not in path:
            return True
        known = os.path.isdir(os.path.join(os.path.dirname(document), path.split("/")[0]))
        return known or path.rsplit(".", 1)[-1] in SOURCES


def claims(text):
    """Yields (line number, text, whether it is a link's target) for each place that may hold names."""
    fence = None
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            fence = line[3:].strip() if fence is None else None
        elif fence is None:
            yield from ((number, span, False) for span in re.findall(r"`([^`]+)`", line))
            yield from ((number, target, True) for target in LINK.findall(line))
        elif fence != "console":
            yield number, line, False


def missing(tree, document):
    with open(document, encoding="utf-8") as file:
        text = file.read()
    for number, claim, is_link in claims(text):
        if is_link:
            if not os.path.exists(os.path.join(os.path.dirname(document), claim)):
                yield number, claim
            continue
        if CODE_NAME.match(claim):
            if not set(re.findall(r"\w+", claim)) <= tree.words | LINUX:
                yield number, claim
            continue
        for path in PATH.findall(claim):
            path = path.rstrip(".")
            if path.startswith(("build/", "../")) or not tree.is_ours(path, document):
                continue
            if not tree.has(path, document):
                yield number, path


def misplaced(document):
    """Yields (name, file) where the document says that a file has a name that it does not have."""
    text = re.sub(r"\s+", " ", document.read_text(encoding="utf-8"))
    for names, file in (match.groups() for place in PLACES for match in place.finditer(text)):
        code = next((start / file for start in (ROOT, document.parent) if (start / file).exists()), None)
        words = set(re.findall(r"\w+", code.read_text(encoding="utf-8"))) if code else set()
        for name in re.findall(r"`(?:~?\w+::)*~?(\w+)", names):
            if name not in words:
                yield name, file


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(str(ROOT))


DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if path.relative_to(ROOT).parts[0] != "build")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(tree: Tree, document) -> None:
    assert [f"line {number}: {name}" for number, name in missing(tree, str(document))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_where_a_document_says(document) -> None:
    assert list(misplaced(document)) == []
