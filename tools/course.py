"""Make what a class needs from the lessons: `python -m tools.course` writes out/course.

One source, five editions: lessons for students (no solution, no why), solved lessons, an answer key, an assignment in
the format of nbgrader, and slides that need no network. `python -m tools.course grade FILE` judges a student's lesson,
or a folder of them. `times` keeps what `make test` measured and how long grading takes, `write` puts minutes into
headers and figures into tables, and `check` says whether these are up to date.

An exercise is five cells in a row, tagged task, blank, check, solution, why.
"""
from __future__ import annotations
import concurrent.futures, configparser, copy, functools, html, json, multiprocessing, os, re, shutil, signal
import sys, tempfile, time
from dataclasses import dataclass
from pathlib import Path
import nbformat
from tools.forks import FORKS, start

ROOT = Path(__file__).resolve().parent.parent
LESSONS, OUT, TEACHING = ROOT / "nbs", ROOT / "out" / "course", ROOT / "teaching"
ROLES = ("task", "blank", "check", "solution", "why")
CHECK = re.compile(r'check\("([\d.]+)", (\w+)\)')
SOLVED = re.compile(r"<details>\s*<summary>[^<]*[Ss]olution[^<]*</summary>.*?</details>\s*", re.S)
FOLD = re.compile(r"</?details>|<summary>.*?</summary>")
HEADER = re.compile(r"\n+\*About \d+ minutes[^\n]*\*(\n+\*Open in [^\n]*\*)?\s*$")
GUIDES = ("config", "files", "weights", "interactive", "exercises")   # that every lesson uses
WORDS, LINES, AN_EXERCISE = 150, 12, 4     # words and code lines read in a minute; minutes for an exercise
SEEDS = (1, 2, 3)                          # of the hidden checks
# The first code cell of a lesson, folded. Away from home it needs the whole course: lessons read its records.
INSTALL = """#| hide
# Only on Colab and Kaggle: fetch the course, install it, work beside its data. Elsewhere this does nothing.
import os
from importlib.util import find_spec
if {{"COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"}} & set(os.environ):
    if not find_spec("latentspeech"):
        fetch = "git clone -q --depth 1 -b {branch} {url} course"
        get_ipython().system(fetch + " && pip install -q './course[notebook,train,zh]'")
    if os.path.isdir("course/nbs"):
        os.chdir("course/nbs")"""
SECONDS, HANGS = 60, 10     # that a cell of a submission may work; so often as long it may say nothing
FETCHES = "# Only on Colab and Kaggle:"


@dataclass
class Exercise:
    "Hold an exercise: its number, the name that is checked, its five cells."
    number: str
    name: str
    cells: dict


def role_of(cell) -> str:
    "Return the role of a cell in an exercise, or nothing."
    return next((tag for tag in cell.metadata.get("tags", ()) if tag in ROLES), "")


def lessons() -> list[Path]:
    "List the lessons, in their order; part 9 holds their judges, which aren't for students."
    return sorted(LESSONS.glob("[0-8]*.ipynb"))


def read(path) -> nbformat.NotebookNode:
    "Read a notebook."
    return nbformat.read(path, as_version=4)


def exercises_of(notebook) -> list[Exercise]:
    "List the exercises of a lesson; raises a ValueError where five cells aren't in their order."
    tagged, found = [c for c in notebook.cells if role_of(c)], []
    for start in range(0, len(tagged), 5):
        five = tagged[start:start + 5]
        roles = tuple(map(role_of, five))
        if roles != ROLES:
            raise ValueError(f"an exercise is {', '.join(ROLES)}; at {five[0].source[:40]!r} it is {', '.join(roles)}")
        number, name = CHECK.fullmatch(five[2].source.strip()).groups()
        found.append(Exercise(number, name, dict(zip(ROLES, five))))
    return found


