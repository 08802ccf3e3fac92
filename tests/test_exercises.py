"""Every exercise: a blank is not yet, three wrong answers fail with a reason, the solution passes and stays secret."""
import copy, importlib, json, re, shutil, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path
import nbformat, pytest, torch
from latentspeech.exercises import EXERCISES, Quiz, Verdict, check, difference, is_blank, known_exercises, quiz
from tests.wrong_answers import WRONG
from tools import course

LESSONS = {p.stem: course.read(p) for p in course.lessons()}
FOUND = {e.number: (stem, e) for stem, n in LESSONS.items() for e in course.exercises_of(n)}
BARE = next((stem for stem, n in LESSONS.items() if not course.exercises_of(n)), "66_first_sounds")
EVERY = pytest.mark.parametrize("number", sorted(FOUND))


def judge(number: str, code: str, seed: int = 0) -> Verdict:
    "Run an answer where the lesson's module is at hand, and check it as the lesson does."
    stem, exercise = FOUND[number]
    module = course.module_of(LESSONS[stem]) or "latentspeech.first_sounds"   # lesson 00 makes none
    names = dict(vars(importlib.import_module(module)))
    exec(code, names)
    return check(number, names[exercise.name], seed)


def squeezed(text: str) -> str:
    "Return text without spaces, to compare code however it is set."
    return re.sub(r"\s+", "", text)


def test_lessons_and_judges_know_the_same_exercises():
    assert set(FOUND) == set(known_exercises()) == set(WRONG) and len(FOUND) >= 33
    lessons = [number.split(".")[0] for number in FOUND]
    assert all(lessons.count(lesson) >= 3 for lesson in lessons)
    assert all(stem.startswith(number.split(".")[0]) for number, (stem, _) in FOUND.items())


@EVERY
def test_a_blank_is_not_yet(number):
    assert judge(number, FOUND[number][1].cells["blank"].source).state == "not yet"


@EVERY
def test_wrong_answers_fail_with_their_reason(number):
    assert len(WRONG[number]) >= 3
    for code, about in WRONG[number]:
        verdict = judge(number, code)
        assert (verdict.state, verdict.about) == ("no", about), (code, verdict)
        assert len(verdict.says) > 15 and verdict.read


@EVERY
@pytest.mark.parametrize("seed", (0, *course.SEEDS))
def test_the_solution_passes(number, seed):
    verdict = judge(number, course.solution_of(FOUND[number][1]), seed)
    assert verdict and len(verdict.says) > 10, verdict


@EVERY
def test_no_solution_is_in_the_student_edition(number):
    stem, exercise = FOUND[number]
    blank = set(exercise.cells["blank"].source.splitlines())
    lines = [l for l in course.solution_of(exercise).splitlines()
             if l not in blank and not l.startswith(("import ", "def ")) and len(squeezed(l)) > 8]
    for made in (course.student(LESSONS[stem]), course.assignment(LESSONS[stem], release=True)):
        code = squeezed("\n".join(c.source for c in made.cells if course.role_of(c)))
        assert not [l for l in lines if squeezed(l) in code]
        assert exercise.cells["why"].source not in [c.source for c in made.cells]
        assert not [c for c in made.cells if course.role_of(c) and c.get("outputs")]


@EVERY
def test_hints_come_in_two_steps_and_are_folded(number):
    task = FOUND[number][1].cells["task"].source
    assert re.findall(r"<summary>(.*?)</summary>", task) == ["Hint", "Stronger hint"]
    assert task.count("<details>") == task.count("</details>") == 2


@EVERY
def test_nothing_before_an_exercise_gives_its_answer(number):
    stem, exercise = FOUND[number]
    cells = LESSONS[stem].cells
    before = cells[:next(i for i, c in enumerate(cells) if c is exercise.cells["solution"])]
    code = squeezed("\n".join(c.source for c in before if c.cell_type == "code"))
    body = [l for l in course.solution_of(exercise).splitlines() if l.startswith(("    return", "answer"))]
    assert not [l for l in body if len(squeezed(l)) > 18 and squeezed(l) in code]


