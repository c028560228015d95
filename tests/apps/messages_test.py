# SPDX-License-Identifier: Apache-2.0
"""What `rondo` says when a run starts, ends or is refused: once, over real ranks, with what to do next; and what it leaves."""
import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from program import OPTIONS, ProgramTest, read_options, with_settings


class Messages(ProgramTest):
    TEXT = "".join(f"line {i} of a text\n" for i in range(200))
    SMALL = ("data.sequence_length=32", "model.d_model=32", "train.steps=3", "train.warmup_steps=0", "parallel.threads=1",
             "precision.compute=fp32")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rondo(*cls.train_line("done"))

    def test_every_refusal_is_said_once_and_leaves_a_record_only(self):
        refusals = [("data.sequence_length=99999", 3, "is longer than all"), ("parallel.device=cuda", 4, "no GPU"),
                    ("data.corpus=none.h5", 3, "data.corpus = none.h5"), ("data.corpus=text.txt", 3, "is no HDF5 file"),
                    ("model.heads=3", 2, "2 problems")]
        for setting, code, words in refusals:
            said = self.rondo(*self.train_line("refused", setting), ranks=2, code=code).stderr
            self.assertEqual(said.count(words), 1, said)
            self.assertEqual(said.count("rondo:"), 1, said)
            self.assertNotIn("(rank", said)
            self.assertFalse((self.folder / "refused/config.toml").exists(), setting)
            self.assertEqual(json.loads((self.folder / "refused/exit.json").read_text())["exit_code"], code)

    def test_other_commands_refuse_once_and_leave_nothing(self):
        evaluate = ["eval", "--checkpoint", "done", "--corpus", "corpus.h5"]
        refusals = [([*evaluate, "--ring", "3"], 2, "rings of 3"), ([*evaluate, "--sequence-length", "1"], 3, "too short for the 2 ranks"),
                    ([*evaluate, "--threads", "0"], 2, "--threads"),
                    (["attention", "--input", "corpus.h5", "--output", "out.h5"], 3, "'q'"),
                    (["attention", "--input", "corpus.h5", "--output", "out.h5", "--device", "cuda"], 4, "no GPU")]
        for line, code, words in refusals:
            said = self.rondo(*line, ranks=2, code=code).stderr
            self.assertEqual(said.count(words), 1, said)
            self.assertEqual(said.count("rondo: "), 1, said)
        self.assertEqual(list(self.folder.glob("out.h5*")), [])

    def test_a_folder_of_other_files_is_left_alone(self):
        (self.folder / "mine").mkdir()
        (self.folder / "mine/config.toml").write_text("mine")
        said = self.rondo(*self.train_line("mine"), ranks=2, code=3).stderr
        self.assertIn("--run", said)
        self.assertEqual([path.read_text() for path in (self.folder / "mine").iterdir()], ["mine"])

    def test_a_run_says_where_it_is_and_what_is_next(self):
        said = self.rondo(*self.train_line("new"), ranks=2).stderr.splitlines()
        self.assertIn("run folder new", said[0])
        self.assertLess(len([line for line in said if " step " not in line]), 10, said)
        self.assertIn("done: checkpoint new/checkpoints/step-3; next: rondo eval --checkpoint new --corpus corpus.h5", said[-1])
        self.rondo(*said[-1].partition("next: rondo ")[2].split())

    def test_a_new_run_takes_the_weights_of_another_or_says_why_not(self):
        start = "train.initialise_from="
        said = self.rondo(*self.train_line("second", start + "done")).stderr
        self.assertIn("starting with the weights of done/checkpoints/step-3, step 3", said)
        (self.folder / "ids.txt").write_text(" ".join(str(i % 256) for i in range(900)))
        self.rondo("prepare", "ids.txt", "--tokenizer", "ids", "--vocabulary", "256", "--output", "ids.h5")
        refusals = [(["model.layers=1"], 2, "model.layers: 2 there, 1 here"), ([start + "nowhere"], 3, "no such folder"),
                    (["data.corpus=ids.h5"], 2, "another tokenizer than the corpus: bytes")]
        for settings, code, words in refusals:
            said = self.rondo(*self.train_line("third", start + "done", *settings), ranks=2, code=code).stderr
            self.assertEqual(said.count(words), 1, said)

    def test_a_held_out_part_without_a_target_is_said_from_prepare_to_train(self):
        (self.folder / "notes.jsonl").write_text('{"text": "a short remark of some fifty bytes, as in a log"}\n' * 30)
        why = "the split holds 30 tokens of 30 documents, but each document has one token there"
        advice = "prepare the corpus again with a larger --validation"
        prepared = self.rondo("prepare", "notes.jsonl", "--tokenizer", "bytes", "--output", "notes.h5").stderr
        settings = with_settings(*self.SMALL, "data.corpus=notes.h5")
        checked = self.rondo("check", f"{OPTIONS.source}/configs/tiny.toml", *settings, "--json")
        warnings = json.loads(checked.stdout)["warnings"]
        trained = self.rondo(*self.train_line("notes", "data.corpus=notes.h5"), ranks=2).stderr
        first_lines = trained.partition("step       1")[0]
        for said in (prepared, checked.stderr, warnings[0], first_lines):
            self.assertIn(why, said)
            self.assertIn(advice, said)
            self.assertEqual(said.count(why), 1, said)
        self.assertEqual(json.loads((self.folder / "notes/exit.json").read_text())["cause"], "finished")
        self.assertTrue((self.folder / "notes/checkpoints/step-3/commit.json").exists())
        self.assertIn("next: rondo eval --checkpoint notes --corpus notes.h5 --split train", trained)
        refused = self.rondo("eval", "--checkpoint", "notes", "--corpus", "notes.h5", ranks=2, code=3).stderr
        self.assertEqual(refused.count(why), 1, refused)

    def test_a_missing_evaluation_is_made_up_for(self):
        self.rondo(*self.train_line("lost"))
        metrics = self.folder / "lost/metrics.jsonl"
        lines = metrics.read_text().splitlines(keepends=True)
        self.assertIn("validation_loss", lines[-1])
        metrics.write_text("".join(lines[:-1]))  # as if it had been killed after its last checkpoint
        for _ in range(2):
            self.rondo(*self.train_line("lost"), ranks=2)
            again = metrics.read_text().splitlines()
            self.assertEqual(len(again), len(lines))
            self.assertAlmostEqual(json.loads(again[-1])["validation_loss"], json.loads(lines[-1])["validation_loss"], 5)

    def test_more_steps_say_what_the_learning_rate_does(self):
        self.rondo(*self.train_line("longer"))
        said = self.rondo(*self.train_line("longer", "train.steps=6"), ranks=2).stderr
        self.assertEqual(said.count("the learning rate changes: it was"), 1, said)
        self.assertIn("by the cosine schedule over train.steps = 6, 3 before", said)
        self.assertNotIn("the learning rate changes", self.rondo(*self.train_line("longer", "train.steps=6")).stderr)

    def test_tasks_that_are_worlds_of_their_own_are_refused(self):
        for variable, rank, advice in (("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun --mpi=pmix -n 4 rondo"),
                                       ("PMI_SIZE", "PMI_RANK", "mpirun -n 4 rondo")):
            for task in range(2):
                environment = {**os.environ, variable: "4", rank: str(task)}
                commands = [self.train_line("alone"), ["eval", "--checkpoint", "done", "--corpus", "corpus.h5"]]
                for command in commands:
                    said = self.rondo(*command, code=4, env=environment).stderr
                    if task == 0:
                        self.assertIn(f"started 4 tasks ({variable}=4), but MPI has 1 rank", said)
                        self.assertIn(advice, said)
                    else:
                        self.assertEqual(said, "", "one of them speaks")
                self.assertFalse((self.folder / "alone").exists())
                self.rondo("check", f"{OPTIONS.source}/configs/tiny.toml", env=environment)  # starts no MPI
        batch_script = {**os.environ, "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}
        self.rondo(*self.train_line("batch"), ranks=2, env=batch_script)
        self.rondo(*self.train_line("batch-alone"), env=batch_script)

    def test_a_seed_of_one_command_is_one_of_all(self):
        largest = 2**63 - 1
        for seed, code in ((largest, 0), (largest + 1, 2), (-1, 2)):
            task = ["--task", "recall", "--samples", "4", "--tokens", "64", "--output", "seeds.h5"]
            self.rondo("prepare", *task, "--seed", str(seed), code=code)
            self.rondo("prepare", "text.txt", "--tokenizer", "bytes", "--output", "seeds.h5", "--seed", str(seed), code=code)
            self.rondo("corpus", "sample", "corpus.h5", "--seed", str(seed), code=code)
            self.rondo("generate", "--checkpoint", "done", "--prompt", "l", "--tokens", "1", "--seed", str(seed), code=code)
            self.rondo("check", f"{OPTIONS.source}/configs/tiny.toml", *with_settings(f"train.seed={seed}"), code=code)
            if code:
                self.rondo("eval", "--checkpoint", "done", "--task", "passkey", "--seed", str(seed), code=code)

    def test_one_document_is_not_called_documents(self):
        self.assertIn("in 1 document\n", self.rondo(*self.train_line("grammar")).stderr)

    def test_a_finished_run_keeps_its_configuration(self):
        before = (self.folder / "done/config.toml").read_text()
        said = self.rondo(*self.train_line("done", "train.steps=2")).stderr
        self.assertIn("3 steps are done; raise train.steps to go on", said)
        self.assertEqual((self.folder / "done/config.toml").read_text(), before)

    def test_numbers_gone_wrong_promise_no_checkpoint_that_is_not_there(self):
        wild = ["train.learning_rate=1e30", "train.clip_norm=0"]
        said = self.rondo(*self.train_line("wild", *wild), code=5).stderr
        self.assertIn("the update was not made: ", said)
        self.assertNotIn("the layer", said)

    def test_generate_names_the_prompt(self):
        generate = ["generate", "--checkpoint", "done", "--tokens", "2"]
        self.assertIn("--prompt: the prompt is empty", self.rondo(*generate, "--prompt", "", code=2).stderr)
        self.rondo(*generate, "--prompt-file", "-", input="line ")

    def test_the_live_line_fits_and_leaves_nothing_behind(self):
        columns = 60
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([OPTIONS.program, *self.train_line("live", "train.steps=5", "log.every_steps=4")],
                                   cwd=self.folder, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
        os.close(slave)
        output = b""
        while True:
            try:
                block = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            output += block
        os.close(master)
        self.assertEqual(process.wait(), 0)
        text = re.sub(r"\x1b\[[0-9;]*m", "", output.decode())  # without colours
        shown = []  # what a terminal shows in the end
        for line in text.split("\r\n"):
            parts = line.split("\r")
            for live in parts[:-1]:
                self.assertLess(len(live.removesuffix("\x1b[K")), columns, live)
            shown.append(parts[-1].removeprefix("\x1b[K"))
        self.assertEqual(sum("step       5/5" in line for line in shown), 1, shown)
        self.assertEqual(sum("step       3/5" in line for line in shown), 0, shown)
        self.assertIn("step       3/5", text)


if __name__ == "__main__":
    rest = read_options("program", "mpiexec", "source")
    unittest.main(argv=["messages_test.py", *rest], verbosity=2)
