"""Processes of their own, with a command line, a folder and signals, forked from one that has imported torch.

To import torch takes longer than most of what these tests ask of a process. Whatever is about the start itself, about
a terminal or a pipe still starts an interpreter.
"""
import atexit, os, runpy, sys, tempfile, time
from pathlib import Path
from tools import forks

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ["torch", "torch._dynamo", "accelerate"]   # nothing of the library; an optimiser imports the second


def _become(words, folder, environment, streams):
    "Turn this process into what `python` with these words would be."
    forks.settle(folder, environment, streams)
    import torch
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))   # it was loaded before that was said
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


class Fork(forks.Fork):
    "A `python` with words; what it says goes to files, so nobody has to listen."
    def __init__(self, *words, cwd=ROOT, **environment):
        self.folder = tempfile.TemporaryDirectory(prefix="said-")
        self.streams = {number: Path(self.folder.name, name) for number, name in ((1, "out"), (2, "err"))}
        for path in self.streams.values():
            path.touch()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        super().__init__(_become, [str(w) for w in words], str(cwd), environment, self.streams, preload=PRELOADED)

    def until(self, words: str, seconds: float = 120) -> str:
        "Wait until it has written words, return all it wrote; raises an `AssertionError` that tells what came instead."
        ends = time.monotonic() + seconds
        while words not in self.said()[0]:
            assert self.poll() is None and time.monotonic() < ends, self.said()
            time.sleep(0.01)
        return self.said()[0]

    def said(self) -> tuple[str, str]:
        "Return what it has written so far on both streams."
        return tuple(path.read_text("utf8") for path in self.streams.values())

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        "Wait for its end; return what it wrote on both streams."
        self.wait(timeout)
        return self.said()
