"""The page that the demo leaves: one file with sounds and pictures inside, and the notebooks as run beside it.

`write_page(folder)` reads what lies in the folder and says so where a piece is missing; nothing in it wants a network.
"""
from __future__ import annotations
import base64, html, io, itertools, json, re
from difflib import SequenceMatcher
from pathlib import Path

GREY = "#808890"   # readable on light and on dark ground
MOST_SENTENCES = 16
SOUNDS = {"natural": "Natural", "reconstruction": "Reconstructed", "speech": "Spoken from text"}
CAPTIONS = {"natural": "what the teacher said", "reconstruction": "through the autoencoder and back",
            "speech": "made from the text alone"}
STEPS = {"autoencoder": "The autoencoder: how far its copy of a sound is from the sound",
         "voice": "The voice: how far its guess is from the true latent"}


def esc(text) -> str:
    "Write text so that HTML shows it as it is."
    return html.escape(str(text))


def read_json(path: Path):
    "Return what a JSON file holds, or None where there is no whole one."
    try:
        return json.loads(Path(path).read_text("utf8"))
    except (OSError, ValueError):
        return None


def read_rows(path: Path) -> list[dict]:
    "Return the steps of a history, a line of JSON each; none where the file isn't whole."
    try:
        rows = [json.loads(line) for line in Path(path).read_text("utf8").splitlines()]
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict) and "step" in row]


def spaced(seconds) -> str:
    "Write seconds as minutes and seconds."
    return f"{seconds:.0f} s" if seconds < 60 else f"{int(seconds // 60)} min {seconds % 60:02.0f} s"


# ------------------------------------------------------------------------------------------------ words

def syllables(pinyin) -> list[str]:
    "Return toned syllables as a list, whatever they came as."
    return pinyin.split() if isinstance(pinyin, str) else [str(p) for p in pinyin or []]


def accented(syllable: str) -> str:
    "Write hao3 as hǎo; what is no pinyin stays as it is."
    from pypinyin.contrib.tone_convert import tone3_to_tone
    if not re.fullmatch(r"[a-zü]+[1-5]", syllable):
        return syllable
    return tone3_to_tone(syllable.removesuffix("5")).replace("v", "ü")


def marked(said: list, heard: list) -> str:
    "Write what was heard, with syllables and tones that differ from what was said marked."
    parts = []
    for kind, a, b, c, d in SequenceMatcher(None, said, heard, autojunk=False).get_opcodes():
        for s, h in itertools.zip_longest(said[a:b], heard[c:d]):
            if kind == "equal":
                parts.append(esc(accented(h)))
            elif h is None:
                parts.append(f'<mark title="{esc(accented(s))} was not heard">∅</mark>')
            elif s is not None and s[:-1] == h[:-1]:
                parts.append(f'<mark class="tone" title="another tone: {esc(accented(s))} was '
                             f'said">{esc(accented(h))}</mark>')
            else:
                parts.append(f'<mark title="{esc(accented(s) if s else "nothing")} was said">{esc(accented(h))}</mark>')
    return " ".join(parts) or "nothing"


# ------------------------------------------------------------------------------------------------ pictures and sounds

def picture(figure, kind: str, alt: str) -> str:
    "Turn a matplotlib figure into an image that stands in the page."
    import matplotlib.pyplot as plt
    file = io.BytesIO()
    figure.savefig(file, format=kind, transparent=True)
    plt.close(figure)
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    return (f'<img loading="lazy" alt="{esc(alt)}" '
            f'src="data:{mime};base64,{base64.b64encode(file.getvalue()).decode()}">')


def plain_axes(ax):
    "Make axes readable on any ground."
    ax.tick_params(colors=GREY, labelsize=8)
    for part in (ax.xaxis.label, ax.yaxis.label, ax.title):
        part.set_color(GREY)
    for side, spine in ax.spines.items():
        spine.set(color=GREY, linewidth=0.6, visible=side in ("left", "bottom"))