def solution_of(exercise: Exercise) -> str:
    "Return the code of a solution, without its check and its note."
    lines = exercise.cells["solution"].source.splitlines()
    return "\n".join(l for l in lines if not CHECK.fullmatch(l.strip()) and not l.startswith("# An answer."))


def module_of(notebook) -> str:
    "Return the module that a lesson makes, or nothing."
    source = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    name = re.search(r"^#\| *default_exp +([\w.]+)", source, re.M)
    return f"latentspeech.{name[1]}" if name else ""


# --- editions

def student(notebook) -> nbformat.NotebookNode:
    "Return a lesson as a student gets it: blanks and hints, no solution, no why."
    made = copy.deepcopy(notebook)
    made.cells = [c for c in made.cells if role_of(c) not in ("solution", "why")]
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = SOLVED.sub("", cell.source)
        elif role_of(cell):
            cell.outputs, cell.execution_count = [], None
    return made


def solved(notebook) -> nbformat.NotebookNode:
    "Return a lesson with the solution in the place of each blank, and the why behind it."
    made = copy.deepcopy(notebook)
    for exercise in exercises_of(made):
        exercise.cells["blank"].source = solution_of(exercise)
        exercise.cells["check"].outputs = exercise.cells["solution"].outputs
    made.cells = [c for c in made.cells if role_of(c) != "solution"]
    return made


def key(notebooks: dict) -> str:
    "Return the answers of all lessons as one page of Markdown."
    parts = ["# Answer key\n\nMade from the lessons by `make course`. Not for students."]
    for stem, notebook in notebooks.items():
        for exercise in exercises_of(notebook):
            title = exercise.cells["task"].source.split("**")[1]
            parts.append(f"## {title} ({stem})\n\n```python\n{solution_of(exercise)}\n```\n\n"
                         f"{FOLD.sub('', exercise.cells['why'].source).strip()}")
    return "\n\n".join(parts) + "\n"


def _nbgrader(cell, name, **said):
    cell.metadata["nbgrader"] = dict(schema_version=3, grade_id=name, grade=False, solution=False, locked=False,
                                     task=False, **said)
    return cell.metadata["nbgrader"]


def assignment(notebook, release: bool) -> nbformat.NotebookNode:
    "Return a lesson in the format of nbgrader: its source, or what is handed out."
    made = copy.deepcopy(notebook)
    for exercise in exercises_of(made):
        cells, name = exercise.cells, "exercise-" + exercise.number.replace(".", "-")
        _nbgrader(cells["task"], name + "-task").update(locked=True)
        _nbgrader(cells["blank"], name).update(solution=True)
        _nbgrader(cells["check"], name + "-check", points=1).update(grade=True, locked=True)
        ask = f'check("{exercise.number}", {exercise.name}'
        hidden = f"assert all({ask}, seed) for seed in {SEEDS}), {ask}, 1)"
        if not release:
            cells["blank"].source = f"### BEGIN SOLUTION\n{solution_of(exercise)}\n### END SOLUTION"
            hidden = f"### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
        cells["check"].source = f"verdict = {ask})\nprint(verdict)\nassert verdict, verdict" + (
            "" if release else f"\n{hidden}")
    return student(made)


# --- grading

def grade(submission, lesson) -> dict:   # number -> "right", "not yet", "no", or what stopped it
    "Judge a student's lesson with hidden inputs; what the student changed in checks doesn't count."
    wanted = exercises_of(lesson)
    module = module_of(lesson)
    first = f"import {module} as lesson\nglobals().update(vars(lesson))" if module else "pass"
    steps = [(first, ""), *grading_steps(submission, {e.number: e.name for e in wanted})]
    processes = multiprocessing.get_context("forkserver" if FORKS else "spawn")
    hears, says = processes.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        student = processes.Process(target=run_answers, args=(says, folder, steps), daemon=True)
        start(student, _preloaded()) if FORKS else student.start()
        says.close()
        said = _heard(hears, len(wanted))
        student.kill()
        student.join()
    return {e.number: said.get(e.number, "stopped: it never ran") for e in wanted}


