"""The notebook runner must see every way in which a notebook can go wrong, and name the cell."""
import multiprocessing, sys
import nbformat, pytest
from tools.forks import FORKS, start
from tools.run_notebooks import main, run_notebook


def write(folder, *cells, name="lesson"):
    "Write a notebook of code cells; an item that is a cell already is kept."
    folder.mkdir(exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=[c if not isinstance(c, str) else nbformat.v4.new_code_cell(c)
                                               for c in cells])
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def problems(tmp_path, *cells, **options):
    "Run a notebook of those cells and return what the runner found wrong, as one text."
    options = dict(forked=FORKS) | options
    return "\n".join(run_notebook(write(tmp_path / "nbs", *cells), **options).problems)


def test_a_good_notebook_passes_and_stays_as_it_was(tmp_path):
    path = write(tmp_path / "nbs", "x = 1", "assert x == 1", "open('left_behind.txt', 'w').write('x')\nprint(x)")
    before = path.read_bytes()
    result = run_notebook(path, save_to=tmp_path / "run.ipynb")
    assert result.passed and result.cells == 3 and result.seconds > 0 and result.peak_mb > 10
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["lesson.ipynb"]
    assert nbformat.read(tmp_path / "run.ipynb", 4).cells[2].outputs[0].text == "1\n"


def test_an_error_is_red_with_the_cells_name(tmp_path):
    found = problems(tmp_path, "x = 1", "y = x / 0  # here", "never = 1")
    assert "y = x / 0  # here" in found and "ZeroDivisionError" in found and "never" not in found


def test_a_hang_runs_into_the_limit(tmp_path):
    for waste in ("pass", "__import__('time').sleep(1)"):   # one works for nothing, one waits
        found = problems(tmp_path, "x = 1", f"while True: {waste}  # for ever", timeout=3)
        assert "for ever" in found and "limit of 3 s" in found


def test_a_slow_cell_that_moves_is_not_ended(tmp_path):
    "On a machine that is busy a cell takes long and works little: here a hundredth of each second."
    slow = "import time\nfor _ in range(60):\n    x = sum(range(1_000_000))\n    time.sleep(0.1)"
    assert run_notebook(write(tmp_path / "nbs", slow), timeout=3).passed


@pytest.mark.parametrize("cells", [[], [nbformat.v4.new_markdown_cell("only prose")], ["   "]])
def test_nothing_to_run_is_red(tmp_path, cells):
    assert "nothing ran" in problems(tmp_path, *cells)


def test_a_skipped_cell_is_red(tmp_path):
    skipped = nbformat.v4.new_code_cell("left_out = 1", metadata={"tags": ["skip-execution"]})
    found = problems(tmp_path, "x = 1", skipped, "y = 1")
    assert "left_out = 1" in found and "skipped" in found


def test_a_failing_widget_callback_is_red(tmp_path):
    found = problems(tmp_path, "import ipywidgets\nbutton = ipywidgets.Button()\nbutton.on_click(lambda b: 1 / 0)",
                     "button.click()")
    assert "button.click()" in found and "ZeroDivisionError" in found


def test_an_error_inside_an_output_widget_is_red(tmp_path):
    found = problems(tmp_path, "import ipywidgets\nout = ipywidgets.Output()\ndisplay(out)",
                     "with out:\n    {}['lost']")
    assert "KeyError" in found


@pytest.mark.parametrize("wait", ["thread.join()", "pass"])
def test_an_exception_in_a_thread_is_red(tmp_path, wait):
    found = problems(tmp_path, "import threading, time",
                     f"thread = threading.Thread(target=lambda: [time.sleep(.2), 1 / 0])\nthread.start()\n{wait}",
                     "time.sleep(1)")
    assert "ZeroDivisionError" in found and "thread" in found


def test_a_traceback_that_was_only_printed_is_red(tmp_path):
    found = problems(tmp_path, "import sys, traceback\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()")
    assert "traceback in its output" in found


def test_a_failing_shell_command_is_red(tmp_path):
    assert "!command ended with code 3" in problems(tmp_path, "!exit 3", "x = 1")
    assert problems(tmp_path, "!echo fine", "x = 1") == ""
    assert "hides whether" in problems(tmp_path, "listing = !ls")


def test_a_kernel_that_dies_is_red(tmp_path):
    assert "kernel died" in problems(tmp_path, "import os\nos._exit(1)")


def test_a_forked_kernel_knows_what_a_fresh_one_knows(tmp_path):
    fresh = """import multiprocessing, sys
assert not [m for m in sys.modules if m.startswith("latentspeech")]
assert multiprocessing.get_start_method() == multiprocessing.get_all_start_methods()[0]"""
    assert problems(tmp_path, fresh, "from latentspeech.config import FRAME\nassert FRAME == 1024") == ""
    assert "NameError" in problems(tmp_path, "torch.ones(1)  # nobody imported it")


def _tell(*modules):
    sys.exit(sum(2**i for i, module in enumerate(modules) if module in sys.modules))


@pytest.mark.skipif(not FORKS, reason="this system has no server to fork from")
def test_a_fork_knows_nothing_that_another_was_to_know():
    "Whoever grades preloads the course; a kernel forked later in the same process knew it, too."
    asked = ("wave", "colorsys")
    for i, module in (*enumerate(asked), *enumerate(asked)):
        process = multiprocessing.get_context("forkserver").Process(target=_tell, args=asked)
        start(process, [module])
        process.join(60)
        assert process.exitcode == 2**i


def test_the_command_counts_and_fails_on_nothing(tmp_path, capsys):
    write(tmp_path / "nbs", "x = 1", name="good"), write(tmp_path / "nbs", "1 / 0", name="bad")
    assert main(["--folder", str(tmp_path / "nbs"), "--json", str(tmp_path / "times.json")]) == 1
    printed = capsys.readouterr().out
    assert printed.strip().splitlines()[-1] == "1 passed, 1 failed" and "ZeroDivisionError" in printed
    assert '"seconds"' in (tmp_path / "times.json").read_text()
    assert main(["--folder", str(tmp_path / "empty")]) == 1
    assert capsys.readouterr().out.strip().splitlines()[-1] == "0 passed, 1 failed"


def test_an_answer_that_woke_nobody_is_found():
    "A channel that sleeps is asked again: the answer was there, but no one had been told."
    import asyncio, queue
    from types import SimpleNamespace
    from tools.run_notebooks import ask_again
    looks = []
    async def get_msg(timeout=None):
        assert timeout is not None, "it would sleep for ever"
        looks.append(timeout)
        if len(looks) < 3:
            raise queue.Empty
        return "the answer"
    channel = SimpleNamespace(get_msg=get_msg)
    ask_again(channel, every=0.01)
    assert asyncio.run(channel.get_msg()) == "the answer" and len(looks) == 3
    looks.clear()
    with pytest.raises(queue.Empty):
        asyncio.run(channel.get_msg(timeout=0))