def player(path: Path, seconds: float, title: str, width: float = 4) -> str:
    "Show one sound: its spectrogram over `seconds`, whatever its own length, and a player."
    import matplotlib.pyplot as plt
    from latentspeech.audio import load, play, show_spectrogram
    sound = load(path)
    figure, ax = plt.subplots(figsize=(width, 1.7), dpi=110, layout="constrained")
    show_spectrogram(sound, ax=ax, f_max=12_000)
    ax.set(xlim=(0, seconds), xlabel="seconds", ylabel="kHz", yticks=range(0, 13, 4))
    plain_axes(ax)
    source = re.search(r'src="([^"]+)"', play(sound)._repr_html_())[1]
    audio = f'<audio controls preload="metadata" aria-label="{esc(title)}" src="{source}"></audio>'
    return picture(figure, "png", f"spectrogram of: {title}") + audio


def find_sound(folder: Path, name) -> Path | None:
    "Return the sound file that a sample names, if it is there."
    if not name:
        return None
    return next((p for p in (folder / name, folder / "samples" / Path(name).name) if p.is_file()), None)


def length_of(path: Path) -> float:
    "Return how many seconds a sound file lasts."
    import soundfile
    return soundfile.info(path).duration


def sentence_card(folder: Path, sample: dict) -> str:
    "Show one test sentence: text, pinyin, and its three sounds side by side on the same axes."
    files = {key: find_sound(folder, sample.get("sounds", {}).get(key)) for key in SOUNDS}
    seconds, said, cells = 0.0, syllables(sample.get("pinyin")), []
    for key, path in list(files.items()):
        try:
            seconds = max(seconds, length_of(path)) if path else seconds
        except (OSError, RuntimeError):
            files[key] = None
    for key, path in files.items():
        sound = '<p class="gone">not there</p>'
        try:
            if path:
                sound = player(path, seconds, f"{SOUNDS[key]}: {sample.get('text', '')}")
        except (OSError, RuntimeError, ValueError) as error:
            sound = f'<p class="gone">cannot be played: {esc(error)}</p>'
        caption = f'<figcaption><b>{SOUNDS[key]}</b> <span>{CAPTIONS[key]}</span></figcaption>'
        cells.append(f"<figure>{caption}{sound}{heard_line(said, sample.get('heard', {}).get(key))}</figure>")
    return f'<article>{spelt_text(sample.get("text", ""), said)}<div class="three">{"".join(cells)}</div></article>'


def spelt_text(text: str, said: list) -> str:
    "Show a text and its pinyin."
    return (f'<h3 lang="zh-CN">{esc(text)}</h3>'
            f'<p class="pinyin">{esc(" ".join(map(accented, said)))}</p>')


def heard_line(said: list, heard) -> str:
    "Show what a recogniser heard, if it listened."
    if heard is None:
        return ""
    return f'<p class="heard"><span>heard</span> {marked(said, syllables(heard))}</p>'


def loss_curve(history: list, title: str) -> str:
    "Draw the running mean of each loss term over the steps."
    import matplotlib.pyplot as plt, numpy as np
    figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    terms = [k for k in history[-1] if k not in ("step", "seconds", "gradient")]
    for term, colour in zip(terms, ("#4c8dd6", "#d08a3c", "#4fa67a", "#b06fc4", "#c75d5d")):
        steps, values = zip(*[(h["step"], h[term]) for h in history if isinstance(h.get(term), (int, float))])
        width = max(1, len(values) // 25)
        means = np.convolve(values, np.ones(width) / width, "valid")
        ax.plot(steps, values, color=colour, alpha=0.15, linewidth=0.6)
        ax.plot(steps[len(steps) - len(means):], means, color=colour, label="all" if term == "loss" else term,
                linewidth=1.6)
    ax.set(xlabel="step", ylabel="error", yscale="log")
    ax.legend(frameon=False, labelcolor=GREY, fontsize=8)
    ax.tick_params(which="minor", colors=GREY, labelsize=7)
    plain_axes(ax)
    image = picture(figure, "svg", f"loss over training steps. {title}")
    return f"<figure><figcaption>{esc(title)}</figcaption>{image}</figure>"


# ------------------------------------------------------------------------------------------------ sections

def figure_of(value, unit: str = "") -> str:
    "Write one figure of the table."
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.2f}{' ' + unit if unit else ''}"


def unit_of(row: dict) -> str:
    "Return the unit of a row, told by its metric where it doesn't say."
    return row.get("unit") or ("%" if re.search(r"SER|error", row["metric"]) else "")