def grading_steps(submission, names: dict) -> list:   # names: number -> name; (source, "") or (name, number)
    "List what is run and what is asked: an exercise where its check stands, for the next may use the same name."
    begin = next((i for i, c in enumerate(submission.cells) if c.source.lstrip("#").startswith(" Exercises")), 0)
    steps, left = [], dict(names)
    for cell in submission.cells[begin:]:
        if cell.cell_type == "code" and not (check := CHECK.search(cell.source)):
            steps.append((cell.source, ""))
        elif cell.cell_type == "code" and check[1] in left:
            steps.append((left.pop(check[1]), check[1]))
    return steps + [(name, number) for number, name in left.items()]    # whose checks are gone


@functools.cache
def _preloaded() -> list:
    "List what a process has imported from which those are forked that run answers: the course, where it can fork."
    modules = [module_of(read(path)) for path in lessons()]
    return ["torch", "nbformat", "IPython.core.interactiveshell", *filter(None, modules)]


def _heard(hears, count: int) -> dict:   # number -> what was said
    "Collect what a student's process says about each exercise, until it has said all, ends or hangs."
    said = {}
    while len(said) < count and hears.poll(SECONDS * HANGS):
        try:
            number, state = hears.recv()
        except (EOFError, OSError):
            break
        said[number] = state
    return said


def run_answers(says, folder: str, steps: list):   # steps: what `grading_steps` lists
    "Run a student's cells in a shell of their own, ask with hidden inputs, and say what came out."
    import torch
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config
    os.chdir(folder)
    sys.stdout = sys.stderr = open(os.devnull, "w")
    torch.set_num_threads(1)
    shell = InteractiveShell.instance(config=Config(HistoryManager=dict(enabled=False)))
    for source, number in steps:
        if not number:
            _run_cell(shell, source)
            continue
        ask = f"[_check({number!r}, {source}, seed).state for seed in {SEEDS}]"
        error = _run_cell(shell, f"from latentspeech.exercises import check as _check\n_states = {ask}")
        states = () if error else shell.user_ns["_states"]
        says.send((number, f"stopped: {type(error).__name__}" if error else
                   next((s for s in states if s != "right"), "right")))


def _out_of_time(*_):
    raise TimeoutError(f"a cell worked for {SECONDS} s")


def _run_cell(shell, source: str):   # what it raised, or None
    "Run a cell, and end it once it has worked for `SECONDS`."
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, _out_of_time)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
    result = shell.run_cell(source, silent=True)
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, 0)
    return result.error_before_exec or result.error_in_exec


def grade_folder(folder: Path, jobs: int = 2, report=print) -> tuple[dict, float]:   # stem -> states, seconds
    "Grade every lesson in a folder, two at a time; those that are no lesson are named and left out."
    began, known = time.time(), {p.name: p for p in lessons()}
    handed_in = sorted(Path(folder).rglob("*.ipynb"))
    for path in handed_in:
        if path.name not in known:
            report(f"{path.name}: no lesson is called so")
    mine = [p for p in handed_in if p.name in known]
    graded = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for path, states in zip(mine, pool.map(lambda path: grade(read(path), read(known[path.name])), mine)):
            graded[path.stem] = states
            report(f"{path.stem:24} " + ", ".join(f"{number} {state}" for number, state in states.items()))
    return graded, time.time() - began


# --- slides