@EVERY
def test_the_place_to_read_again_is_there(number):
    file, _, place = EXERCISES[number].read.partition("#")
    prose = "\n".join(c.source for c in LESSONS[Path(file).stem].cells if c.cell_type == "markdown")
    headings = re.findall(r"^#+ (.*)$", prose, re.M)
    assert not place or place in [h.strip().replace(" ", "-") for h in headings], (place, headings)


@pytest.mark.parametrize("answer", [..., None, "", (), [], [..., 1], "...", object(), float("nan"), float("inf"), {},
                                    b"x", lambda: 1, lambda *a: None, lambda *a: 1 / 0, lambda *a: "x",
                                    torch.zeros(0), type, 10 ** 400, [[1], [2, 3]]])
def test_a_check_never_raises_and_is_never_silent(answer):
    for number in EXERCISES:
        verdict = check(number, answer)
        assert verdict.state in ("not yet", "no") and verdict.says
        assert str(verdict).startswith(verdict.state) and verdict._repr_html_().count("<p>") == 1


def test_an_unknown_exercise_is_named():
    assert "11.1" in check("99.9", 1).says and not check("99.9", 1)


def test_inputs_of_a_check_are_its_own():
    def spoils(durations):
        said = durations.cumsum(1) - durations / 2
        durations.zero_()
        return said
    assert check("28.1", spoils)


@pytest.mark.parametrize("slip, about", [(lambda x: -x, "sign"), (lambda x: 1 / x, "upside down"),
                                         (lambda x: 7 * x, "scale"), (lambda x: x - 2, "offset"),
                                         (lambda x: x.flip(0), "order"),
                                         (lambda x: x[:-1], "shape"), (lambda x: x * float("inf"), "finite"),
                                         (lambda x: x ** 3, "value"), (lambda x: "x", "type")])
def test_a_slip_is_called_by_its_name(slip, about):
    want = torch.rand(9, generator=torch.Generator().manual_seed(1)) + 0.5
    assert difference(slip(want), want)[0] == about
    assert difference(want.numpy().tolist(), want) is None


def test_blanks_are_told_from_answers():
    assert not is_blank(0) and not is_blank(False) and not is_blank(torch.zeros(0)) and is_blank((1, (2, ...)))


# --- quizzes

class Tags(HTMLParser):
    "Count the tags of a page."
    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("lesson", sorted({number.split(".")[0] for number in FOUND}))
def test_a_quiz_explains_every_choice_in_a_widget_and_in_plain_text(lesson):
    asked = quiz(lesson)
    assert isinstance(asked, Quiz) and sum(right for _, _, right in asked.choices) == 1
    shown = asked._repr_mimebundle_()
    assert shown["text/plain"].splitlines()[0] == asked.question and "Answer: (" in shown["text/plain"]
    assert not Tags(shown["text/html"]).open and "application/vnd.jupyter.widget-view+json" in shown
    buttons = asked.widget().children[1:-1]
    for place, button in enumerate(buttons):
        button.click()
        said = asked.widget().children[-1].value
        assert said.startswith("Right:" if asked.choices[place][2] else "Not quite:") and len(said) > 30


# --- editions

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "Make all editions of two lessons, and of one without exercises while there is one."
    out = tmp_path_factory.mktemp("course")
    return out, course.make(out, only=("11_pqmf", "21_phones", BARE))


def test_editions_are_notebooks_of_their_own(made):
    out, counts = made
    assert counts == dict(student=3, solved=3, slides=3, assignment=2 + bool(course.exercises_of(LESSONS[BARE])))
    for path in out.rglob("*.ipynb"):
        nbformat.validate(nbformat.read(path, 4))
    assert "## 11.1 Where does it land?" in (out / "key.md").read_text("utf8")


def test_the_solved_edition_answers_everything(made):
    solved = nbformat.read(made[0] / "solved" / "11_pqmf.ipynb", 4)
    checks = [c for c in solved.cells if course.role_of(c) == "check"]
    assert len(checks) == 3 and all("right" in json.dumps(c.outputs) for c in checks)


