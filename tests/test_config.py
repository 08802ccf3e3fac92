"""Settings survive a file, refuse what they do not know, and the notation notebook points at things that exist."""
import json, math, re, subprocess, sys
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
import nbformat, pytest
from hypothesis import given, settings, strategies as st
from latentspeech import config as C

ROOT = Path(__file__).resolve().parent.parent
PARTS = [f.name for f in fields(C.Preset) if f.name not in ("name", "parts")]
PROSE = "\n".join(c.source for c in nbformat.read(ROOT / "nbs/01_notation.ipynb", 4).cells if c.cell_type == "markdown")


@pytest.mark.parametrize("name", C.PRESETS)
def test_a_preset_survives_json_and_keeps_its_types(name):
    there = C.preset(name)
    back = C.from_dict(C.Preset, json.loads(json.dumps(C.to_dict(there))))
    assert back == there and hash(back) == hash(there)
    assert all(type(getattr(back, p)) is type(getattr(there, p)) and is_dataclass(getattr(back, p)) for p in PARTS)


@pytest.mark.parametrize("name", C.PRESETS)
def test_a_preset_fits_together(name):
    p = C.preset(name)
    assert math.prod(p.autoencoder.strides) * p.autoencoder.n_bands == C.FRAME
    assert len(p.autoencoder.channels) == len(p.autoencoder.strides) + 1
    assert p.encoder.width % (2 * p.encoder.heads) == 0
    assert p.corpus.utterances > p.corpus.valid + p.corpus.test


numbers = st.one_of(st.integers(-10**9, 10**9), st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4096), max_size=8).map(tuple), numbers, st.text(max_size=20))
def test_any_values_come_back(channels, rate, kind):
    p = replace(C.preset("tiny"), autoencoder=C.AutoencoderConfig(kind=kind, channels=channels),
                train_voice=C.TrainConfig(learning_rate=rate))
    assert C.from_dict(C.Preset, json.loads(json.dumps(C.to_dict(p)))) == p


def test_old_files_may_lack_settings_but_nothing_unknown_is_swallowed():
    assert C.from_dict(C.Preset,
                       {"name": "x", "denoiser": {"layers": 3}}) == C.Preset("x", denoiser=C.DenoiserConfig(layers=3))
    for cls, values in ((C.DenoiserConfig, {"layer": 3}), (C.Preset, {"name": "x", "denoiser": {"layer": 3}}),
                        (C.Preset, {"name": "x", "voice": {}})):
        with pytest.raises(C.ConfigError, match="knows no"):
            C.from_dict(cls, values)


def test_the_cards_that_ship_and_older_ones_still_load():
    cards = {p.name: json.loads(p.read_text("utf8")) for p in (ROOT / "latentspeech/pretrained").glob("*.json")}
    assert cards
    for name, card in cards.items():
        kind = C.Preset if "voice" in name else C.JudgeConfig if "judge" in name else C.AutoencoderConfig
        assert isinstance(C.from_dict(kind, card["config"]), kind), name
    old = {"name": "x", "diffusion": {"start": "uniform"}}   # before `initial_noise` was named
    assert C.from_dict(C.Preset, old).diffusion == C.DiffusionConfig(initial_noise="uniform")
    gone = {"name": "x", "train_autoencoder": {"batch": 3, "bfloat16": True}}   # computing in 16 bits was an option
    assert C.from_dict(C.Preset, gone).train_autoencoder == C.TrainConfig(batch=3)
    there = C.AlignerConfig(classifier=C.TrainConfig(steps=3))   # dataclasses inside any other are rebuilt, too
    assert C.from_dict(C.AlignerConfig, json.loads(json.dumps(C.to_dict(there)))) == there


@pytest.mark.parametrize("name", ["huge", "", "Tiny", "../tiny"])
def test_an_unknown_preset_is_answered_with_those_there_are(name):
    with pytest.raises(C.ConfigError, match="tiny, mini, base, paper"):
        C.preset(name)


def test_nothing_can_be_changed():
    for part in PARTS:
        one = getattr(C.preset("mini"), part)
        with pytest.raises(FrozenInstanceError):
            setattr(one, fields(one)[0].name, None)


def test_it_imports_nothing_but_the_standard_library():
    code = ("import sys, latentspeech.config; print(sorted(m for m in ('torch', 'numpy', 'fastcore') if m in "
            "sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.strip() == "[]"


def test_every_link_of_the_notation_leads_to_a_notebook():
    links = set(re.findall(r"\]\(([\w.]+\.ipynb)\)", PROSE))
    assert len(links) > 10 and not [l for l in links if not (ROOT / "nbs" / l).exists()]


def test_tables_are_whole():
    widths = [[len(re.sub(r"`[^`]*`", "", row).strip("|").split("|")) for row in table.splitlines()]
              for table in re.findall(r"(?:^\|.*\n?)+", PROSE, re.M)]
    assert len(widths) >= 7 and all(len(set(w)) == 1 for w in widths), widths


def test_every_name_of_the_tables_exists():
    source = "\n".join(p.read_text("utf8") for p in (ROOT / "latentspeech").glob("*.py"))
    tables = (
        PROSE.split("## The notation table")[1].split("## What a system")[0]
        + PROSE.split("## Words you will meet")[1].split("## What this showed")[0]
    )
    # a code name stands in column 2 or 3
    cells = [cell for row in tables.splitlines() if row.startswith("|") for cell in row.split("|")[2:4]]
    names = {n for cell in cells for n in re.findall(r"`\"?([A-Za-z_]\w+)[\"(.)]*`", cell)}
    assert len(names) > 50 and not [n for n in sorted(names) if not re.search(rf"\b{n}\b", source)]
