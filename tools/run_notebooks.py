"""Run notebooks whole, each on a fresh kernel and as a copy, and believe nothing that was not seen to run.

`python -m tools.run_notebooks [notebook ...]` runs every notebook of nbs/ (or those named), two at a time, and ends
with `N passed, M failed`. A notebook fails if a cell raises, runs into its limit, was skipped, or hides an error:
a traceback on any stream, an exception in a widget callback or in a thread, a `!command` that failed. nbclient passes
all of those.
"""
from __future__ import annotations
import argparse, concurrent.futures, json, math, os, queue, re, shutil, sys, tempfile
import threading, time
from dataclasses import asdict, dataclass, field
from pathlib import Path
import nbformat, psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from tools.forks import FORKS, Fork, settle

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS = 180
NEIGHBOURS = ("data", "demo", "latentspeech", "teaching", "tests", "tools", "settings.ini",
              "pyproject.toml")   # of nbs/
TRACEBACK = re.compile(r"^Traceback \(most recent call last\)|^-{30,}\n\w+ +Traceback", re.M)
SHELL_LINE = re.compile(r"^\s*[\w, ]+=\s*!", re.M)

# Runs in the kernel before the first cell: notes what nbclient does not see, with the number of the cell that did it.
WATCH = """
def _watch():
    import sys, threading, traceback
    shell, notes = get_ipython(), []
    shell._runner_notes = notes
    def note(what): notes.append([shell.execution_count, what])
    old_thread, old_unraisable = threading.excepthook, sys.unraisablehook
    def thread_hook(args):
        if args.exc_type is not SystemExit: note(f"exception in a thread: {args.exc_type.__name__}: {args.exc_value}")
        old_thread(args)
    def unraisable_hook(args):
        note(f"exception nobody could catch: {args.exc_type.__name__}: {args.exc_value}")
        old_unraisable(args)
    threading.excepthook, sys.unraisablehook = thread_hook, unraisable_hook
    def after_cell(result):
        code = shell.user_ns.get("_exit_code", 0)
        if code: note(f"a !command ended with code {code}")
        shell.user_ns["_exit_code"] = 0
    shell.events.register("post_run_cell", after_cell)
_watch()
del _watch
"""
ASK = ("(__import__('json').dumps([get_ipython()._runner_notes, __import__('resource').getrusage(0).ru_maxrss]))")


@dataclass
class Result:
    "Say how one notebook went."
    name: str
    problems: list[str] = field(default_factory=list)  # empty = passed
    seconds: float = 0.0
    cells: int = 0                                     # code cells that ran
    peak_mb: float = 0.0                               # resident memory of the kernel at its highest
    slowest: tuple = (0.0, "")                         # seconds and name of the slowest cell

    @property
    def passed(self) -> bool:
        "Say whether nothing went wrong."
        return not self.problems


def cell_name(cell, index: int) -> str:
    "Name a cell so that it can be found: its place, its id and its first line of code."
    lines = [l for l in cell.source.splitlines() if l.strip() and not l.lstrip().startswith("#|")] or [""]
    return f"cell {index} ({cell.get('id', 'no id')}): {lines[0].strip()[:70]}"


def text_of(output) -> str:
    "Return everything in an output that could hide a traceback, as plain text."
    data = output.get("data", {})
    parts = [output.get("text", "")] + [data.get(k, "") for k in ("text/plain", "text/html", "text/markdown")]
    text = "\n".join("".join(p) if isinstance(p, list) else str(p) for p in parts)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def output_problems(outputs, name: str) -> list[str]:
    "List what is wrong in a cell's outputs."
    found = []
    for output in outputs:
        if output.get("output_type") == "error":
            found.append(f"{name}: {output.get('ename')}: {str(output.get('evalue'))[:300]}")
        elif TRACEBACK.search(text := text_of(output)):
            found.append(f"{name}: a traceback in its output: {text.strip().splitlines()[-1][:300]}")
    return found


def widget_problems(widget_state: dict) -> list[str]:
    "List the errors that an Output widget caught, which never reach a cell's own outputs."
    outputs = [o for state in widget_state.values() for o in state.get("outputs", ())]
    return output_problems(outputs, "an Output widget")