def test_an_assignment_follows_the_format_of_nbgrader(made):
    for kind in ("source", "release"):
        path = made[0] / "assignment" / kind / "11_pqmf" / "11_pqmf.ipynb"
        marked = [c for c in nbformat.read(path, 4).cells if "nbgrader" in c.metadata]
        said = [c.metadata.nbgrader for c in marked]
        assert len(marked) == 9 and len({s["grade_id"] for s in said}) == 9
        assert all(s["schema_version"] == 3 and {"grade", "solution", "locked", "task"} <= set(s) for s in said)
        assert sum(s.get("points", 0) for s in said) == 3 and all(s["grade"] == ("points" in s) for s in said)
        text = "\n".join(c.source for c in marked)
        assert (kind == "source") == ("### BEGIN SOLUTION" in text) == ("### BEGIN HIDDEN TESTS" in text)


def test_slides_stand_alone_and_hold_sound(made):
    page = (made[0] / "slides" / "11_pqmf.html").read_text("utf8")
    assert page.count("<section>") >= 8 and "<audio" in page
    assert not re.search(r"(src|href)=\"https?://", page) and "def frequency_inside" not in page


def answered(stem: str, answers: dict) -> nbformat.NotebookNode:
    "Fill a student's lesson with answers: number -> code; the rest stays blank."
    handed_in = course.student(LESSONS[stem])
    number = None
    for cell in reversed(handed_in.cells):
        if course.role_of(cell) == "check":
            number = course.CHECK.search(cell.source)[1]
        if course.role_of(cell) == "blank" and number in answers:
            cell.source = answers[number]
    return handed_in


@pytest.mark.slow
def test_a_submission_is_graded_whatever_it_holds():
    lesson = LESSONS["11_pqmf"]
    right = course.solution_of(FOUND["11.1"][1])
    graded = course.grade(answered("11_pqmf", {"11.1": right, "11.2": WRONG["11.2"][0][0]}), lesson)
    assert graded == {"11.1": "right", "11.2": "no", "11.3": "not yet"}
    cheat = answered("11_pqmf", {"11.1": "check = lambda *a: True\nfrequency_inside = 1", "11.2": "def broken(:",
                                 "11.3": "1/0"})
    cheat.cells = [c for c in cheat.cells if course.role_of(c) != "check"]
    graded = course.grade(cheat, lesson)
    assert graded["11.1"] == "no" and graded["11.2"] == graded["11.3"] == "stopped: NameError"
    gone = course.grade(answered("11_pqmf", {"11.1": right, "11.2": "import os\nos._exit(1)"}), lesson)
    assert gone == {"11.1": "right", "11.2": "stopped: it never ran", "11.3": "stopped: it never ran"}


@pytest.mark.slow
def test_a_cell_that_never_ends_costs_its_own_exercise_alone():
    steps = [("while True: pass", ""), ("answer", "00.1"), ("answer = (3, 2)", ""), ("answer", "00.1")]
    code = ("import sys; from tools import course; course.SECONDS = 1\n"
            "class Says:\n    def send(self, what): print(*what, file=sys.__stdout__, flush=True)\n"
            f"course.run_answers(Says(), '.', {steps!r})")
    said = subprocess.run([sys.executable, "-c", code], cwd=course.ROOT, capture_output=True, text=True, timeout=600)
    assert said.stdout.splitlines() == ["00.1 stopped: NameError", "00.1 right"], said.stderr[-500:]


@pytest.mark.parametrize("stem", sorted({stem for stem, _ in FOUND.values()}))
def test_each_exercise_is_asked_where_its_check_stands(stem):
    lesson = course.solved(LESSONS[stem])
    names = {e.number: e.name for e in course.exercises_of(LESSONS[stem])}
    steps = course.grading_steps(lesson, names)
    asked = [(name, number) for name, number in steps if number]
    assert asked == [(name, number) for number, name in names.items()]
    for name, number in asked:      # the last cell before that sets this very name
        before = [source for source, other in steps[:steps.index((name, number))] if not other]
        assert re.search(rf"^(def {name}\b|{name} *[=,]|.*\b{name}\b *=)", before[-1], re.M), (number, before[-1])


@pytest.mark.slow
def test_a_folder_of_lessons_is_graded_and_strangers_are_named(tmp_path):
    for stem in ("00_hear_it_first", "11_pqmf"):
        nbformat.write(course.solved(LESSONS[stem]), tmp_path / f"{stem}.ipynb")
    nbformat.write(LESSONS["11_pqmf"], tmp_path / "holiday.ipynb")
    told = []
    graded, _ = course.grade_folder(tmp_path, 2, told.append)
    assert {state for lesson in graded.values() for state in lesson.values()} == {"right"}
    assert [len(lesson) for lesson in graded.values()] == [3, 3] and told[0] == "holiday.ipynb: no lesson is called so"