def results(table: dict) -> str:
    "Lay out the table: a line a row, a column a measure; then what is known about it."
    metrics, names = (list(dict.fromkeys(r[k] for r in table["rows"])) for k in ("metric", "row"))
    found = {(r["row"], r["metric"]): r for r in table["rows"]}
    head = "<th></th>" + "".join(f"<th scope=col>{esc(m)}</th>" for m in metrics)
    body = "".join(f"<tr><th scope=row>{esc(n)}</th>{''.join(table_cell(found.get((n, m))) for m in metrics)}</tr>"
                   for n in names)
    return (f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
            + ordering_line(table.get("ordering")) + about_table(table))


def table_cell(row: dict | None) -> str:
    "Write one figure with its interval and n."
    if row is None:
        return "<td></td>"
    unit, interval = unit_of(row), ""
    if row.get("low") is not None:
        interval = f"{figure_of(row['low'], unit)} to {figure_of(row['high'], unit)}, "
    failed = f", {row['failed']} failed" if row.get("failed") else ""
    detail = f"{interval}n = {row['n']}{failed}"
    return f"<td>{esc(figure_of(row['value'], unit))}<small>{esc(detail)}</small></td>"


def ordering_line(ordering) -> str:
    "Say whether the rows of the table stand in the order in which they must."
    if not ordering:
        return '<p class="bad"><b>Ordering check:</b> missing from the table</p>'
    if ordering == "holds":
        return ('<p class="good"><b>Ordering check:</b> natural speech is better than the voice, and the voice better '
                "than the controls: holds</p>")
    words = "; ".join(map(str, ordering)) if isinstance(ordering, list) else ordering
    return f'<p class="bad"><b>Ordering check:</b> {esc(words)}</p>'


def about_table(table: dict) -> str:
    "Write what a table says of itself, folded away."
    def shown(value):
        return value if isinstance(value, (str, int, float)) else json.dumps(value, ensure_ascii=False)
    about = "".join(f"<dt>{esc(k.replace('_', ' '))}</dt><dd>{esc(shown(v))}</dd>"
                    for k, v in table.items() if k not in ("rows", "ordering"))
    return f"<details><summary>How these figures were made</summary><dl>{about}</dl></details>" if about else ""


def headline(record: dict, table: dict | None) -> str:
    "Show the few figures that a visitor wants first."
    facts = []
    for row in (table or {}).get("rows", []):
        if row.get("role") == "tts" and "SER" in row["metric"] and "true" not in row["row"].lower():
            if row["value"] is not None and not facts:
                facts.append((figure_of(row["value"], "%"),
                              f"of the syllables that the voice says are heard wrong ({row['n']} test sentences)"))
    if record.get("first_sound_minutes") is not None:
        facts.append((spaced(60 * record["first_sound_minutes"]), "until the first sentence could be played"))
    if record.get("minutes"):
        facts.append((spaced(60 * record["minutes"]), "for everything, after set-up"))
    if record.get("peak_gb"):
        facts.append((f"{record['peak_gb']:.1f} GB", "of memory at most"))
    boxes = "".join(f"<div><b>{esc(figure)}</b><span>{esc(words)}</span></div>" for figure, words in facts)
    return f'<div class="facts">{boxes}</div>'


def words_before(folder: Path, said: dict | None, title: str, caption: str) -> str:
    "Show what weights that ship said before any training here."
    path = find_sound(folder, (said or {}).get("file"))
    if not path:
        return ""
    pinyin = syllables(said.get("pinyin"))
    return (f'<article>{spelt_text(said["text"], pinyin)}<figure><figcaption><b>{esc(title)}</b> '
            f"<span>{esc(caption)}</span></figcaption>"
            f"{player(path, length_of(path), title.lower(), 9)}{heard_line(pinyin, said.get('heard'))}"
            "</figure></article>")


