"""Draw the pictures of nbs/images: `python -m tools.diagram`; `--check` only says whether they are up to date.

system.svg shows the whole system, house.svg the parts of the course and the module that each lesson makes.
"""
import json, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "nbs" / "images"
INK, SOFT, WORDS, SOUND, NOISE = "#1f2937", "#6b7280", "#2563eb", "#059669", "#c2410c"
COLORS = (INK, SOUND, WORDS, NOISE)      # of the floors of the house, in turn
PARTS = ("Start", "Sound", "Words", "Diffusion", "Training", "Measuring", "Speaking", "Experiments", "Studio", "Judges")


def text(x, y, words, size=15, color=INK, weight="400", anchor="middle", style="normal"):
    "Write words at a place."
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}" font-weight="{weight}" font-style="{style}" '
            f'text-anchor="{anchor}">{words}</text>')


def box(x, y, width, title, small, color):
    "Draw a part: its name, and what it is about."
    return (f'<rect x="{x}" y="{y}" width="{width}" height="62" rx="9" fill="{color}" fill-opacity=".09" '
            f'stroke="{color}" stroke-width="1.6"/>'
            + text(x + width / 2, y + 27, title, 16, color, "600") + text(x + width / 2, y + 47, small, 12, SOFT))


def arrow(points, label="", at=None, color=SOFT):
    "Draw an arrow through points, with a label in the middle or where `at` says."
    path = "M" + " L".join(f"{x},{y}" for x, y in points)
    (x0, y0), (x1, y1) = points[0], points[-1]
    x, y = at or ((x0 + x1) / 2, (y0 + y1) / 2 - 8)
    line = f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.8" marker-end="url(#tip)"/>'
    return line + (text(x, y, label, 12, SOFT) if label else "")


def wave(x, y, width, heights, color):
    "Draw a small waveform of bars."
    step = width / len(heights)
    def bar(i, h):
        place = x + i * step
        return (f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{y - h:.1f}" y2="{y + h:.1f}" stroke="{color}" '
                'stroke-width="2" stroke-linecap="round"/>')
    return "".join(bar(i, h) for i, h in enumerate(heights))


def picture(width: int, height: int, label: str, parts: list) -> str:
    "Wrap drawn parts as an SVG file."
    fonts = "Helvetica, Arial, 'Noto Sans CJK SC', sans-serif"
    tip = ('<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
           f'orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" fill="{SOFT}"/></marker></defs>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="{fonts}" '
            f'role="img" aria-label="{label}">{tip}<rect width="{width}" height="{height}" fill="#ffffff" rx="12"/>'
            + "".join(parts) + "</svg>\n")


def system() -> str:
    "Draw the whole system: from text to sound, and from sound to latents."
    swell = [2, 4, 8, 14, 19, 15, 9, 5, 3, 2, 5, 11, 17, 20, 14, 8, 4, 2]
    parts = [
        text(20, 32, "you type", 13, SOFT, anchor="start"),
        text(20, 76, "今天天气很好", 20, INK, "600", anchor="start"),
        arrow([(148, 70), (188, 70)]), box(190, 39, 150, "front end", "jin1 tian1 tian1 …", WORDS),
        arrow([(340, 70), (420, 70)], "phones, tones"),
        box(422, 39, 160, "TTS encoder", "how long is each phone?", WORDS),
        arrow([(502, 101), (502, 168)], "H  [D, L]", (540, 139)),
        text(20, 160, "noise", 13, SOFT, anchor="start"),
        wave(24, 200, 120, [13, 6, 17, 9, 4, 15, 11, 18, 3, 12, 7, 16, 5, 14, 10, 17, 6, 12], NOISE),
        arrow([(148, 200), (420, 200)], "z_T  [16, L]"),
        box(422, 169, 160, "denoiser", "a few steps, again and again", NOISE),
        '<path d="M 447,231 C 447,262 557,262 557,233" fill="none" stroke="#c2410c" stroke-width="1.8" '
        'marker-end="url(#tip)"/>',
        arrow([(582, 200), (662, 200)], "z_0  [16, L]"), box(664, 169, 130, "decoder", "16 numbers → 1,024", SOUND),
        arrow([(794, 200), (852, 200)], "bands"), box(854, 169, 120, "PQMF", "16 bands → sound", SOUND),
        arrow([(914, 169), (914, 108)]), wave(862, 80, 110, swell, SOUND), text(914, 34, "you hear 48 kHz", 13, SOFT),
        text(20, 318, "learned from", 13, SOFT, anchor="start"), wave(24, 358, 120, swell[::-1], SOUND),
        arrow([(148, 358), (188, 358)]),
        box(190, 327, 150, "PQMF", "sound → 16 bands", SOUND), arrow([(340, 358), (420, 358)], "[16, T/16]"),
        box(422, 327, 160, "encoder", "1,024 samples → 16", SOUND),
        arrow([(582, 358), (727, 358), (727, 235)], "z  [16, T/1024]", (655, 350)),
        text(845, 345, "ten seconds of speech", 13, INK, "600"), text(845, 364, "480,000 samples", 12, SOFT),
        text(845, 381, "= 16 × 469 latent numbers", 12, SOFT),
    ]
    label = ("Text becomes phones, phones become a condition, the denoiser turns noise into latents under that "
             "condition, the decoder turns latents into sound")
    return picture(1000, 405, label, parts)


def lessons() -> list:
    "List (number, title, module or None) of every lesson, from the notebooks themselves."
    found = []
    for path in sorted((ROOT / "nbs").glob("[0-9]*.ipynb")):
        source = "\n".join("".join(c["source"]) for c in json.loads(path.read_text("utf8"))["cells"])
        module = re.search(r"^#\| *default_exp +([\w.]+)", source, re.M)
        found.append((path.stem[:2], path.stem[3:], module[1] if module else None))
    return found


def house() -> str:
    "Draw the parts of the course as floors, and the module of each lesson as a room."
    left, top = 145, 70               # where the first floor begins
    room, gap, floor, a_row = 146, 8, 48, 6
    drawn, y = [], top
    for digit, name in enumerate(PARTS):
        rooms = [lesson for lesson in lessons() if lesson[0][0] == str(digit)]
        color = COLORS[digit % len(COLORS)]
        if not rooms:
            continue
        drawn.append(text(20, y + 26, f"{digit} {name}", 15, color, "600", anchor="start"))
        for k, (number, title, module) in enumerate(rooms):
            x, row = left + k % a_row * (room + gap), y + k // a_row * floor
            dashes = ' stroke-dasharray="5 3"' if (module or "").startswith("experiments.") else ""
            drawn.append(f'<rect x="{x}" y="{row}" width="{room}" height="40" rx="7" fill="{color}" fill-opacity=".09" '
                         f'stroke="{color}" stroke-width="1.2"{dashes}/>')
            drawn.append(text(x + 9, row + 25, number, 12, SOFT, anchor="start"))
            drawn.append(text(x + 28, row + 25, (module or title).split(".")[-1], 12, color, "600", anchor="start"))
        y += floor * -(-len(rooms) // a_row) + 14
    drawn.append(text(20, 30, "One lesson, one module of the same name. A module imports only modules with a smaller "
                      "number.", 14, INK, "600", anchor="start"))
    legend = "A solid line: the module is latentspeech.NAME. A dashed line: latentspeech.experiments.NAME."
    drawn.append(text(20, 50, legend, 12, SOFT, anchor="start"))
    return picture(left + a_row * (room + gap) + 12, y + 6, "The parts of the course and the modules that they make",
                   drawn)


def main() -> int:
    "Draw both pictures; with `--check`, only say whether they are up to date."
    stale = []
    for name, draw in (("system", system), ("house", house)):
        file, made = IMAGES / f"{name}.svg", draw()
        if "--check" not in sys.argv:
            file.write_text(made, "utf8")
        elif not file.exists() or file.read_text("utf8") != made:
            stale.append(name)
    if stale:
        print(f"{', '.join(stale)}: not up to date; run python -m tools.diagram", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