def test_cells_out_of_order_are_told():
    wrong = copy.deepcopy(LESSONS["11_pqmf"])
    wrong.cells = [c for c in wrong.cells if course.role_of(c) != "why"]
    with pytest.raises(ValueError, match="an exercise is task, blank, check, solution, why"):
        course.exercises_of(wrong)


# --- what tools write

def test_headers_and_tables_are_up_to_date():
    done = subprocess.run([sys.executable, "-m", "tools.course", "check"], cwd=course.ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0, f"run: python -m tools.course write\n{done.stdout}{done.stderr[-500:]}"


@pytest.mark.parametrize("stem", sorted({stem for stem, _ in FOUND.values()}))
def test_a_header_says_minutes_needs_and_where_to_go(stem):
    first = LESSONS[stem].cells[0].source
    found = re.search(r"\*About (\d+) minutes · needs (.+) · lost\? go to \[(\d\d [\w ]+)\]\((.+)\.ipynb\)\*$", first)
    assert found and int(found[1]) % 5 == 0 and found[3] == course.title_of(found[4])
    links = re.findall(r"\[(\d\d [\w ]+)\]\((\S+?)\.ipynb\)", found[2])
    assert (links or "curiosity" in found[2]) and (course.LESSONS / f"{found[4]}.ipynb").exists()
    assert all(name == course.title_of(to) and (course.LESSONS / f"{to}.ipynb").exists() and to < stem
               for name, to in links)


# --- on Colab and Kaggle

class Shell:
    "Stand in for IPython: note what a cell runs, and let `git clone` leave a course behind."
    def __init__(self, folder: Path):
        self.ran, self.folder = [], folder

    def system(self, command: str):
        self.ran.append(command)
        (self.folder / "course/nbs").mkdir(parents=True)


def run_first_cell(lesson, folder: Path, monkeypatch, installed: bool) -> tuple[list, Path]:
    "Run the first code cell of a lesson in a folder; return what its shell ran, and where it ends."
    monkeypatch.chdir(folder)
    shell = Shell(folder)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    cell = next(c for c in lesson.cells if c.cell_type == "code")
    exec(cell.source, dict(get_ipython=lambda: shell))
    return shell.ran, Path.cwd()


@pytest.mark.parametrize("stem", sorted(LESSONS))
def test_a_lesson_begins_with_a_folded_cell_that_does_nothing_at_home(stem, tmp_path, monkeypatch):
    for name in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "course/nbs").mkdir(parents=True)
    for installed in (True, False):
        assert run_first_cell(LESSONS[stem], tmp_path, monkeypatch, installed) == ([], tmp_path)
    first = next(c for c in LESSONS[stem].cells if c.cell_type == "code")
    assert first.metadata.jupyter.source_hidden


@pytest.mark.parametrize("name", ["COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"])
@pytest.mark.parametrize("stem", ["00_hear_it_first", "12_autoencoder"])
def test_colab_and_kaggle_fetch_the_course_once(name, stem, tmp_path, monkeypatch):
    monkeypatch.setenv(name, "release-colab-1")
    ran, place = run_first_cell(LESSONS[stem], tmp_path, monkeypatch, installed=False)
    url, branch = course.home()
    assert ran == [f"git clone -q --depth 1 -b {branch} {url} course"
                   " && pip install -q './course[notebook,train,zh]'"]
    assert place == tmp_path / "course/nbs"
    assert run_first_cell(LESSONS[stem], tmp_path, monkeypatch, installed=True) == ([], tmp_path / "course/nbs")
    assert run_first_cell(LESSONS[stem], place, monkeypatch, installed=True) == ([], place)     # once more


