"""Open every lesson, the studio and the site in a real browser: `python -m tools.browser`, or `12 site` for some.

Each lesson runs in JupyterLab from a cold kernel. Every widget is moved; what players hold is decoded before and after,
so a sound that stays the same is found, and so are errors, pictures left under a widget, and a quiz or an exercise that
says nothing. Two browsers work at a time, one with `--jobs 1`. Screenshots and times.json lie in out/browser. The last
line is `N passed, M failed`.
"""
import argparse, json, math, os, queue, re, shutil, socket, subprocess, sys, tempfile, threading, time, urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
import nbformat
from tools import course, studio
from tools.set_up import install_extra

ROOT = Path(__file__).resolve().parent.parent
OUT, SITE = ROOT / "out" / "browser", ROOT / "_docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 600     # seconds that a lesson may take; a busy machine takes its time
# What a page holds: a hash of the decoded samples of each player, in order, and how many could be decoded.
DECODE = """async (root) => {
  const place = root ? document.querySelector(root) : document, said = [];
  for (const player of (place || document).querySelectorAll('audio')) {
    const bytes = await (await fetch(player.src)).arrayBuffer();
    const sound = await new OfflineAudioContext(1, 48000, 48000).decodeAudioData(bytes);
    const samples = sound.getChannelData(0); let mark = 7, loudest = 0;
    for (let i = 0; i < samples.length; i++) {
      mark = (mark * 31 + Math.round(samples[i] * 32767)) | 0; loudest = Math.max(loudest, Math.abs(samples[i])); }
    said.push([samples.length, mark, loudest]); }
  return said; }"""
PLAYS = """async (root) => {
  const player = (root ? document.querySelector(root) : document).querySelector('audio');
  if (!player) return 'no player';
  player.muted = true;
  try {
    await player.play();
    for (let k = 0; k < 100 && !player.currentTime; k++) await new Promise(r => setTimeout(r, 100));
    const at = player.currentTime; player.pause();
    return at > 0 ? '' : 'the time stands still'; } catch (error) { return String(error); } }"""
# Errors are looked for without copying outputs: a lesson holds megabytes of sounds.
STATE = """() => { const panel = window.jupyterapp.shell.currentWidget, errors = []; let waiting = 0, drawn = 0;
  for (const cell of panel.content.widgets) {
    if (cell.model.type !== 'code' || !cell.model.sharedModel.getSource().trim()) continue;
    waiting += cell.model.executionCount === null;
    drawn += cell.model.outputs.length;
    for (let i = 0; i < cell.model.outputs.length; i++) {
      const output = cell.model.outputs.get(i);
      if (output.type === 'error') { const said = output.toJSON(); errors.push(`${said.ename}: ${said.evalue}`); } } }
  if (document.querySelector('.jp-Dialog')?.innerText.includes('died')) errors.push('the kernel died');
  drawn += panel.node.querySelectorAll('*').length;
  return {waiting, errors, drawn, busy: panel.sessionContext.session?.kernel?.status !== 'idle'}; }"""
# Marks each output that holds a widget; a picture or a player beside it, not in it, is a frozen twin.
FIND = """() => { const found = []; document.querySelectorAll('.jp-OutputArea').forEach((area, i) => {
    if (!area.querySelector('.jupyter-widgets') || area.parentElement.closest('.jp-OutputArea')) return;
    area.setAttribute('data-live', i);
    const twins = [...area.querySelectorAll('.jp-OutputArea-child')].filter(c => !c.querySelector('.jupyter-widgets')
        && !c.closest('.jupyter-widgets') && c.querySelector('img, audio')).length;
    found.push([i, twins]); });
  return found; }"""
DIED = ".jp-Dialog:has-text('died')"
SLIDERS = "input[type=range], .noUi-handle, select, input[type=number]"


class BrowserError(Exception):
    "Report what a page lacks, or what the machine lacks to open it."


