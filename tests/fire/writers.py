"""Run every writer of the library once for each system call it makes, with that call failing or being the last.

`python tests/fire/writers.py [NAME ...]` builds the shim from its source here, starts itself again with it
preloaded, and prints a line of JSON for each writer: calls, trials, and what went wrong. After each trial the file
that was there before must load, or the new one, whole; after the next undisturbed start nothing else may lie about.
"""
from __future__ import annotations
import ctypes, errno, json, os, shutil, signal, subprocess, sys, tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

HERE = Path(__file__).resolve().parent
KINDS = {"killed": 0, "ENOSPC": errno.ENOSPC}
if "FIRE" in os.environ:    # `make test-fire` asks for all of them; to a writer, an error is an error
    KINDS |= {"EIO": errno.EIO, "EACCES": errno.EACCES}


@dataclass(frozen=True)
class Writer:
    "Name a writer: what it writes first and second, and how what it wrote is read."
    # write(folder, version): version 1 is there before, version 2 is what the disturbed process writes
    write: Callable
    read: Callable    # read(folder) -> version, 0 where nothing is there; raises where it is damaged
    litter: Callable  # litter(folder) -> names that have no business there once a writer has run undisturbed
    typed: tuple = ()    # errors that the disturbed process may end with, beside OSError
    between: tuple = ()  # whole states on the way from none to version 2


def build(folder: Path) -> Path:
    "Compile the shim; raises where there is no C compiler, since nothing could be shown."
    library = folder / "shim.so"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise SystemExit("the fault shim wants a C compiler: apt-get install gcc")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "shim.c", "-ldl"], check=True)
    return library


def disturbed(shim, work: Callable, root: Path, n: int, kind: int, typed: tuple) -> tuple[str, int]:
    "Do `work` in a forked child whose n-th call is struck; return how it ended, and how many calls it made."
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        told = "done"
        try:
            shim.fault_arm(str(root).encode(), n, kind)
            work()
        except (OSError, *typed) as error:
            told = f"typed {type(error).__name__}"
        except BaseException as error:
            told = f"untyped {type(error).__name__}: {error}"[:200]
        finally:
            count = shim.fault_count()
            shim.fault_arm(b"/nowhere", 0, 0)
            os.write(writable, f"{count} {told}".encode())
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return "killed", n
    count, _, told = said.partition(" ")
    return told or f"status {status}", int(count or 0)


def trial(shim, writer: Writer, fresh: bool, n: int, kind: str) -> tuple[str | None, bool]:
    "Strike one call; return what is wrong, if anything, and whether that call was made at all."
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "work"
        root.mkdir()
        if not fresh:
            writer.write(root, 1)
        before = 0 if fresh else 1
        told, count = disturbed(shim, lambda: writer.write(root, 2), root, n, KINDS[kind], writer.typed)
        reached = told == "killed" or count >= n
        if told.startswith(("untyped", "status")):
            return f"call {n} {kind}: ended with {told}", reached
        if reached and kind != "killed" and told == "done" and writer.read(root) != 2:
            return f"call {n} {kind}: said nothing, and the new version is not there", reached
        try:
            found = writer.read(root)
        except Exception as error:
            return f"call {n} {kind}: neither old nor new: {type(error).__name__}: {error}"[:300], reached
        if found not in (before, 2, *writer.between):
            return f"call {n} {kind}: found version {found}", reached
        writer.write(root, 2)
        if writer.read(root) != 2:
            return f"call {n} {kind}: the next start doesn't write", reached
        if left := writer.litter(root):
            return f"call {n} {kind}: left behind {left}", reached
    return None, reached


def strike_all(shim, name: str, writer: Writer, most: int = 400) -> dict:
    "Strike every call of a writer in turn, each kind of fault, until no call is left."
    wrong, trials, calls = [], 0, 0
    for fresh in (True, False):
        for kind in KINDS:
            for n in range(1, most):
                fault, reached = trial(shim, writer, fresh, n, kind)
                if fault:
                    wrong.append(("fresh, " if fresh else "over an old one, ") + fault)
                if not reached:
                    break
                trials, calls = trials + 1, max(calls, n)
            else:
                wrong.append(f"{kind}: more than {most} calls")
    return dict(writer=name, calls=calls, trials=trials, wrong=wrong)


def hidden(folder: Path) -> list:
    "List drafts: names that begin with a dot, but for locks."
    return [p.name for p in folder.rglob(".*") if p.name != ".lock"]


