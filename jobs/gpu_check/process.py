# SPDX-License-Identifier: Apache-2.0
"""Programs with a limit, ended together with everything that they started."""
import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

POLL_S = 0.05
GRACE_S = 5  # for a launcher to end its ranks itself, also those on other machines


@dataclasses.dataclass
class Done:
    code: int  # of the exit
    text: str  # stdout


class Expired(Exception):
    """The program was ended because its time was up."""

    def __init__(self, text):
        super().__init__("time was up")
        self.text = text  # stdout up to then


def members_of(session):
    """Processes of the session that are alive. A rank may be in a process group of its own, but keeps the session."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended meanwhile
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(folder.name))
    return found


def end_session(session, is_ended):
    """First in good manners, so that a launcher can take its ranks along; then for certain."""
    deadline = time.monotonic() + GRACE_S
    try:
        os.kill(session, signal.SIGTERM)
    except ProcessLookupError:
        pass
    while time.monotonic() < deadline and not (is_ended() and not members_of(session)):
        time.sleep(POLL_S)
    while left := members_of(session):
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        is_ended()  # takes the exit status, or the process would stay
        time.sleep(POLL_S)


def exit_on_sigterm():
    """As Ctrl-C does, SIGTERM ends first what run() has started, so that nothing keeps the GPU."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def ask_for_sigterm_with_parent():
    """In a child: where this program is killed at once, its launcher hears of it and takes its ranks along."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def run(words, is_time_up, stderr, **how):
    """Runs a program in a session of its own. @raises Expired when is_time_up() before its end; nothing of it is left then"""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stdout:
        process = subprocess.Popen(words, stdout=stdout, stderr=stderr, start_new_session=True,
                                   preexec_fn=ask_for_sigterm_with_parent, **how)

        def text():
            stdout.seek(0)
            return stdout.read()

        is_ended = lambda: process.poll() is not None
        try:
            while not is_ended():
                if is_time_up():
                    raise Expired("")
                time.sleep(POLL_S)
        except BaseException as error:  # also Ctrl-C
            end_session(process.pid, is_ended)
            process.wait()
            if isinstance(error, Expired):
                raise Expired(text()) from None
            raise
        return Done(process.returncode, text())