def test_badges_stand_under_the_title_where_the_source_is_on_github():
    lesson = copy.deepcopy(LESSONS["12_autoencoder"])
    opens = course.clouds("12_autoencoder", "https://github.com/a/b.git", "main")
    said = course.with_header(lesson, {}, opens)
    assert "[Colab](https://colab.research.google.com/github/a/b/blob/main/nbs/12_autoencoder.ipynb)" in said
    assert "[Kaggle](https://kaggle.com/kernels/welcome?src=https://github.com/a/b/blob/main/nbs/" in said
    lesson.cells[0].source = said
    assert course.with_header(lesson, {}, opens) == said                        # written twice is written once
    assert "Colab" not in course.with_header(lesson, {}, course.clouds("12", "https://a.example.org/b", "main"))
    assert course.words_and_lines(lesson) == course.words_and_lines(LESSONS["12_autoencoder"])


def links_of(path: Path) -> list:
    "List the links of a Markdown page that stay in the repository."
    return [l for l in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf8")) if not l.startswith(("http", "#"))]


@pytest.mark.parametrize("path", sorted(course.TEACHING.glob("*.md")), ids=lambda p: p.name)
def test_links_of_the_teachers_pages_lead_somewhere(path):
    base = course.LESSONS if path.name == "table.md" else path.parent
    for link in links_of(path):
        file, _, place = link.partition("#")
        assert not file or (base / file).exists(), link
        if place and file.endswith(".ipynb"):
            prose = "\n".join(c.source for c in course.read(base / file).cells if c.cell_type == "markdown")
            assert place in [h.replace(" ", "-") for h in re.findall(r"^#+ (.*)$", prose, re.M)], link


def test_the_glossary_calls_things_as_the_code_does():
    rows = re.findall(r"^\| (.+?) \| (.+?) \| .*? \| `(\w+)\.(\w+)` \|",
                      (course.TEACHING / "glossary.md").read_text("utf8"), re.M)
    assert len(rows) >= 40 and len({term for term, *_ in rows}) == len(rows)
    for term, chinese, module, name in rows:
        assert hasattr(importlib.import_module(f"latentspeech.{module}"), name), term
        assert re.search("[\u4e00-\u9fff]", chinese)


def test_syllabi_begin_with_hearing_and_run_uphill():
    plans = json.loads((course.TEACHING / "plans.json").read_text("utf8"))
    assert set(plans) == {"One day", "Five weeks", "Ten weeks"}
    for weeks in plans.values():
        assert weeks[0]["core"][0] == "00" and all(w["core"] == sorted(w["core"]) and w["hand_in"] for w in weeks)
        every = [n for w in weeks for n in w["core"] + w["optional"]]
        assert len(set(every)) == len(every)
        handed_in = " ".join(w["hand_in"] for w in weeks)
        for lesson, part in re.findall(r"exercises? (?:of )?(\d\d)(\.\d)?", handed_in):
            assert lesson + (part or ".1") in FOUND


def test_the_table_of_times_shows_what_was_measured():
    kept = json.loads((course.TEACHING / "times.json").read_text("utf8"))["lessons"]
    rows = dict(re.findall(r"^\| \[\d\d\]\(../nbs/(\w+)\.ipynb\) \| \d+ \| (.*?) \|", (
        course.TEACHING / "times.md").read_text("utf8"), re.M))
    assert set(rows) == set(LESSONS) and len(kept) >= 50
    assert all(rows[stem] == (f"{kept[stem]['seconds']:.0f} s" if stem in kept else "not measured") for stem in rows)


@pytest.mark.slow
def test_times_are_kept_by_one_command(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "TEACHING", tmp_path / "teaching")
    shutil.copytree(course.ROOT / "teaching", course.TEACHING)
    some = [p for p in course.lessons() if p.stem == "02_files"]
    monkeypatch.setattr(course, "lessons", lambda: some)
    report = tmp_path / "notebooks.json"
    report.write_text(json.dumps([dict(name="02_files", passed=True, seconds=7.5, peak_mb=123)]))
    course.measure(report)
    kept = json.loads((course.TEACHING / "times.json").read_text("utf8"))
    assert kept["lessons"]["02_files"] == dict(seconds=7.5, peak_mb=123) and kept["grading"]["exercises"] == 3
    said = course.times_table(kept, dict.fromkeys(["02_files"], LESSONS["02_files"]))
    assert "3 exercises with hidden inputs" in said and "| 8 s | 123 MB |" in said
    assert course.main(["times", str(tmp_path / "nothing.json")]) == 2