def audit(notebook, notes=(), widget_state=None) -> list[str]:
    "List every problem of a notebook that was run: errors, hidden errors, cells that did not run, nothing to run."
    code = [(i, c) for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source.strip()]
    problems = [] if code else ["no code cell: nothing ran"]
    for number, (index, cell) in enumerate(code, 1):
        name = cell_name(cell, index)
        problems += output_problems(cell.outputs, name)
        problems += [f"{name}: {what}" for count, what in notes if count in (number, None)
                     or (number == len(code) and count > number)]
        if SHELL_LINE.search(cell.source):
            problems.append(f"{name}: `name = !command` hides whether the command failed; use subprocess")
        if cell.execution_count != number:
            problems.append(f"{name}: was skipped or ran out of order (execution count {cell.execution_count}, "
                            f"not {number})")
    return problems + widget_problems(widget_state or {})


class Client(NotebookClient):
    "Run a notebook, and pass every message of its kernel to `listen` as well."
    listen = staticmethod(lambda cell_index, message: None)

    def process_message(self, msg, cell, cell_index):
        self.listen(cell_index, msg)
        return super().process_message(msg, cell, cell_index)


def ask_again(channel, every: float = 1.0):
    """Let a channel of a kernel look for an answer every second, instead of sleeping until it is woken.

    A widget's message goes out through the socket that waits for a cell's answer; if the answer comes in at that very
    moment, nobody is woken, and a cell that ended long ago seems to run for ever.
    """
    once = channel.get_msg
    async def get_msg(timeout=None):
        ends = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return await once(min(every, max(0.0, ends - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= ends:
                    raise
    channel.get_msg = get_msg


def processor_seconds(process: psutil.Process) -> float:
    "Add up the processor time of a process and its living descendants; 0 once it is gone."
    total = 0.0
    try:
        for one in (process, *process.children(recursive=True)):
            total += sum(one.cpu_times()[:2])
    except psutil.Error:
        pass
    return total


class Limit(threading.Thread):
    """Kill a kernel whose cell hangs: it works for `seconds` on every core, or as long hardly at all (below 1 %).

    A machine that is slow or busy gives a cell less processor time a second, and so more seconds: what still moves
    is never ended for being late.
    """
    def __init__(self, process_id: int, seconds: float | None):
        super().__init__(daemon=True)
        self.process, self.seconds = psutil.Process(process_id), seconds
        self.over, self.struck = threading.Event(), False
        self.cell_begins()

    def cell_begins(self):
        "Count from here."
        self.first = self.looked_at = processor_seconds(self.process)
        self.looked = time.monotonic()

    def run(self):
        "Look twice a second, until the notebook is over or the limit is reached."
        last = time.monotonic()
        while self.seconds is not None and not self.over.wait(0.5):
            if (pause := time.monotonic() - last) > 5:   # this thread stood still, too: the machine slept
                self.looked += pause
            last = time.monotonic()
            now, waited = processor_seconds(self.process), time.monotonic() - self.looked
            idle = False
            if waited >= self.seconds:
                idle = now - self.looked_at < 0.01 * waited
                self.looked, self.looked_at = time.monotonic(), now
            if idle or now - self.first > self.seconds * (os.cpu_count() or 1):
                self.struck = True
                self.process.kill()
                return


# What a process has imported from which kernels are forked: torch alone takes longer than most cells. None of it is
# the course's own.
PRELOADED = ["torch", "torch._dynamo", "matplotlib.pyplot", "ipykernel.kernelapp", "nbclient"]


def _be_a_kernel(command: list[str], folder: str, environment: dict, log: str):
    "Turn this process, forked from one that has imported torch, into a kernel."
    settle(folder, environment, {2: log})
    sys.argv = ["ipykernel_launcher", *command, f"--IPKernelApp.parent_handle={os.getppid()}"]   # it ends with that one
    from ipykernel.kernelapp import launch_new_instance
    launch_new_instance()


class ForkedKernels(LocalProvisioner):
    "Fork kernels instead of starting them."
    async def launch_kernel(self, cmd, **options):
        self.process = Fork(_be_a_kernel, cmd[cmd.index("-f"):], options["cwd"], options["env"],
                            options["stderr"].name, preload=PRELOADED)
        self.cwd = options["cwd"]
        self.pid = self.pgid = self.process.pid   # what a kernel has started is ended with it
        return self.connection_info


def _manager(forked: bool) -> AsyncKernelManager:
    "Make a kernel of this very interpreter, whatever kernels the user has installed."
    manager = AsyncKernelManager(kernel_name="python3")
    manager._kernel_spec = KernelSpec(argv=[sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher",
                                            "-f", "{connection_file}"],
                                      display_name="python3", language="python", env={})
    if forked:
        manager.provisioner = ForkedKernels(kernel_spec=manager.kernel_spec, parent=manager)
    return manager


def run_notebook(
    path,                    # the notebook; read, never written
    save_to=None,            # where the notebook as run is written, outputs, errors and all
    timeout=CELL_SECONDS,    # most seconds that one cell may wait, or work on every core (`Limit`); None = no limit
    env=None,                # more environment variables for the kernel
    folder=None,             # where it runs; default: a copy of its own folder, thrown away afterwards
    on_cell=None,            # called as on_cell(index, n_cells, name, seconds_so_far) when a code cell starts
    listen=None,             # called as listen(cell_index, message) with each message of the kernel
    forked=False,            # whether its kernel is a fork of a process that has imported torch (not on Windows)
) -> Result:
    "Run one notebook on a fresh kernel; return how it went."
    path, started = Path(path), time.time()
    notebook = nbformat.read(path, as_version=4)
    result = Result(path.stem)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory(prefix="notebook-") as scratch:
        if folder is None:
            # The copy keeps its neighbours in reach: ../data means what it means in the repository.
            folder = Path(scratch) / path.resolve().parent.name
            shutil.copytree(path.resolve().parent, folder,
                            ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
            for neighbour in path.resolve().parent.parent.iterdir():
                if neighbour.name in NEIGHBOURS:
                    (Path(scratch) / neighbour.name).symlink_to(neighbour)
        client = Client(notebook, km=_manager(forked), timeout=None, resources={"metadata": {"path": str(folder)}},
                        allow_errors=False)
        if listen:
            client.listen = listen
        begun, limit = {}, None
        code_cells = [i for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source.strip()]

        def cell_begins(cell, cell_index):
            begun[cell_index] = time.time()
            limit.cell_begins()
            if on_cell and cell_index in code_cells:
                on_cell(code_cells.index(cell_index), len(code_cells), cell_name(cell, cell_index),
                        time.time() - started)

        def cell_ended(cell, cell_index, **_):
            took = time.time() - begun.get(cell_index, time.time())
            result.slowest = max(result.slowest, (round(took, 2), cell_name(cell, cell_index)))

        client.on_cell_start, client.on_cell_executed = cell_begins, cell_ended
        notes, raised, current = [], None, lambda: max(begun, default=0)
        library = [str(path.resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1",
                       "PYTHONPATH": os.pathsep.join(filter(None, library)), **(env or {})}
        stderr = open(Path(scratch) / "kernel.log", "w+", encoding="utf8", errors="replace")
        try:
            with client.setup_kernel(cleanup_kc=True, env=environment, stderr=stderr):
                ask_again(client.kc.shell_channel)
                _evaluate(client, WATCH)
                limit = Limit(client.km.provisioner.pid, timeout)
                limit.start()
                try:
                    for index, cell in enumerate(notebook.cells):
                        client.execute_cell(cell, index)
                except CellExecutionError as error:
                    name = cell_name(notebook.cells[current()], current())
                    raised = f"{name}: {error.ename}: {str(error.evalue)[:300]}"
                notes, peak_kb = json.loads(_evaluate(client, "", ASK))
                result.peak_mb = round(peak_kb / (1 << 20 if sys.platform == "darwin" else 1 << 10))
        except DeadKernelError:
            why = f"ran into the limit of {timeout} s" if limit and limit.struck else "the kernel died (out of memory?)"
            raised = f"{cell_name(notebook.cells[current()], current())}: {why}"
        finally:
            if limit:
                limit.over.set()
        if raised:   # what came after a cell that failed did not run: that is no news
            ran = nbformat.from_dict({**notebook, "cells": notebook.cells[:current() + 1]})
            hidden = [p for p in audit(ran, notes, client.widget_state) if p.split(": ")[0] not in raised]
            result.problems = hidden + [raised]
        else:
            result.problems = audit(notebook, notes, client.widget_state)
        stderr.seek(0)
        log = stderr.read()
        stderr.close()
        if TRACEBACK.search(log):
            result.problems.append(f"a traceback on the kernel's own stderr: {log.strip().splitlines()[-1][:300]}")
    result.cells = sum(1 for c in notebook.cells if c.cell_type == "code" and c.execution_count)
    result.seconds = round(time.time() - started, 1)
    if save_to:
        Path(save_to).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, save_to)
    return result


def _evaluate(client, code: str, expression: str | None = None) -> str | None:
    "Run code in the kernel without counting as a cell; return the value of a string expression."
    from jupyter_core.utils import run_sync
    async def ask():
        channel = client.kc
        reply = await channel.execute_interactive(code, silent=True, store_history=False, allow_stdin=False, timeout=60,
                                                  user_expressions={"answer": expression} if expression else {},
                                                  output_hook=lambda message: None)
        return reply["content"]
    content = run_sync(ask)()
    if not expression:
        return None
    import ast
    return ast.literal_eval(content["user_expressions"]["answer"]["data"]["text/plain"])


def _run_in_process(path: str, options: dict) -> Result:
    try:
        return run_notebook(path, **options)
    except Exception as error:
        return Result(Path(path).stem, [f"the runner itself failed: {type(error).__name__}: {error}"])


def run_all(paths, jobs: int = 2, report=print, **options) -> list[Result]:
    "Run notebooks in `jobs` processes; report each as it ends, return the results in the order of `paths`."
    paths = [Path(p) for p in paths]
    save = options.pop("save_to", None)
    # One kernel isn't worth the process that it would be forked from.
    options.setdefault("forked", FORKS and len(paths) > jobs)
    with concurrent.futures.ProcessPoolExecutor(max_workers=max(1, min(jobs, len(paths) or 1))) as pool:
        waiting = {pool.submit(_run_in_process, str(p),
                               dict(options, save_to=save and str(Path(save) / p.name))): p for p in paths}
        results = {}
        for done in concurrent.futures.as_completed(waiting):
            result = results[waiting[done]] = done.result()
            report(f"{'passed' if result.passed else 'FAILED'}  {result.name:24} {result.seconds:6.1f} s  "
                   f"{result.cells:3} cells  "
                   f"{result.peak_mb:5.0f} MB  slowest {result.slowest[0]:5.1f} s")
            for problem in result.problems:
                report(f"        {problem}")
    return [results[p] for p in paths]


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", help="default: every notebook of nbs/")
    parser.add_argument("--folder", default=ROOT / "nbs", type=Path,
                        help="where the notebooks are looked for when none is named")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1),
                        help="notebooks at a time, each with its own kernel")
    parser.add_argument("--timeout", type=float, default=CELL_SECONDS, help="most seconds for one cell")
    parser.add_argument("--save", help="write the notebooks as run into this folder")
    parser.add_argument("--json", help="write what was measured into this file")
    options = parser.parse_args(argv)
    # one wish for all libraries: where one of them spins with more threads than there are cores, all wait
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // options.jobs))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, threads)
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    paths = [Path(p) for p in options.notebooks] or sorted(options.folder.glob("*.ipynb"))
    results = run_all(paths, options.jobs, lambda line: print(line, flush=True), timeout=options.timeout,
                      save_to=options.save)
    if not results:
        print(f"no notebook in {options.folder}")
    if options.json:
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(json.dumps([dict(asdict(r), passed=r.passed) for r in results], indent=1))
    failed = sum(not r.passed for r in results) + (not results)
    print(f"{len(results) - sum(not r.passed for r in results)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