def cost(record: dict) -> str:
    "Say what the start was, and what the other start would cost."
    costs = record.get("costs", {})
    going_on, nothing = (sum(costs.get(k, (0, 0))) for k in ("going_on", "from_nothing"))
    ruler = ("The recogniser that scores the work is the one that ships, in both cases: a ruler that changes with "
             "each run measures nothing. It was trained on the training sentences alone, and knows no word, only "
             "syllables and tones.")
    if record.get("preset") == "tiny":
        return ("<p>This run only tried the machinery: seconds of training with the tiny preset. The table "
                f"and the sounds above are those of the weights that ship.</p><p>{ruler}</p>")
    if record.get("scratch"):
        trained = sum(record.get("training_minutes", (0, 0)))
        return (f"<p>This run started from nothing: autoencoder and voice knew nothing before the {trained:.0f} "
                f"minutes of training shown here. Going on from the weights that ship takes {going_on:g} minutes of "
                f"training and sounds better, since hours of training went into them.</p><p>{ruler}</p>")
    made = [f"{part}: {card['steps']:,} steps in {spaced(card['training_seconds'])} ({card.get('machine', '')})"
            for part, card in record.get("shipped", {}).items()
            if card.get("steps") and card.get("training_seconds")]
    before = esc(f" ({'; '.join(made)})" if made else "")
    return (f"<p>This run went on from weights that ship with the repository, so most of what you hear was learned "
            f"before{before}. <code>SCRATCH=1 make demo</code> forgets them: {nothing:g} minutes of training in place "
            f"of {going_on:g}, about {record.get('whole_from_nothing', 60)} minutes in all on two cores, and a rougher "
            f"voice at the end.</p><p>{ruler}</p>")


