"""Sliders: picture and sound follow a hand; a page that nobody runs shows three settings; lessons on sound have one."""
import ast, base64, dis, io, re, types, warnings
import nbformat, pytest, torch
from PIL import Image
from latentspeech.audio import figure_png, vowel
from latentspeech.interactive import ControlError, listen
from tools import course

SOUND = [p for p in course.lessons() if p.stem[:2] in "10 11 12 13 14 15 28 30 31 32 33".split()]


def pictures(page: str) -> list:
    "Decode the pictures of a page."
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r'image/png;base64,([^"]+)"', page)]


def level(height=0.1, tone=1):
    return height * vowel("a", tone, 0.1)


def line(height=0.1, tone=1):
    import matplotlib.pyplot as plt
    plt.figure(figsize=(3, 1))
    plt.plot([0, height])


def test_a_picture_of_its_own_stands_above_the_spectrograms():
    plain, drawn = listen(level, height=(0.1, 0.3)), listen(level, picture=line, height=(0.1, 0.3))
    assert [len(pictures(x.strip())) for x in (plain, drawn)] == [1, 4]
    assert plain.strip().count("<audio") == drawn.strip().count("<audio") == 3
    silent = listen(lambda height=0.1: {}, picture=lambda height: line(height), height=(0.1, 0.3))
    assert len(pictures(silent.strip())) == 3 and "<audio" not in silent.strip()


def test_what_is_shown_follows_the_hand_and_keeps_what_was_before():
    moved = listen(level, picture=line, height=(0.1, 0.3), tone=[1, 4])
    first = moved.refresh()
    moved.widget()
    moved.controls["tone"].value = 4
    now = moved.widget().children[-1].value
    assert now != first and now.count("<audio") == 2 and "before: height 0.1, tone 1" in now
    assert len(pictures(now)) == 2


def test_an_error_is_shown_in_the_place_of_the_sound():
    def fussy(height=0.1):
        if height > 0.2:
            raise ValueError("too <loud>")
        return level(height)
    moved = listen(fussy, height=(0.1, 0.3))
    moved.controls["height"].value = 0.3
    assert moved.refresh() == "<p>too &lt;loud&gt;</p>"
    moved.controls["height"].value = 0.1
    assert "<audio" in moved.refresh()
    with pytest.raises(ControlError, match="has no width"):
        listen(fussy, width=(0, 1))


@pytest.mark.parametrize("colours", (8, 64))
def test_a_figure_is_stored_in_few_colours(colours):
    import matplotlib.pyplot as plt
    plt.imshow(torch.rand(40, 40, generator=torch.Generator().manual_seed(0)))
    large = io.BytesIO()
    plt.savefig(large, format="png", bbox_inches="tight")
    small = Image.open(io.BytesIO(figure_png(plt.gcf(), colours)))
    plt.close()
    assert len(small.convert("RGB").getcolors()) <= colours < len(Image.open(large).convert("RGB").getcolors(1 << 24))
    assert small.size == Image.open(large).size


def test_hanzi_are_spelled_where_no_font_has_them(monkeypatch):
    import matplotlib.pyplot as plt
    monkeypatch.setattr("latentspeech.audio._cjk_font", lambda: None)
    figure, ax = plt.subplots(figsize=(3, 1))
    ax.plot([0, 1], label="银行、行人。")
    ax.set(title="你好，行不行？ as spoken", xlabel="$x^2$")
    ax.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")      # Glyph 20320 missing from font
        assert figure_png(figure).startswith(b"\x89PNG")
    assert ax.get_title() == "nǐ hǎo,xíng bù xíng? as spoken" and ax.get_xlabel() == "$x^2$"
    plt.close()


@pytest.mark.parametrize("path", SOUND, ids=lambda p: p.stem)
def test_a_lesson_on_sound_sounds_early_and_follows_a_hand(path):
    lesson = course.read(path)
    found = course.measured(lesson)
    assert found["widgets"] >= 1 and int(found["first"].split()[0]) < 25
    code = "\n".join(c.source for c in lesson.cells if c.cell_type == "code")
    assert "listen(" in code and not re.search(r"\binteract\(", code)     # no frozen twin beside a live widget
    broken = next(i for i, c in enumerate(lesson.cells) if c.source.startswith("## Break it"))
    assert lesson.cells[broken + 1].cell_type == "code"


def test_what_a_hand_broke_is_shown_and_what_was_broken_before_is_raised():
    def broken(height):
        if height > 0.1:
            raise TypeError("'Speech' object is not callable")
        return level(height)
    turned = listen(broken, height=[0.1, 0.2])
    turned.widget()
    turned.controls["height"].value = 0.2
    assert "TypeError: &#x27;Speech&#x27; object" in turned.widget().children[-1].value
    with pytest.raises(TypeError):
        listen(broken, height=[0.2, 0.1]).widget()


def names_read(node) -> set:
    "Return the global names that an expression, or the body of a function, reads."
    def inner(code):
        return [code, *(c for k in code.co_consts if isinstance(k, types.CodeType) for c in inner(k))]
    whole = ast.Module([node], []) if isinstance(node, ast.stmt) else ast.Expression(node)
    first, *others = inner(compile(whole, "cell", "exec" if isinstance(node, ast.stmt) else "eval"))
    return {step.argval for code in (others if isinstance(node, ast.stmt) else [first, *others])
            for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def names_bound(tree: ast.Module) -> set:
    "Return the names that a cell gives a value, functions and classes included, imports and what is local left out."
    def visit(node):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            for child in ast.iter_child_nodes(node):
                yield from visit(child)
    return {name for node in tree.body for name in visit(node)}


def names_a_widget_reads(call: ast.Call, functions: dict) -> set:
    "Return all that a widget's function reads, through the functions that it calls."
    todo, seen = set().union(*(names_read(a) for a in [*call.args, *(k.value for k in call.keywords)])), set()
    while todo:
        seen.add(name := todo.pop())
        todo |= (names_read(functions[name]) if name in functions else set()) - seen
    return seen


def overwritten(cells: list) -> list:  # sources, in order
    "Find names that a widget reads and a later cell of the lesson, which doesn't export them, gives another meaning."
    functions, reads, found = {}, set(), []
    for source in cells:
        tree = ast.parse(re.sub(r"(?m)^[%!].*$", "", source))
        if "#| export" not in source:   # what is exported is what was imported before
            found += sorted(names_bound(tree) & reads)
        functions |= {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)):
            if call.func.id in ("listen", "interact"):
                reads |= names_a_widget_reads(call, functions)
    return found


def test_an_overwritten_name_is_found():
    cells = ["def spoken(x):\n    return tts(x)\ndef say(x=1):\n    return spoken(x)", "listen(say, x=[1, 2])",
             "y = [tts for tts in range(3)]", "#| export\ndef say(x): pass"]
    assert overwritten(cells) == []
    assert overwritten([*cells, "spoken = say(2)", "for tts in (1, 2): pass"]) == ["spoken", "tts"]


@pytest.mark.parametrize("lesson", [p.stem for p in course.lessons()])
def test_a_widget_still_works_when_the_whole_lesson_ran(lesson):
    "In lesson 60 a later cell took the name of the function that the sliders called, and they were dead."
    notebook = nbformat.read(course.ROOT / "nbs" / f"{lesson}.ipynb", 4)
    assert overwritten([c.source for c in notebook.cells if c.cell_type == "code"]) == []
