# SPDX-License-Identifier: Apache-2.0
"""Losses of trainings on CPUs that those on GPUs are compared with. A bundle carries them, so that a lent GPU does not wait for
a CPU; they hold for the program, the corpus and the settings that they were made with, and for nothing else."""
import hashlib
import json


class Stale(Exception):
    """The carried losses belong to something else."""


def digest(*contents):
    total = hashlib.sha256()
    for content in contents:
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def program_digest(check):
    """Of the program and of the library that computes."""
    return digest(*(path.read_bytes() for path in (check.rondo, check.root / "lib/librondo.so")))


def key_of(settings):
    return " ".join(settings)


def make(check, settings):
    return check.train("reference-cpu", 1, *settings, "parallel.device=cpu")


def write(check, path, curves):
    """@param curves the settings of each"""
    document = {"program": program_digest(check), "corpus": digest(check.corpus_text().encode()),
                "curves": {key_of(settings): make(check, settings) for settings in curves}}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read(check, settings):
    """Losses by step, or None where none are carried. @raises Stale"""
    path = check.root / "reference-curves.json"
    if not path.exists():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    advice = "build the target bundle again, or remove reference-curves.json"
    if document["program"] != program_digest(check):
        raise Stale(f"the carried CPU losses were made by another program: {advice}")
    if document["corpus"] != digest(check.corpus_text().encode()):
        raise Stale(f"the carried CPU losses are of another corpus: {advice}")
    if key_of(settings) not in document["curves"]:
        raise Stale(f"the carried CPU losses are of other settings: {advice}")
    return {int(step): loss for step, loss in document["curves"][key_of(settings)].items()}
