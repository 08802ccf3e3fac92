"""Draw nbs/images/system.svg, the picture of the whole system: `python -m tools.diagram`."""
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "nbs" / "images" / "system.svg"
INK, SOFT, WORDS, SOUND, NOISE = "#1f2937", "#6b7280", "#2563eb", "#059669", "#c2410c"


def text(x, y, words, size=15, color=INK, weight="400", anchor="middle", style="normal"):
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
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.8" marker-end="url(#tip)"/>' + (
        text(x, y, label, 12, SOFT) if label else ""
    )


def wave(x, y, width, heights, color):
    "Draw a small waveform of bars."
    step = width / len(heights)
    return "".join(f'<line x1="{x + i * step:.1f}" x2="{x + i * step:.1f}" y1="{y - h:.1f}" y2="{y + h:.1f}" '
                   f'stroke="{color}" stroke-width="2" '
                   'stroke-linecap="round"/>' for i, h in enumerate(heights))


def main():
    swell = [2, 4, 8, 14, 19, 15, 9, 5, 3, 2, 5, 11, 17, 20, 14, 8, 4, 2]
    parts = [
        text(20, 32, "you type", 13, SOFT, anchor="start"), text(20, 76, "今天天气很好", 20, INK, "600", anchor="start"),
        arrow([(148, 70), (188, 70)]), box(190, 39, 150, "front end", "jin1 tian1 tian1 …", WORDS),
        arrow([(340, 70), (420, 70)], "phones, tones"), box(422, 39, 160, "TTS encoder", "how long is each phone?",
                                                            WORDS),
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
    svg = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 405" font-family="Helvetica, Arial, '
           '\'Noto Sans CJK SC\', sans-serif" role="img" '
           'aria-label="Text becomes phones, phones become a condition, the denoiser turns noise into latents '
           'under that condition, the decoder turns latents into sound">'
           '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
           'orient="auto-start-reverse">'
           f'<path d="M0,0 L10,5 L0,10 z" fill="{SOFT}"/></marker></defs><rect width="1000" height="405" '
           'fill="#ffffff" rx="12"/>' + "".join(parts) + "</svg>\n")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(svg, "utf8")


if __name__ == "__main__":
    main()
