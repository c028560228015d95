# SPDX-License-Identifier: Apache-2.0
"""jobs/quickstart.sh --dry-run in a tree of its own: which names texts get, when a changed text is refused, and that the
lines it prints are what a shell reads them for. usage: quickstart_test.py SOURCE"""
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else ".")


class Quickstart(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name) / "jane.doe's v1.2 ü"
        self.tree = self.place / "my rondo"
        for file in ("jobs/quickstart.sh", "configs/quickstart.toml"):
            (self.tree / file).parent.mkdir(parents=True)
            shutil.copy(SOURCE / file, self.tree / file)

    def write(self, path, text="Some words.\n"):
        file = self.place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def quickstart(self, *arguments, status=0):
        done = subprocess.run([self.tree / "jobs/quickstart.sh", "--dry-run", *arguments], cwd=self.place, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def run_folder(self, *arguments):
        return re.search(r"^run folder +(runs/\S+)$", self.quickstart(*arguments), re.MULTILINE).group(1)

    def test_every_text_has_a_name_of_its_own(self):
        texts = [self.write(path) for path in ("a/notes.txt", "b/notes.txt", "a/notes.md", "a/more words.txt")]
        runs = [self.run_folder("--corpus", text) for text in [*texts, self.place / "a"]] + [self.run_folder()]
        self.assertEqual(len(set(runs)), len(runs), runs)
        for run, base in zip(runs, ("notes", "notes", "notes", "more-words", "a")):
            self.assertRegex(run, f"^runs/quickstart-{base}-[0-9a-f]{{12}}$")

    def test_the_name_stays_however_the_text_is_given(self):
        text = self.write("a/notes.txt")
        (self.place / "link").symlink_to(text)
        names = {self.run_folder("--corpus", given) for given in (text, "a/notes.txt", "a/../link")}
        self.assertEqual(len(names), 1, names)

    def test_a_text_that_changed_after_it_was_prepared_is_refused(self):
        for text, file in ((self.write("a/notes.txt"),) * 2, (self.place / "b", self.write("b/c/notes.txt"))):
            run = self.tree / self.run_folder("--corpus", text)
            run.parent.mkdir(exist_ok=True)
            pathlib.Path(f"{run}.h5").write_bytes(b"")
            pathlib.Path(f"{run}.text").write_text(self.description(text), encoding="utf-8")
            self.assertIn(f"{run.name}.h5 (there already)", self.quickstart("--corpus", text))
            file.write_text("Other words, and more of them.\n", encoding="utf-8")
            said = self.quickstart("--corpus", text, status=2)
            self.assertIn("has changed since", said)
            remove = shlex.split(said.splitlines()[1])
            self.assertEqual(remove, ["rm", "-rf", str(run), f"{run}.h5", f"{run}.text"])

    def description(self, text):
        """What the script itself records when it prepares the text."""
        function = re.search(r"^describe_text\(\).*$", (self.tree / "jobs/quickstart.sh").read_text(encoding="utf-8"), re.MULTILINE)
        return subprocess.run(["bash", "-c", f'text=$1; {function.group(0)}; describe_text', "bash", text], check=True,
                              stdout=subprocess.PIPE, encoding="utf-8").stdout

    def test_its_lines_can_be_pasted(self):
        text = self.write("a/more words.txt")
        before, after = self.quickstart("--corpus", text).split("Next:\n")
        lines = before.split("\n\n")[1] + after
        words = [shlex.split(line, comments=True) for line in lines.splitlines()]
        self.assertIn(["cd", str(self.tree)], words)
        prepare = next(line for line in words if "prepare" in line)
        self.assertEqual(prepare[1:3], ["prepare", str(text)])
        for line in filter(None, words):  # no prose among the commands
            self.assertRegex(line[0], r"^(cd|export|cmake|mpiexec|.*/mpiexec[.\w]*|jobs/\w+\.sh|build/quickstart/bin/rondo)$")

    def test_a_text_that_is_not_there_is_refused(self):
        self.assertIn("no such file or folder: nowhere.txt", self.quickstart("--corpus", "nowhere.txt", status=2))
        self.assertIn("--corpus needs", self.quickstart("--corpus", status=2))


if __name__ == "__main__":
    unittest.main()