STYLE = """body{margin:0;font:22px/1.45 Helvetica,Arial,'Noto Sans CJK SC',sans-serif;color:#1f2937}
section{display:none;padding:4vh 6vw;box-sizing:border-box;min-height:100vh}section.on{display:block}
img{max-width:100%;max-height:62vh}pre{font-size:16px;white-space:pre-wrap}blockquote{color:#6b7280;margin:0}
table{font-size:18px}.jp-InputPrompt,.jp-OutputPrompt,.anchor-link,.prompt{display:none}
footer{position:fixed;right:2vw;bottom:1vh;color:#6b7280;font-size:14px}"""
SCRIPT = """let at=0;const all=[...document.querySelectorAll('section')];
function go(to){at=Math.max(0,Math.min(all.length-1,to));all.forEach((s,i)=>s.classList.toggle('on',i==at));
document.querySelector('footer').textContent=(at+1)+' / '+all.length}
addEventListener('keydown',e=>{if(['ArrowRight','PageDown',' '].includes(e.key))go(at+1);
if(['ArrowLeft','PageUp'].includes(e.key))go(at-1)});
addEventListener('click',e=>{if(!e.target.closest('audio,a,button,summary'))go(at+1)});go(0)"""


def _to_show(cell) -> bool:
    return any({"image/png", "image/svg+xml"} & set(o.get("data", {})) or "<audio" in str(o.get("data", {}))
               for o in cell.get("outputs", ()))


def slides_of(notebook) -> list[list]:
    "Choose what a class sees: title, every heading with its words, the first picture or sound below it, the end."
    chosen, open_for_picture = [], False
    for cell in notebook.cells:
        if role_of(cell):
            break
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            if "Exercises" in cell.source.splitlines()[0]:
                break
            chosen.append([cell])
            open_for_picture = True
        elif cell.cell_type == "code" and open_for_picture and _to_show(cell):
            chosen[-1].append(cell)
            open_for_picture = False
    return chosen


def slides(notebook, title: str) -> str:
    "Return a lesson as one page of slides; sounds and pictures are inside."
    from nbconvert import HTMLExporter
    exporter = HTMLExporter(template_name="basic", exclude_input=True)
    shown = []
    for cells in slides_of(notebook):
        page = nbformat.v4.new_notebook(cells=copy.deepcopy(cells))
        for output in (o for c in page.cells for o in c.get("outputs", ())):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        shown.append(f"<section>{exporter.from_notebook_node(page)[0]}</section>")
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<style>{STYLE}</style>{''.join(shown)}<footer></footer><script>{SCRIPT}</script></html>\n")


# --- figures

def words_and_lines(notebook) -> tuple[int, int]:
    "Count the words of the prose and the lines of the code; nobody reads the header or the cell that installs."
    first = HEADER.sub("", notebook.cells[0].source)
    rest = [SOLVED.sub("", c.source) for c in notebook.cells[1:] if c.cell_type == "markdown"]
    prose = " ".join([first, *rest])
    code = [l for c in notebook.cells if c.cell_type == "code" and FETCHES not in c.source
            for l in c.source.splitlines()]
    return len(prose.split()), sum(bool(l.strip()) and not l.startswith("#|") for l in code)


def minutes(notebook) -> int:
    "Estimate how long a lesson takes a reader, to the next five minutes, by a rule that teaching/README.md states."
    words, lines = words_and_lines(notebook)
    return 5 * max(1, round((words / WORDS + lines / LINES + AN_EXERCISE * len(exercises_of(notebook))) / 5))


def needs_of(notebook, made_by: dict) -> list[str]:   # made_by: module -> stem of its lesson
    "List the lessons before this one whose modules its own needs, or else its cells; what all use is left out."
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    mine = module_of(notebook).removeprefix("latentspeech.")
    for sources in ([s for s in code if "#| export" in s], code):
        used = set(re.findall(r"^from latentspeech\.([\w.]+) import", "\n".join(sources), re.M)) - {*GUIDES, mine}
        if found := sorted(made_by[name] for name in used if made_by.get(name, "99") < made_by.get(mine, "")):
            return found
    return []


def title_of(stem: str) -> str:
    "Return number and name of a lesson as its file says them."
    return stem.replace("_", " ")


