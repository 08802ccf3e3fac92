"""Sliders: picture and sound follow a hand; a page that nobody runs shows three settings; lessons on sound have one."""
import base64, io, re
import pytest, torch
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


@pytest.mark.parametrize("path", SOUND, ids=lambda p: p.stem)
def test_a_lesson_on_sound_sounds_early_and_follows_a_hand(path):
    lesson = course.read(path)
    found = course.measured(lesson)
    assert found["widgets"] >= 1 and int(found["first"].split()[0]) < 25
    code = "\n".join(c.source for c in lesson.cells if c.cell_type == "code")
    assert "listen(" in code and not re.search(r"\binteract\(", code)     # no frozen twin beside a live widget
    broken = next(i for i, c in enumerate(lesson.cells) if c.source.startswith("## Break it"))
    assert lesson.cells[broken + 1].cell_type == "code"
