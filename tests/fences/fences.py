# SPDX-License-Identifier: Apache-2.0
"""Checks the tree against the include fences, the arrows between layers and the file rules of CONTRIBUTING.md.

usage: fences.py ROOT; prints one line a finding and exits with 1 when there is any.
"""
import pathlib
import re
import sys

SOURCE_FOLDERS = ("apps", "lib", "kernels", "tests")
CODE = {".c", ".cpp", ".hpp", ".cu", ".cuh"}
TEXT = CODE | {".py", ".sh", ".cmake", ".txt"}
CEILING_LINES = 500

# A header that matches may be included only from these places (prefixes of the path).
HEADER_FENCES = [
    (r"mpi\.h|comm/mpi_handle\.hpp", ("lib/comm/", "lib/io/hdf5", "tests/")),
    (r"hdf5(_hl)?\.h|H5\w+\.h", ("lib/io/", "tests/")),
    (r"nccl\.h|cuda\w*\.(h|hpp|cuh)|cuda/.*|cublas\w*\.h|cudnn\w*\.h|nvtx3/.*|mma\.h|cute/.*", ("kernels/cuda/", "tests/kernels/cuda/", "tests/support/cuda_emulation/")),
    (r"(oneapi/dnnl/)?dnnl\w*\.h(pp)?", ("kernels/cpu/",)),
    (r"(toml\+\+/)?toml\.h(pp)?", ("lib/config/",)),
    (r"CLI/.*", ("apps/",)),
    (r"iostream", ("tests/",)),
]
# Words that only these places may use: launchers are known to comm alone, the process environment to nobody else.
WORD_FENCES = [
    (r"\b(secure_)?getenv\s*\(", ("lib/comm/", "apps/", "tests/")),
    (r"\busing namespace\b", ("tests/",)),
    (r"\b(std::)?f?printf\s*\(|\bstd::(cout|cerr)\b", ("apps/", "tests/")),
]
# The layers a folder may include, with everything that those may include.
ARROWS = {
    "core": (),
    "config": ("core",),
    "comm": ("core",),
    "kernels": ("core",),
    "kernels/cuda": ("core", "kernels", "comm"),  # a module of its own, with the transport over NCCL
    "io": ("core", "comm"),
    "runtime": ("core", "config", "comm", "kernels"),
    "model": ("core", "config", "comm", "kernels", "runtime"),
    "infer": ("core", "config", "comm", "kernels", "io", "runtime", "model"),
    "train": ("core", "config", "comm", "kernels", "io", "runtime", "model", "infer"),
    "plan": ("core", "config", "comm", "kernels", "io", "runtime", "model", "infer", "train"),
    "report": ("core", "comm", "io"),
}
# Words of a dialect, and what the field says (docs/notation.md), in code, comments, messages and documents.
DIALECT = [
    (r"\b(hither|thither|homecoming|onwards)\b", "receive, return to the owner, send on"),
    (r"\b(take|takes|taken|took)(_| )up\b", "resume, receive"),
    (r"\b(hand|hands|handed)(_| )on\b", "send, pass"),
    (r"\btake(s)?(_| )over\b", "receive"),
    (r"\b(in_sight|in sight|sights?)\b", "window, visible keys, key range"),
    (r"\b(un)?turned (keys|queries|by)\b|\brotary turn|\b\w+_turned\b", "RoPE rotate"),
    (r"\bwhoever\b", "the caller, code that"),
    (r"\bbehind (it|them|this|that span|the span|the run|the step|the text)\b", "after"),
    (r"\b(rehearse|obey)s?\b", "warm up, perform"),
    (r"\bGPUs? of the tests\b", "mock device"),
    (r"\b(tokens?|bytes|steps?|MiB|GiB|threads?) a (rank|token|step|head|second|layer)\b", "per"),
]
FORBIDDEN_FOLDERS = {"utils", "util", "common", "misc", "helpers"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
COMMENT = re.compile(r"//.*$")
STRING = re.compile(r'"(\\.|[^"\\])*"')


def layer_of(path):
    """The layer that a file belongs to, or that an include names; None for everything else."""
    parts = path.split("/")
    if parts[0] == "lib" and len(parts) > 2:
        return parts[1]
    if parts[:2] == ["kernels", "cuda"]:
        return "kernels/cuda"
    return parts[0] if parts[0] in ARROWS else None


def findings_in_code(path, lines):
    layer = layer_of(path)
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        if include:
            header = include.group(1)
            for pattern, places in HEADER_FENCES:
                if re.fullmatch(pattern, header) and not path.startswith(places):
                    yield f"{path}:{number}: {header} may be included only from {', '.join(places)}"
            used = layer_of(header)
            if layer and used and used != layer and used not in ARROWS[layer]:
                yield f"{path}:{number}: {layer} may not see {used} ({header})"
            continue
        code = COMMENT.sub("", STRING.sub('""', line))
        for pattern, places in WORD_FENCES:
            word = re.search(pattern, code)
            if word and not path.startswith(places):
                yield f"{path}:{number}: '{word.group(0)}' may be used only in {', '.join(places)}"


def findings_in_words(path, lines):
    if path.startswith("tests/fences/"):  # they name what they refuse
        return
    for number, line in enumerate(lines, 1):
        for pattern, words in DIALECT:
            found = re.search(pattern, line)
            if found:
                yield f"{path}:{number}: '{found.group(0)}': the field says {words}"


def findings_in_file(path, text):
    lines = text.splitlines()
    suffix = pathlib.PurePosixPath(path).suffix
    if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:2]):
        yield f"{path}:1: the file does not open with its SPDX line"
    if len(lines) > CEILING_LINES:
        yield f"{path}:{len(lines)}: longer than {CEILING_LINES} lines: split it by idea"
    if suffix in {".hpp", ".cuh"} and "#pragma once" not in lines:
        yield f"{path}:1: a header without #pragma once"
    yield from findings_in_words(path, lines)
    if suffix in CODE:
        yield from findings_in_code(path, lines)


def findings_in_tree(root):
    root = pathlib.Path(root)
    for folder in SOURCE_FOLDERS + ("jobs",):
        for file in sorted((root / folder).rglob("*")):
            path = file.relative_to(root).as_posix()
            if file.is_dir() and file.name in FORBIDDEN_FOLDERS:
                yield f"{path}: a folder is named after its concern, not {file.name}"
            if file.is_file() and file.suffix in TEXT and "__pycache__" not in path:
                yield from findings_in_file(path, file.read_text(encoding="utf-8"))
    documents = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "data").glob("*.md"), *(root / "configs").rglob("*.toml")]
    for file in sorted(documents):
        path = file.relative_to(root).as_posix()
        if path != "CHANGELOG.md":
            yield from findings_in_words(path, file.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    findings = list(findings_in_tree(sys.argv[1]))
    print("\n".join(findings) if findings else "the fences stand")
    sys.exit(1 if findings else 0)