def stages_table(record: dict) -> str:
    "Lay out time and memory of each part."
    def line(s):
        training = [f"{s['minutes']:g} min planned"] if s["minutes"] else []
        training += [f"{s['step']:,} steps"] if s["step"] else []
        state = s["status"] + (f": {s['problem']}" if s["problem"] else "")
        cells = (spaced(s["seconds"]) if s["seconds"] else "–", ", ".join(training), f"{s['peak_gb']:.1f} GB", state)
        return (f"<tr><th scope=row>{esc(s['title'])}<small>{esc(s['words'])}</small></th>"
                + "".join(f"<td>{esc(c)}</td>" for c in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("", "time", "training", "memory, at most", ""))
    return (f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>'
            + "".join(map(line, record.get("stages", []))) + "</tbody></table></div>"
            + f"<p>On {esc(record.get('machine', 'this machine'))}. Memory is what all processes of the demo held "
              "together.</p>")


def notebooks(folder: Path) -> str:
    "Link to the notebooks as run."
    lines = []
    for page in sorted(folder.glob("[0-9]*.html")):
        title = title_of(page.with_suffix(".ipynb")) or page.stem
        lines.append(f'<li><a href="{esc(page.name)}">{esc(title)}</a> '
                     f'(<a href="{esc(page.stem)}.ipynb">.ipynb</a>)</li>')
    return f"<ul>{''.join(lines)}</ul>" if lines else '<p class="gone">No notebook was run.</p>'


def title_of(path: Path) -> str:
    "Return the first heading of a notebook."
    cells = (read_json(path) or {}).get("cells", [])
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return next((line[2:] for line in text.splitlines() if line.startswith("# ")), "")


COMMANDS = """make demo                            # all of this again
SCRATCH=1 make demo                  # the same from nothing
make speak TEXT="今天天气很好"       # a text of your own: out/speech.wav
make lab                             # open the notebooks and change something"""

STYLE = """
:root {
  color-scheme: light dark; --ground: #fbfaf7; --card: #fff; --ink: #22272c; --soft: #667078; --line: #e4e1da;
  --accent: #2f6f9f; --good: #2c7a4b; --bad: #b0452f; --mark: #f9dcc9; --tone: #fdf0c4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181b; --card: #1d2125; --ink: #e2e5e7; --soft: #98a1a8; --line: #30363b; --accent: #7fb6de;
    --good: #74c596; --bad: #ee9a83; --mark: #6b3524; --tone: #5a4a12;
  } }
* { box-sizing: border-box }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
    "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
}
main, header, footer { max-width: 66rem; margin: 0 auto; padding: 0 1.25rem }
header { padding-top: 3.5rem } footer { padding-bottom: 3rem; color: var(--soft); font-size: .9rem }
h1 {
  font-size: clamp(1.8rem, 5vw, 2.7rem); line-height: 1.15; margin: 0 0 .75rem; letter-spacing: -.02em;
  text-wrap: balance;
}
h2 { font-size: 1.35rem; margin: 3.2rem 0 .6rem; letter-spacing: -.01em }
h3 { font-size: 1.3rem; font-weight: 500; margin: 0 }
p, li { max-width: 46rem } .lead { font-size: 1.1rem; color: var(--soft) } a { color: var(--accent) }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1px;
  background: var(--line); border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
  margin: 2rem 0;
}
.facts div { background: var(--card); padding: 1rem 1.1rem }
.facts b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.25 }
.facts span { color: var(--soft); font-size: .9rem; line-height: 1.4; display: block }
article {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.1rem 1.25rem;
  margin: 1rem 0;
}
.pinyin { color: var(--soft); margin: .1rem 0 .8rem }
.three { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1.1rem }
.two { display: grid; grid-template-columns: repeat(2, 1fr); gap: 1.5rem }
figure { margin: 0; min-width: 0 }
figcaption { font-size: .9rem; margin-bottom: .3rem }
figcaption span { color: var(--soft) }
figcaption b { display: block }
img { width: 100%; height: auto; display: block } audio { width: 100%; height: 36px; margin-top: .4rem }
.heard { font-size: .9rem; margin: .4rem 0 0 } .heard span { color: var(--soft) }
mark {
  background: var(--mark); color: inherit; border-radius: 3px; padding: 0 .15em;
  text-decoration: underline wavy 1px;
}
mark.tone { background: var(--tone); text-decoration: underline dotted 1px }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 12px; background: var(--card) }
table { border-collapse: collapse; width: 100%; font-size: .95rem }
th, td {
  text-align: left; padding: .55rem .9rem; border-bottom: 1px solid var(--line); vertical-align: top;
  font-variant-numeric: tabular-nums;
}
tbody tr:last-child > * { border-bottom: 0 }
th { font-weight: 500 }
thead th { color: var(--soft); font-size: .85rem }
td { white-space: nowrap }
td:last-child { white-space: normal }
small { display: block; color: var(--soft); font-weight: 400; font-size: .8rem }
.good b { color: var(--good) }
.bad, .bad b { color: var(--bad) }
.gone { color: var(--soft); font-style: italic }
.problem {
  border-left: 4px solid var(--bad); padding: .6rem 1rem; background: var(--card); overflow-wrap: anywhere;
  max-width: none;
}
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1rem 1.2rem;
  overflow-x: auto; font-size: .88rem; line-height: 1.7;
}
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace }
dl { font-size: .9rem; display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
summary { cursor: pointer; color: var(--accent) }
@media (max-width: 46rem) {
  .three, .two { grid-template-columns: 1fr }
  header { padding-top: 2rem }
  dl { grid-template-columns: 1fr }
  dd { margin-bottom: .4rem }
  th, td { padding: .5rem .7rem }
}
"""


LEAD = """Text becomes Mandarin speech at 48 kHz without a spectrogram in between: a network learned to write 21 ms
of sound as 16 numbers, a second one learned to find those numbers in noise, given a text. Both were trained on this
machine, by the notebooks linked below. The teacher is a speech robot, espeak-ng, so a robot's accent is what was
learned."""
LISTEN = """Test sentences, which no training has seen. In this order: the teacher; the same sound squeezed into 16
numbers every 21 ms and opened again, which is the best that the voice could do; and the voice, which had only the text.
Pictures of one sentence share their axes. Below each sound is what a recogniser heard: <mark>a wrong syllable</mark>,
<mark class="tone">a wrong tone</mark>."""
PERSON = ("A person",
          "said by weights that learned from a woman's words; these they never heard, and here they learn nothing")
FIRST = ("First words", "said by the weights that ship, before any training here")
HOW_GOOD = """SER is the share of syllables that a recogniser made for this project hears wrong, tones aside; lower is
better, and its own error on natural speech is the floor. The intervals hold 95 % of what other test sentences would
have given."""


def gone(what: str) -> str:
    "Say that a piece of the demo is not there."
    return f'<p class="gone">{what} is missing: the demo did not get so far.</p>'


def header(record: dict, table: dict | None) -> list[str]:
    "Write the top of the page: what this is, whether it ended well, and the few figures that come first."
    title = "A voice that learned to speak"
    lines = ["<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
             '<meta name="viewport" content="width=device-width, initial-scale=1">',
             f"<title>{title}: LatentSpeech demo</title><style>{STYLE}</style></head><body><header>",
             f"<h1>{title}</h1>", f'<p class="lead">{LEAD}</p>']
    if record.get("problem"):
        lines.append(f'<p class="problem"><b>This demo did not end well.</b> {esc(record["problem"])}</p>')
    return [*lines, headline(record, table), "</header><main>"]


def curves(folder: Path) -> list[str]:
    "Draw how the networks learned."
    drawn = []
    for part, title in STEPS.items():
        history = read_rows(folder / part / "history.jsonl")
        drawn.append(loss_curve(history, title) if history else gone(f"{part}/history.jsonl"))
    return ["<h2>How it learned</h2>", '<div class="two">', *drawn, "</div>"]


def costs(record: dict) -> list[str]:
    "Say what the demo took, on how much speech, and where it started."
    lines = ["<h2>What it took</h2>", stages_table(record)]
    if corpus := record.get("corpus"):
        lines.append("<p>The corpus: {utterances:,} sentences, {minutes:.0f} minutes of speech; {train:,} to learn "
                     "from, {valid} to watch, {test} for the test.</p>".format(**corpus))
    return [*lines, "<h2>Where it started</h2>", cost(record)]


def footer(folder: Path, record: dict) -> str:
    "Write the bottom of the page: the preset, and the data behind it all."
    links = [f'<a href="{n}">{n}</a>' for n in ("demo.json", "table.json", "samples.json") if (folder / n).exists()]
    return (f"</main><footer><p>LatentSpeech, preset {esc(record.get('preset', '?'))}. Data behind this page: "
            f"{', '.join(links)}.</p></footer></body></html>")


def build_page(folder: Path) -> str:
    "Return the whole page as HTML, from what lies in a demo's folder."
    import matplotlib
    matplotlib.use("Agg")
    folder = Path(folder)
    record, table, samples = (read_json(folder / f"{name}.json") for name in ("demo", "table", "samples"))
    record = record or {}
    shown = [s for s in samples if isinstance(s, dict)] if isinstance(samples, list) else []
    lines = [*header(record, table), "<h2>Listen</h2>", words_before(folder, record.get("person"), *PERSON)]
    lines += [f"<p>{LISTEN}</p>"]
    lines += [sentence_card(folder, s) for s in shown[:MOST_SENTENCES]] or [gone("samples.json")]
    lines += [words_before(folder, record.get("first"), *FIRST), "<h2>How good is it?</h2>", f"<p>{HOW_GOOD}</p>"]
    lines += [results(table) if table and table.get("rows") else gone("table.json")]
    lines += [*curves(folder), *costs(record), "<h2>The notebooks, as run</h2>", notebooks(folder)]
    lines += ["<h2>Do it again</h2>", f"<pre><code>{esc(COMMANDS)}</code></pre>", footer(folder, record)]
    return "\n".join(lines) + "\n"


def write_page(folder: Path) -> Path:
    "Write index.html into a demo's folder; return its path."
    path = Path(folder) / "index.html"
    path.write_text(build_page(folder), "utf8")
    return path


# ------------------------------------------------------------------------------------------------ notebooks

def settled(notebook):
    "Return a copy of a notebook whose progress bars are the text they ended on: widgets want a network."
    import copy
    notebook = copy.deepcopy(notebook)
    states = notebook.metadata.pop("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    def state(key):
        return states.get(str(key).removeprefix("IPY_MODEL_"), {}).get("state", {})
    def ended(view):
        values = [state(child).get("value") for child in state(view.get("model_id")).get("children", [])]
        text = " ".join(v for v in values if isinstance(v, str))
        return html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
            if view:
                output["data"]["text/plain"] = ended(view)
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.get("data", {"": 1}).get("text/plain", "x")
                            or len(o["data"]) > 1]
    return notebook


def notebook_page(path: Path) -> Path:
    "Settle a notebook as run, write it as HTML beside it, outputs and all, and return the page's path."
    import nbformat
    from nbconvert import HTMLExporter
    notebook, target = settled(nbformat.read(path, as_version=4)), Path(path).with_suffix(".html")
    nbformat.write(notebook, path)
    resources = {"metadata": {"name": title_of(path) or target.stem}}
    # Not with embed_images: it closes each <details> where it opens.
    text, _ = HTMLExporter().from_notebook_node(notebook, resources=resources)
    text = re.sub(r"<script\b[^>]*>.*?</script>", lambda m: "" if "https://" in m[0] else m[0], text, flags=re.S)
    target.write_text(text, "utf8")
    return target
