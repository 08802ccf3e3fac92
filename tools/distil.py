#!/usr/bin/env python3
"""Distil a voice to a few steps, let a judge mark teacher and student on held-out sentences, and write what was gained.

`tools/distil.py` stops and goes on at any time: the student keeps its checkpoints in --folder, and each row is written when it is done.
"""
import sys
from dataclasses import replace
from pathlib import Path

from sweep_steps import Rows, add_controls, described, encoded, measure, opened, options, walked
import torch
from latentspeech.config import PRESETS
from latentspeech.distillation import train_student
from latentspeech.synthesis import LatentSpeech


def taught(args, corpus):
    "Train the student, or go on, or only load it; return it."
    preset = PRESETS[args.preset]
    settled = replace(preset, train_voice=replace(preset.train_voice, noise_draws=1, save_every=100))
    if args.minutes:
        train_student(settled, corpus, args.folder, args.voice, args.n_steps, args.steps or None, args.minutes,
                      args.batch or None, args.device, sys.stderr.isatty())
    return LatentSpeech.from_pretrained(args.folder, args.device)


def main() -> int:
    parser = options(__doc__, "43_distillation.json")
    parser.add_argument("--preset", default="mini", help="whose budget")
    parser.add_argument("--folder", type=Path, default=Path("out/train/student"),
                        help="for checkpoints and weights of the student")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training in all; 0 = only measure")
    parser.add_argument("--steps", type=int, default=0, help="at most; 0 = the preset's")
    parser.add_argument("--batch", type=int, default=8, help="sentences a lesson; 0 = the preset's")
    parser.add_argument("--n-steps", type=int, default=4, help="that the student is taught for")
    args = parser.parse_args()
    tts, judge, corpus, utterances = opened(args)
    student = taught(args, corpus)
    card = student.card
    about = described(args, tts, judge, corpus, utterances) | dict(student=dict(
        sha256=card["sha256"], steps=card["steps"], seconds=card["training_seconds"], batch=card["batch"],
        machine=card["machine"], **card["distilled"]))
    rows, batches = Rows(args.out, about), encoded(tts, utterances)
    add_controls(rows, tts, judge, corpus, utterances)
    own = replace(tts.preset.diffusion, sampler="ddim")
    goal = torch.cat(walked(tts, batches, own, args.seed)[0], 1)
    for who, voice, n in [("teacher", tts, n) for n in (own.n_steps, 4, 2,
                                                        1)] + [("student", student, n) for n in (1, 2, 4)]:
        if not rows.missing(f"{who}, {n}"):
            continue
        rows.add(measure(voice, judge, utterances, batches, replace(voice.preset.diffusion, sampler="ddim",
                                                                    n_steps=n), args.seed, goal)
                 | dict(row=f"{who}, {n}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