def header(notebook, made_by: dict) -> str:
    "Return the line under a lesson's title: minutes, what it needs, where to go when lost."
    needs = needs_of(notebook, made_by)
    def link(stem):
        return f"[{title_of(stem)}]({stem}.ipynb)"
    said = ", ".join(map(link, needs)) or "nothing but curiosity"
    lost = needs[-1] if needs else "00_hear_it_first" if module_of(notebook) else "01_notation"
    return f"*About {minutes(notebook)} minutes · needs {said} · lost? go to {link(lost)}*"


def home() -> tuple[str, str]:   # address of the source, branch
    "Read from settings.ini where the source is published."
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "settings.ini", encoding="utf8")
    return settings["DEFAULT"]["git_url"].rstrip("/"), settings["DEFAULT"]["branch"]


def clouds(stem: str, git_url: str, branch: str) -> dict:   # Colab, Kaggle -> address
    "Return where a lesson opens in a browser elsewhere; nowhere unless the source is on GitHub, which both want."
    place = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?", git_url)
    if not place:
        return {}
    file = f"{place[1]}/blob/{branch}/nbs/{stem}.ipynb"
    return dict(Colab=f"https://colab.research.google.com/github/{file}",
                Kaggle=f"https://kaggle.com/kernels/welcome?src=https://github.com/{file}")


def with_header(notebook, made_by: dict, opens: dict) -> str:   # opens: what `clouds` returns
    "Return the first cell of a lesson with its header."
    said = [header(notebook, made_by)]
    if opens:
        said.append("*Open in " + " or ".join(f"[{name}]({url})" for name, url in opens.items()) + "*")
    return "\n\n".join([HEADER.sub("", notebook.cells[0].source.rstrip()), *said])


def install_cell(git_url: str, branch: str, module: str = "") -> str:   # module: that the lesson makes
    "Return the first code cell of a lesson, which does nothing unless Colab or Kaggle runs it."
    directive = f"#| default_exp {module}\n" if module else ""
    return directive + INSTALL.format(url=git_url, branch=branch)


def set_install(notebook, git_url: str, branch: str):
    "Let a lesson begin with the cell that fetches the course; the cell that names its module becomes it."
    module = module_of(notebook).removeprefix("latentspeech.")
    code = [c for c in notebook.cells if c.cell_type == "code"]
    if not (FETCHES in code[0].source or code[0].source.startswith("#| default_exp")):
        code.insert(0, nbformat.v4.new_code_cell(id="f37c4e5d"))
        notebook.cells.insert(1, code[0])
    code[0].source = install_cell(git_url, branch, module)
    code[0].metadata["jupyter"] = dict(source_hidden=True)


def measured(notebook) -> dict:
    "Count what a lesson lets one hear and do: widgets with sound, exercises, where the first sound is."
    sounds = [i for i, c in enumerate(notebook.cells) if "<audio" in str(c.get("outputs", ""))]
    moving = [i for i in sounds if "widget-view" in str(notebook.cells[i].outputs)]
    first = f"{100 * sounds[0] // len(notebook.cells)} %" if sounds else "–"
    return dict(minutes=minutes(notebook), widgets=len(moving), exercises=len(exercises_of(notebook)), first=first)


def table(notebooks: dict) -> str:
    "Return the table of the lessons as Markdown."
    rows = {stem: measured(notebook) for stem, notebook in notebooks.items()}
    done = [r for r in rows.values() if r["exercises"]]
    head = (f"{sum(r['exercises'] for r in done)} exercises in {len(done)} of {len(rows)} lessons are checked; "
            f"{sum(r['widgets'] for r in rows.values())} widgets have sound. First sound: after which part of the "
            "lesson's cells.\n\n| lesson | minutes | widgets with sound | checked exercises | first sound |\n"
            "|---|---|---|---|---|\n")
    return head + "\n".join(f"| [{stem[:2]} {stem[3:].replace('_', ' ')}]({stem}.ipynb) | {r['minutes']} | "
                            f"{r['widgets'] or '–'} | {r['exercises'] or '–'} | {r['first']} |"
                            for stem, r in rows.items()) + "\n"


