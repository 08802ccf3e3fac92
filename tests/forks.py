"""Processes of their own, with a command line, a folder and signals, forked from one that has imported torch.

To import torch takes longer than most of what these tests ask of a process. Whatever is about the start itself, about
a terminal or a pipe still starts an interpreter.
"""
import atexit, multiprocessing, os, runpy, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTEXT = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
CONTEXT.set_forkserver_preload(["torch", "accelerate"])   # nothing of the library


def _become(words, folder, environment, streams):
    "Turn this process into what `python` with these words would be, which finds modules where its parent does."
    multiprocessing.set_start_method(None, force=True)   # as anywhere else, not as for this process
    os.setsid()
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    import torch
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", os.cpu_count())))
    sys.argv = words[words[0] == "-m":]
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()   # a fork would leave without


class Fork:
    "A process like those of `subprocess`; what it says goes to files, so nobody has to listen."
    def __init__(self, *words, cwd=ROOT, **environment):
        self.words, self.folder = [str(w) for w in words], tempfile.TemporaryDirectory(prefix="said-")
        self.streams = [Path(self.folder.name, name) for name in ("out", "err")]
        for path in self.streams:
            path.touch()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self.process = CONTEXT.Process(target=_become, args=(self.words, str(cwd), environment, self.streams))
        self.process.start()
        self.pid, self.kill, self.terminate = self.process.pid, self.process.kill, self.process.terminate

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def send_signal(self, number: int):
        os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.words, timeout)
        return self.process.exitcode

    def until(self, word: str, seconds: float = 120):
        "Wait until it has written a word; raises an `AssertionError` that tells what it wrote instead."
        ends = time.monotonic() + seconds
        while word not in self.said()[0]:
            assert self.poll() is None and time.monotonic() < ends, self.said()
            time.sleep(0.01)

    def said(self) -> tuple[str, str]:
        "Return what it has written so far on both streams."
        return tuple(path.read_text("utf8") for path in self.streams)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        "Wait for its end; return what it wrote on both streams."
        self.wait(timeout)
        return self.said()