def library_writers() -> dict:
    "Return name -> `Writer` for everything in the library that keeps something on a disk."
    import torch
    from latentspeech.files import write_atomically
    from latentspeech.training import TrainingError, latest_checkpoint, save_checkpoint
    from latentspeech.weights import PretrainedError, load_weights, save_tensors
    from latentspeech import audio, latents, listening, table
    from latentspeech.weights import weights_hash
    torch.set_num_threads(1)

    def read_text(folder):
        return int((folder / "a/file.txt").read_text()[-1]) if (folder / "a/file.txt").exists() else 0

    def read_checkpoint(folder):
        state = latest_checkpoint(folder / "run")
        return 0 if state is None else int(state["w"][0])

    def save_step(folder, version):
        save_checkpoint(folder / "run", version, {"w": torch.full((50,), float(version))})

    def read_weights(folder):
        if not (folder / "set.safetensors").exists() and not (folder / "set.json").exists():
            return 0
        state, card = load_weights(folder / "set.safetensors", "set")
        assert card["version"] == int(state["w"][0]), "weights and card of two versions"
        return card["version"]

    def read_sound(folder):
        if not (folder / "a.wav").exists():
            return 0
        return round(float(audio.load(folder / "a.wav")[100]) * 10)

    class Encoder(torch.nn.Module):
        "Stand for an autoencoder: latents are its one weight."
        def __init__(self, version):
            super().__init__()
            self.weight, self.latent_mean = torch.nn.Parameter(torch.full((1,), float(version))), torch.zeros(4)
        def encode(self, audio):
            return self.weight.detach() * torch.ones(1, 4, 3)

    class Words:
        "Stand for a corpus of one sound."
        def __init__(self):
            self.utterances = [type("U", (), dict(id="a", seconds=1.0, sha256="x"))()]
        def audio(self, utterance):
            return torch.zeros(100)
        def sound_sha256(self, utterance):
            return "x"

    def write_latents(folder, version):
        latents.cache_latents(Encoder(version), Words(), folder, progress=False)

    def read_latents(folder):
        "A cache that can't be read is made again: what counts is that no wrong one is ever taken."
        for version in (2, 1):
            kept = latents.cache_latents(Encoder(version), Words(), folder, progress=False)
            assert float(kept["a"][0, 0]) == version
        return 2

    trials = listening.plan_test(["a", "b"], 2, listener=1)

    def write_sheet(folder, version):
        sheet = listening.Sheet(trials, folder / "sheet.json")
        while sheet.next is not None and sheet.next < version:
            listening.record_answer(sheet, next(iter(listening.choices(trials[sheet.next]).values())))

    def read_sheet(folder):
        if not (folder / "sheet.json").exists():
            return 0
        answered = listening.Sheet(trials, folder / "sheet.json").next
        return len(trials) if answered is None else answered

    def read_record(folder):
        return table.recorded(folder / "r.json")["rows"][0]["v"] if (folder / "r.json").exists() else 0

    return {
        "write_atomically": Writer(lambda f, v: write_atomically(f / "a/file.txt", b"version " * 500
                                                                 + str(v).encode()), read_text, hidden),
        "checkpoint": Writer(save_step, read_checkpoint, hidden, (TrainingError,)),
        "weights": Writer(lambda f, v: save_tensors(f / "set", {"w": torch.full((50,), float(v))}, dict(version=v)),
                          read_weights, hidden),
        "sound": Writer(lambda f, v: audio.save(f / "a.wav", torch.full((4800,), v / 10)), read_sound, hidden,
                        (audio.AudioError,)),
        "latents": Writer(write_latents, read_latents, hidden, (latents.LatentError,)),
        "listening sheet": Writer(write_sheet, read_sheet, hidden, between=(1,)),
        "record": Writer(lambda f, v: table.record(f / "r.json", [dict(v=v)], "make nothing", 0, "-", "-"),
                         read_record, hidden),
    }


def main(names: list) -> int:
    "Strike the named writers, or all."
    if "FAULT_SHIM" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            library = str(build(Path(folder)))
            return subprocess.run([sys.executable, __file__, *names],
                                  env={**os.environ, "LD_PRELOAD": library, "FAULT_SHIM": library}).returncode
    shim = ctypes.CDLL(os.environ["FAULT_SHIM"])
    shim.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
    shim.fault_count.restype = ctypes.c_long
    writers, failed = library_writers(), 0
    for name in names or writers:
        result = strike_all(shim, name, writers[name])
        failed += bool(result["wrong"])
        print(json.dumps(result), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