def syllabus(plans: dict, notebooks: dict) -> str:   # plans: name -> weeks, from teaching/plans.json
    "Return the syllabi as Markdown, with the minutes that their lessons take."
    stems = {stem[:2]: stem for stem in notebooks}
    def links(numbers):
        return ", ".join(f"[{n}](../nbs/{stems[n]}.ipynb)" for n in numbers) or "–"
    def total(numbers):
        return sum(minutes(notebooks[stems[n]]) for n in numbers)
    parts = ["# Syllabi\n\nCore lessons are what later ones build on; optional ones are for whoever wants more. The "
             "minutes are for reading and doing the core, after the rule of [README](README.md): what doesn't fit "
             "is read at home."]
    for name, weeks in plans.items():
        rows = [f"| {i} | {w['title']} | {links(w['core'])} | {links(w['optional'])} | {total(w['core'])} | "
                f"{w['hand_in']} |" for i, w in enumerate(weeks, 1)]
        hours = total(n for w in weeks for n in w["core"]) / 60
        parts.append(f"## {name}\n\nAbout {hours:.0f} hours of core lessons.\n")
        parts.append("| | topic | core | optional | minutes | hand in |\n|---|---|---|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _grading(kept: dict) -> str:
    "Say how long it takes to grade everything."
    if "grading" not in kept:
        return ""
    return ("\n\nGrading a submission of all lessons, {exercises} exercises with hidden inputs, took {seconds:.0f} s "
            "on {cores} cores.").format(**kept["grading"])


def times_table(kept: dict, notebooks: dict) -> str:
    "Return minutes to read and seconds to run as Markdown."
    lines = [f"# Times\n\nMinutes follow the rule of [README](README.md). Seconds and memory were measured when the "
             f"notebooks were tested: {kept['machine']}.{_grading(kept)}\n",
             "| lesson | minutes to read and do | runs in | memory |", "|---|---|---|---|"]
    for stem, notebook in notebooks.items():
        ran = kept["lessons"].get(stem)
        said = f"{ran['seconds']:.0f} s | {ran['peak_mb']:.0f} MB" if ran else "not measured | –"
        lines.append(f"| [{stem[:2]}](../nbs/{stem}.ipynb) | {minutes(notebook)} | {said} |")
    return "\n".join(lines) + "\n"


def keep_times(report: Path) -> dict:
    "Keep what a run of the notebooks measured (its --json), one entry a lesson; entries of others stay."
    path = TEACHING / "times.json"
    kept = json.loads(path.read_text("utf8")) if path.exists() else dict(lessons={})
    kept["machine"] = f"{os.cpu_count()} cores, {sys.platform}, two lessons at a time"
    for r in json.loads(Path(report).read_text("utf8")):
        if r["passed"] and (LESSONS / f"{r['name']}.ipynb").exists():
            kept["lessons"][r["name"]] = dict(seconds=r["seconds"], peak_mb=r["peak_mb"])
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", "utf8")
    return kept


def made_files(notebooks: dict) -> dict:   # path -> text
    "Return every file that `write` makes: lessons with headers and their first cell, tables, syllabi."
    made_by = {module_of(n).removeprefix("latentspeech."): stem for stem, n in notebooks.items() if module_of(n)}
    texts, source = {}, home()
    for stem, notebook in notebooks.items():
        changed = copy.deepcopy(notebook)
        if exercises_of(notebook):
            changed.cells[0].source = with_header(notebook, made_by, clouds(stem, *source))
        set_install(changed, *source)
        texts[LESSONS / f"{stem}.ipynb"] = _dump(changed)
        notebooks[stem] = changed
    kept = TEACHING / "times.json"
    if kept.exists():
        texts[TEACHING / "times.md"] = times_table(json.loads(kept.read_text("utf8")), notebooks)
    texts[TEACHING / "table.md"] = table(notebooks)
    plans = json.loads((TEACHING / "plans.json").read_text("utf8"))
    texts[TEACHING / "syllabus.md"] = syllabus(plans, notebooks)
    return texts


def _dump(notebook) -> str:
    made = json.loads(nbformat.writes(notebook))
    return json.dumps(made, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


# --- commands

def make(out: Path = OUT, only: tuple = ()) -> dict:   # what was made -> how many
    "Write all editions; return how many files of each there are."
    notebooks = {p.stem: read(p) for p in lessons() if not only or p.stem in only}
    with_exercises = {stem: n for stem, n in notebooks.items() if exercises_of(n)}
    shutil.rmtree(out, ignore_errors=True)
    for stem, notebook in notebooks.items():
        _write(out / "student" / f"{stem}.ipynb", nbformat.writes(student(notebook)))
        _write(out / "solved" / f"{stem}.ipynb", nbformat.writes(solved(notebook)))
        _write(out / "slides" / f"{stem}.html", slides(notebook, stem))
    for stem, notebook in with_exercises.items():
        for kind in ("source", "release"):
            _write(out / "assignment" / kind / stem / f"{stem}.ipynb",
                   nbformat.writes(assignment(notebook, kind == "release")))
    _write(out / "key.md", key(with_exercises))
    return dict(student=len(notebooks), solved=len(notebooks), slides=len(notebooks), assignment=len(with_exercises))


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf8")


def grade_command(path: Path) -> tuple[int, float]:   # exercises that were judged, seconds
    "Grade a lesson, or a folder of lessons, and print the tally."
    if path.is_dir():
        graded, seconds = grade_folder(path, min(2, os.cpu_count() or 1))
        states = [state for lesson in graded.values() for state in lesson.values()]
    else:
        began = time.time()
        said = grade(read(path), read(LESSONS / path.name))
        print("\n".join(f"{number:6} {state}" for number, state in said.items()))
        states, seconds = list(said.values()), time.time() - began
    print(f"{sum(s == 'right' for s in states)} of {len(states)} right, after {seconds:.0f} s")
    return len(states), seconds


def measure(report: Path):
    "Keep what a run of the notebooks measured, grade a submission of all lessons, and keep how long that took."
    print(f"{len(keep_times(report)['lessons'])} lessons have times")
    with tempfile.TemporaryDirectory() as folder:
        for path in lessons():
            _write(Path(folder) / path.name, nbformat.writes(solved(read(path))))
        exercises, seconds = grade_command(Path(folder))
    path = TEACHING / "times.json"
    kept = json.loads(path.read_text("utf8"))
    kept["grading"] = dict(exercises=exercises, seconds=round(seconds, 1), cores=os.cpu_count())
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", "utf8")


def main(arguments: list) -> int:
    "Run a command: none = make, or grade, times, write, check."
    command, *rest = arguments or ["make"]
    if command == "make":
        print(", ".join(f"{n} {kind}" for kind, n in make().items()), f"in {OUT.relative_to(ROOT)}")
        return 0
    if command == "grade" and rest:
        grade_command(Path(rest[0]))
        return 0
    if command == "times":
        report = Path(rest[0]) if rest else ROOT / "out/test/notebooks.json"
        if not report.exists():
            print(f"{report} isn't there; run: make test")
            return 2
        measure(report)
        command = "write"
    if command in ("write", "check"):
        texts = made_files({p.stem: read(p) for p in lessons()})
        stale = [p for p, text in texts.items() if not p.exists() or p.read_text("utf8") != text]
        for path in stale if command == "write" else ():
            _write(path, texts[path])
        print("\n".join(f"{'wrote' if command == 'write' else 'stale:'} {p.relative_to(ROOT)}" for p in stale))
        return int(command == "check" and bool(stale))
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
