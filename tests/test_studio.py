"""The studio: a recipe makes the same bits in another process, an error is a sentence, the page asks nobody else."""
import json, shlex, subprocess, sys
from pathlib import Path
import nbformat, pytest, torch
from latentspeech import studio
from latentspeech.studio import Recipe, Studio, StudioError, again
from tools import studio as served

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    "Keep saved sounds out of the reader's own folder."
    monkeypatch.setenv("LATENTSPEECH_DATA", str(tmp_path / "data"))


@pytest.mark.slow
def test_a_recipe_makes_the_same_bits_in_another_process(tmp_path):
    path = Recipe(text="我想买书。", speaker="male", n_steps=4, guidance=2.0, seed=3, pace=1.2, tones={3: 4},
                  lengths={1: 1.5}).save(tmp_path / "sold.wav")
    _, option, code = shlex.split(again(path))
    done = subprocess.run([sys.executable, option, code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    assert (tmp_path / "again.wav").read_bytes() == path.read_bytes()
    assert (tmp_path / "again.json").read_bytes() == path.with_suffix(".json").read_bytes()


@pytest.mark.parametrize("change", [dict(text="你好。"), dict(speaker="male"), dict(n_steps=2), dict(guidance=3.0),
                                    dict(seed=1), dict(pace=1.5), dict(tones={3: 4}), dict(lengths={3: 2.0})])
def test_every_line_of_a_recipe_changes_the_sound(change):
    one, other = Recipe().speak(), Recipe(**change).speak()
    assert not torch.equal(one.audio, other.audio)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"text": 3}', '{"tones": [1]}', '{"tones": {"x": 1}}',
                                  '{"tones": {"1": 9}}', '{"seed": -1}', '{"seed": 1e400}', '{"pace": NaN}',
                                  "[" * 100_000, '{"pace": true}', '{"weird": 1}', '{"voice": ""}',
                                  '{"n_steps": 10000}', '{"lengths": {"1": "x"}}', '{"lengths": {"1": NaN}}',
                                  '{"guidance": "x"}', "\x00"])
def test_a_broken_recipe_is_refused_in_one_sentence(text, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(StudioError) as told:
        Recipe.read(path)
    assert "\n" not in str(told.value) and len(str(told.value)) > 15


def test_a_recipe_that_is_no_text_or_no_file_is_refused(tmp_path):
    (tmp_path / "noise.json").write_bytes(bytes(range(256)))
    for path in (tmp_path / "noise.json", tmp_path / "none.json", tmp_path):
        with pytest.raises(StudioError, match="can't be read"):
            Recipe.read(path)


@pytest.mark.parametrize("wrong", [dict(text=" "), dict(text="🙂🙂"), dict(voice="nobody"), dict(voice="../etc"),
                                   dict(speaker="nobody"), dict(speaker=3), dict(n_steps=0), dict(guidance=99.0),
                                   dict(seed=-5), dict(pace=0.0), dict(tones={40: 1}), dict(lengths={40: 2.0})])
def test_the_page_shows_a_sentence_where_a_setting_is_wrong(wrong):
    shown = Studio(Recipe()).turn(**wrong)
    assert shown.startswith('<p class="complaint"') and "Traceback" not in shown and "<audio" not in shown


def test_a_hostile_text_stays_text():
    assert "<script" not in Studio(Recipe()).turn(text="<script>alert(1)</script>好。")
    assert "<img src=x" not in Studio(Recipe()).turn(speaker="<img src=x>")


def test_another_network_is_not_passed_off_as_the_same():
    known = studio.weights_of("mini")
    assert Recipe(weights=known).speak().seconds > 0.5
    with pytest.raises(StudioError, match="another network makes another sound"):
        Recipe(weights=known[::-1]).speak()


def test_a_new_text_lets_go_of_handles_and_a_handle_back_in_place_is_none():
    page = Studio(Recipe()).widget()
    tone, length = page.handles[2]
    tone.value, length.value = 4, 1.5
    assert page.studio.recipe == Recipe(tones={3: 4}, lengths={3: 1.5})
    tone.value, length.value = 3, 1.0
    assert page.studio.recipe == Recipe()
    tone.value = 1
    page.settings["text"].value = "你好。"
    assert page.studio.recipe == Recipe(text="你好。") and len(page.handles) == 2


def test_a_and_b_are_kept_apart_and_saved_sounds_lie_together(tmp_path):
    page = Studio(Recipe()).widget()
    page.buttons["keep as A"].click()
    page.settings["seed"].value = 7
    page.buttons["keep as B"].click()
    assert page.both.value.count("<audio") == 2 and page.studio.kept["A"].seed == 0 and page.studio.kept["B"].seed == 7
    page.buttons["save"].click()
    saved = sorted(p.suffix for p in (tmp_path / "data" / "mine").iterdir())
    assert saved == [".json", ".wav"] and "again.wav" in page.saved.value
    assert json.loads(next((tmp_path / "data" / "mine").glob("*.json")).read_text("utf8"))["seed"] == 7


def test_the_page_is_served_to_this_machine_alone(tmp_path):
    page = served.write_page(tmp_path)
    nbformat.validate(nbformat.read(page, 4))
    words = served.command(page, 8000)
    assert "--Voila.ip=127.0.0.1" in words and "--show_tracebacks=False" in words and "--port=8000" in words
    assert not any("http" in part for part in served.POLICY.split())