def find_browser() -> str:
    "Return the path of a chromium; raises `BrowserError` with the line that installs one."
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        raise BrowserError("no chromium is installed; Debian and Ubuntu: apt-get install chromium fonts-noto-cjk")
    return found


def free_port() -> int:
    "Return a port of this machine that nobody uses."
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def served(command: list, port: int, env: dict, path: str = "/", said: Path = OUT / "server.log"):
    "Start a server, wait until it answers, and end it afterwards; raises `BrowserError` where it never does."
    OUT.mkdir(parents=True, exist_ok=True)
    with open(said, "w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        address, until = f"http://127.0.0.1:{port}", time.time() + PATIENCE
        try:
            while True:
                try:
                    urllib.request.urlopen(address + path, timeout=60).close()
                    break
                except urllib.error.HTTPError:
                    break
                except OSError:
                    if server.poll() is not None or time.time() > until:
                        raise BrowserError(f"the server doesn't answer; see {said}") from None
                    time.sleep(0.2)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def environment(data: Path, jobs: int = 1) -> dict:   # jobs: kernels at a time, which share the processor's cores
    "Return the environment of a server: the library of this checkout, corpora and sounds in a folder of their own."
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    return {**os.environ, "PYTHONPATH": path, "LATENTSPEECH_DATA": str(data), "OMP_NUM_THREADS": threads,
            "JUPYTER_CONFIG_DIR": str(data / "config"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


# What JupyterLab is told: every cell stays in the page, not only those in sight; no news.
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"},
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}


def settle(config: Path):
    "Write the settings of JupyterLab into a folder of their own."
    for plugin, said in SETTINGS.items():
        file = config / "lab/user-settings/@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(said), "utf8")


# --- a lesson

def wait_for(page, what: str, seconds: float = PATIENCE):
    "Ask a page again until it says yes; raises `BrowserError` where it never does."
    until = time.time() + seconds
    while not page.evaluate(what):
        if time.time() > until:
            raise BrowserError(f"it never came true: {what[:80]}")
        time.sleep(0.1)


def at_rest(page, moments: int = 3) -> dict:
    "Wait until the kernel is idle and nothing more is drawn, a few looks in a row; return what the page holds."
    same, last, until = 0, None, time.time() + PATIENCE
    while same < moments and time.time() < until:
        state = page.evaluate(STATE)
        same = same + 1 if state == last and not state["busy"] else 0
        last = state
        time.sleep(0.1)
    return last


def run_whole(page, address: str, name: str):
    "Open a lesson with a fresh kernel and run it whole; raises `BrowserError` with the first error."
    page.goto(address.format(f"tree/{name}.ipynb?reset"))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    wait_for(page, "() => !!window.jupyterapp?.shell?.currentWidget?.context?.isReady")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.ready")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.ready")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    until = time.time() + PATIENCE
    while (state := page.evaluate(STATE))["waiting"] and not state["errors"]:
        if time.time() > until:
            raise BrowserError(f"{state['waiting']} cells never ran")
        time.sleep(0.3)
    if state["errors"]:
        raise BrowserError(state["errors"][0][:300])
    at_rest(page)


def move(page, control) -> bool:
    "Move one control: a slider to another place, a choice to another, a number up; say whether it is one."
    kind = control.evaluate("e => e.tagName === 'SELECT' ? 'choice' : e.type === 'number' ? 'number' : 'slider'")
    control.scroll_into_view_if_needed()
    if kind == "choice":
        places = control.evaluate("e => [e.selectedIndex, e.options.length]")
        if places[1] < 2:
            return False
        control.select_option(index=(places[0] + 1) % places[1])
    elif kind == "number":
        control.fill(str(int(float(control.input_value() or 0)) + 1))
        control.press("Enter")
    else:
        control.focus()
        low = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
        for _ in range(3):
            control.press("ArrowLeft" if low else "ArrowRight")
    return True


def sounds_other(page, root: str, before: list, seconds: float = 30) -> bool:
    "Wait until a widget holds another sound than before; say no once the kernel rests and it doesn't."
    until, resting = time.time() + seconds, 0
    while time.time() < until and resting < 8:
        if page.evaluate(DECODE, root) != before:
            return True
        resting = 0 if page.evaluate(STATE)["busy"] else resting + 1
        time.sleep(0.1)
    return False


def move_all(page) -> tuple[int, int, list[str]]:   # widgets that were moved, whose sound changed, problems
    "Move every control of every widget, and listen for a difference where there is a player."
    problems, moved, changed = [], 0, 0
    for place, twins in page.evaluate(FIND):
        root = f'[data-live="{place}"]'
        before = page.evaluate(DECODE, root)
        controls = page.locator(f"{root} {SLIDERS.replace(', ', f', {root} ')}")
        if not controls.count():   # a progress bar: nothing to move, and a picture after it is no twin
            continue
        problems += [f"widget {place} has {twins} frozen twin(s) beside it"] if twins else []
        moved += 1
        if before and (silent := page.evaluate(PLAYS, root)):
            problems.append(f"widget {place} doesn't play: {silent}")
        different = False
        for k in range(controls.count()):
            if move(page, controls.nth(k)) and before and not different:
                different = sounds_other(page, root, before)
        at_rest(page, 2)
        changed += different
        problems += [f"widget {place} moves, and its sound stays the same"] if before and not different else []
    return moved, changed, problems


def answer_quiz(page) -> list[str]:
    "Press every choice of a quiz: one must be right, the others explained."
    quizzes = page.locator(".jp-OutputArea:has(> * .jupyter-button):has(b)").filter(has_not=page.locator("audio"))
    if not quizzes.count():
        return ["no quiz is shown"]
    quiz, said = quizzes.last, []
    buttons = quiz.locator("button.jupyter-button")
    for k in range(buttons.count()):
        before, until = quiz.inner_text(), time.time() + 30
        buttons.nth(k).click()
        while quiz.inner_text() == before and time.time() < until:
            time.sleep(0.1)
        said.append(quiz.inner_text())
    right = sum("Right:" in text for text in said)
    explained = all(re.search("Right:|Not quite:", text) for text in said)
    return [] if right == 1 and explained else [f"the quiz calls {right} of its choices right"]


SET_AND_RUN = """async ([id, source]) => { const panel = window.jupyterapp.shell.currentWidget;
  const cells = panel.content.widgets, k = cells.findIndex(c => c.model.sharedModel.getId() === id);
  if (source !== null) cells[k].model.sharedModel.setSource(source);
  panel.content.activeCellIndex = k;
  panel.content.deselectAll();
  await window.jupyterapp.commands.execute('notebook:run-cell');
  return JSON.stringify(cells[k].model.outputs.toJSON()); }"""


def answer_exercise(page, notebook) -> list[str]:
    "Leave a blank, answer wrongly and rightly; return what was said amiss."
    found = course.exercises_of(notebook)
    if not found:
        return []
    exercise = found[0]
    from tests.wrong_answers import WRONG
    blank, check, problems = exercise.cells["blank"].id, exercise.cells["check"].id, []
    answers = ((exercise.cells["blank"].source, "not yet"), (WRONG[exercise.number][0][0], "no ("),
               (course.solution_of(exercise), "right"))
    for source, wanted in answers:
        page.evaluate(SET_AND_RUN, [blank, source])
        said = page.evaluate(SET_AND_RUN, [check, None])
        if not re.search(rf"\W{re.escape(wanted)}", said):
            problems.append(f"exercise {exercise.number} doesn't say {wanted!r} but {said[:150]}")
    return problems


LENGTH = """() => { const cells = window.jupyterapp.shell.currentWidget.content.widgets, last = cells[cells.length - 1];
  return last.node.getBoundingClientRect().bottom - cells[0].node.getBoundingClientRect().top; }"""
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def screenshots(page, name: str, most: int = 30):
    "Leave pictures of a lesson from top to bottom."
    long = page.evaluate(LENGTH)
    for k in range(min(most, math.ceil(long / 1250))):
        page.evaluate(f"() => document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, {1250 * k})")
        page.evaluate(PAINTED)
        page.screenshot(path=OUT / f"{name}-{k:02}.png", animations="allow")


def try_lesson(page, address: str, name: str) -> tuple[str, list[str]]:   # what was seen, problems
    "Read a lesson as a person would."
    notebook, began = course.read(ROOT / "nbs" / f"{name}.ipynb"), time.time()
    page.add_locator_handler(page.locator(DIED), lambda dialog: page.close())   # nothing can be clicked any more
    run_whole(page, address, name)
    ran = time.time() - began
    page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    players = page.evaluate(DECODE, "")
    silent = sum(loudest == 0 for *_, loudest in players)
    moved, changed, problems = move_all(page)
    problems += [f"{silent} of {len(players)} players hold silence"] if silent == len(players) and players else []
    if course.exercises_of(notebook):
        problems += answer_quiz(page) + answer_exercise(page, notebook)
    problems += [f"an error is left: {e[:200]}" for e in page.evaluate(STATE)["errors"]]
    tried = time.time() - began - ran
    screenshots(page, name)
    seen = (f"{len(players)} players, {moved} widgets, {changed} change their sound; opened and run {ran:.0f} s, tried "
            f"{tried:.0f} s, pictures {time.time() - began - ran - tried:.0f} s")
    return seen, problems


# --- the studio and the site

def try_studio(page, address: str) -> tuple[str, list[str]]:
    "Turn a handle, keep A and B, save, type nothing: sound changes, an error is a sentence, nobody else is asked."
    problems, asked = [], []
    page.on("response", lambda reply: asked.append(reply.url))
    page.goto(address)
    page.wait_for_selector("audio")
    first = page.evaluate(DECODE, "")
    began = time.time()
    page.locator(".widget-dropdown select").nth(4).select_option("4")
    wait_for(page, f"async () => JSON.stringify(await ({DECODE})('')) !== {str(first).replace(' ', '')!r}", 60)
    took = time.time() - began
    problems += [p for p in [page.evaluate(PLAYS, "")] if p]
    for name in ("keep as A", "keep as B", "save"):
        page.get_by_role("button", name=name).click()
    wait_for(page, "() => document.body.innerText.includes('again.wav')")
    wait_for(page, "() => document.querySelectorAll('audio').length === 3")
    page.screenshot(path=OUT / "studio-0.png", full_page=True)
    text = page.locator(".widget-text input").first
    text.fill("")
    text.press("Enter")
    wait_for(page, "() => document.body.innerText.includes('text is empty')", 60)
    page.screenshot(path=OUT / "studio-1.png", full_page=True)
    shown = page.inner_text("body")
    problems += ["a traceback is shown"] if "Traceback" in shown else []
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    problems += [f"it asked {elsewhere[0]}"] if elsewhere else []
    return f"a handle is heard after {took:.1f} s", problems


FORMULAS_SET = "() => !document.querySelector('.math') || !!document.querySelector('mjx-container')"


def try_site(page, address: str) -> tuple[str, list[str]]:
    "Read pages of the site: formulas set, players play, parts in the sidebar, a search that finds, no other host."
    problems, asked = [], []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("index", "10_audio", "12_autoencoder", "30_forward_diffusion", "glossary", "teachers"):
        page.goto(f"{address}/{name}.html")
        page.wait_for_load_state("networkidle")
        wait_for(page, FORMULAS_SET, 60)
        page.screenshot(path=OUT / f"site-{name}.png")
        if name == "30_forward_diffusion":
            page.evaluate("() => window.MathJax.startup.promise")
            raw = page.evaluate("() => [...document.querySelectorAll('.math')].filter(e => "
                                "e.innerText.includes(String.fromCharCode(92))).length")
            drawn = page.locator("mjx-container").count()
            problems += [f"{raw} formulas are raw, {drawn} drawn"] if raw or not drawn else []
        if name in ("10_audio", "12_autoencoder"):
            problems += [f"{name}: {p}" for p in [page.evaluate(PLAYS, "")] if p]
        wide = page.evaluate("() => [...document.querySelectorAll('div.highlight pre')].filter(e => e.scrollWidth > "
                             "e.clientWidth + 2).length")
        problems += [f"{name}: {wide} pieces of code are cut"] if wide else []
    page.goto(f"{address}/10_audio.html")
    side = page.inner_text(".bd-sidebar-primary")
    problems += [f"the sidebar lacks {part}" for part in ("1 Sound", "8 Studio", "For teachers") if part not in side]
    problems += ["no way to the next page"] if not page.locator(".next-page, .right-next").count() else []
    page.goto(f"{address}/search.html?q=spectrogram")
    wait_for(page, "() => document.querySelectorAll('#search-results li').length > 3", 60)
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    problems += [f"it asked {elsewhere[0]}"] if elsewhere else []
    return "formulas, players, sidebar, search", problems


# --- all of it

def attempt(name: str, pages, trial) -> dict:   # pages: a context of a browser
    "Try one thing on a page of its own, and say how it went; a failure leaves a picture."
    page, began = pages.new_page(), time.time()
    try:
        seen, problems = trial(page)
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        seen, problems = "", ["the kernel died" if page.is_closed() else said]
    if problems and not page.is_closed():
        try:
            page.screenshot(path=OUT / f"{name}-failed.png")
        except Exception as error:
            problems.append(f"no picture of it: {type(error).__name__}")
    page.close()
    took = round(time.time() - began, 1)
    lines = [f"{'FAILED' if problems else 'passed'}  {name:24} {took:6.1f} s  {seen}"]
    print("\n".join(lines + [f"        {problem}" for problem in problems]), flush=True)
    return dict(name=name, seconds=took, problems=problems)


def lab_command(port: int, folder: Path) -> list[str]:
    "Write the command that serves lessons to a browser that a program moves: this machine alone, no news, no token."
    return [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
            "--ServerApp.ip=127.0.0.1", f"--notebook-dir={folder}", "--IdentityProvider.token=",
            "--ServerApp.password=", "--LabApp.news_url=None",
            "--LabApp.expose_app_in_browser=True", "--ServerApp.disable_check_xsrf=True",
            "--LabApp.extension_manager=readonly"]   # or it starts node to look for extensions


def named(words: list) -> list[str]:
    "Return what is to be tried: names of lessons that begin with one of the words, studio, site; all without words."
    every = [p.stem for p in course.lessons()] + ["studio", "site"]
    chosen = [name for name in every if not words or any(name.startswith(word) for word in words)]
    if not chosen:
        raise BrowserError(f"nothing is called {' or '.join(words)}; say the number of a lesson, studio or site")
    return chosen


def longest_first(names: list, kept: dict) -> list[str]:   # kept: name of a lesson -> seconds that it ran
    "Order what is to be tried so that no long lesson begins when the others are done; studio and site go first."
    return sorted(names, key=lambda name: -kept.get(name, 60))


def copy_lessons(folder: Path) -> Path:
    "Copy the lessons, and link what they read, so that what a test writes into them is thrown away."
    shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
    for name in ("data", "latentspeech", "tests", "tools", "demo", "README.md", "settings.ini", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    return folder / "nbs"


def servers(stack: ExitStack, chosen: list, folder: Path, jobs: int) -> dict:   # lesson, studio, site -> address
    "Start every server that is wanted; `stack` ends them."
    env = environment(folder / "own", jobs)   # beside the link to the data of the repository
    settle(Path(env["JUPYTER_CONFIG_DIR"]))
    wanted, addresses = [], {}
    if any(name[0].isdigit() for name in chosen):
        wanted.append(("lesson", lab_command(port := free_port(), copy_lessons(folder)), port, "/api"))
    if "studio" in chosen:
        wanted.append(("studio", studio.command(studio.write_page(), port := free_port(), browser=False), port,
                       "/static/none"))
    if "site" in chosen:
        if not (SITE / "index.html").exists():
            raise BrowserError("there is no site yet; run: make docs")
        wanted.append(("site", [sys.executable, "-m", "http.server", str(port := free_port()), "--bind", "127.0.0.1",
                                "-d", str(SITE)], port, "/"))
    for kind, command, port, path in wanted:
        addresses[kind] = stack.enter_context(served(command, port, env, path, OUT / f"server-{kind}.log"))
    return addresses


def work(number: int, waiting: queue.Queue, addresses: dict, done: list):
    "Try one thing after another in a browser of one's own, until none is left."
    from playwright.sync_api import sync_playwright
    lab = f"{addresses.get('lesson')}/lab/workspaces/reader{number}/{{}}"   # two readers don't share open tabs
    with sync_playwright() as playwright:
        # without the last, a large picture can be white while it is still being decoded
        browser = playwright.chromium.launch(executable_path=find_browser(),
                                             args=["--no-sandbox", "--disable-checker-imaging"])
        pages = browser.new_context(viewport=dict(width=1150, height=1400))   # JupyterLab is fetched once
        pages.set_default_timeout(1000 * PATIENCE)
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                break
            if name == "studio":
                done.append(attempt(name, pages, lambda page: try_studio(page, addresses["studio"])))
            elif name == "site":
                done.append(attempt(name, pages, lambda page: try_site(page, addresses["site"])))
            else:
                done.append(attempt(name, pages, lambda page: try_lesson(page, lab, name)))
                end_kernel(addresses["lesson"], name)
        browser.close()


def run(words: list, jobs: int) -> list[dict]:
    "Try everything that is named, some at a time; return how each went."
    chosen, done, waiting = named(words), [], queue.Queue()
    kept = json.loads((course.TEACHING / "times.json").read_text("utf8"))["lessons"]
    for name in longest_first(chosen, {name: entry["seconds"] for name, entry in kept.items()}):
        waiting.put(name)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        addresses = servers(stack, chosen, Path(folder), jobs)
        readers = [threading.Thread(target=work, args=(number, waiting, addresses, done), daemon=True)
                   for number in range(min(jobs, len(chosen)))]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    tried = {entry["name"] for entry in done}
    return done + [dict(name=name, seconds=0, problems=["never tried"]) for name in chosen if name not in tried]


def end_kernel(address: str, name: str):
    "End the kernel of a lesson, so that memory is free for the next."
    for session in json.load(urllib.request.urlopen(f"{address}/api/sessions")):
        if session["path"].endswith(f"{name}.ipynb"):
            request = urllib.request.Request(f"{address}/api/sessions/{session['id']}", method="DELETE")
            urllib.request.urlopen(request).close()


def main(words: list) -> int:
    "Try what is named, keep the times and print the tally."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="numbers of lessons, studio, site; default: all")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="browsers at a time")
    options, began = parser.parse_args(words), time.time()
    try:
        find_browser()
        if not install_extra("browser", "playwright", "voila"):
            raise BrowserError("playwright could not be installed: is there a network?")
        done = run(options.names, max(1, options.jobs))
    except BrowserError as error:
        print(f"browser: {error}")
        return 2
    failed = [entry["name"] for entry in done if entry["problems"]]
    (OUT / "times.json").write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", "utf8")
    print(f"after {time.time() - began:.0f} s" + (f"; again: make test-browser LESSON=\"{' '.join(failed)}\"" if failed
                                                 else ""))
    print(f"{len(done) - len(failed)} passed, {len(failed)} failed")
    return int(bool(failed) or not done)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
