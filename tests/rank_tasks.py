"""Train every task for some steps, alone or as one of several: `accelerate launch ... rank_tasks.py FOLDER`."""
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock
import torch
from accelerate import PartialState
import latentspeech.judge
from latentspeech.config import preset
from latentspeech.corpora import make_embedded_corpus
from latentspeech.judge import train_judge
from latentspeech.tasks import train_autoencoder, train_decoder, train_voice


def train(folder: Path, steps: int, parts: list, start: Path | None = None):
    "Train tasks in a folder; decoder and voice go on from the autoencoder in `start`, none = the same folder."
    torch.set_num_threads(1)
    tiny = preset("tiny")
    tiny = replace(tiny, encoder=replace(tiny.encoder, dropout=0.0, duration_dropout=0.0),
                   judge=replace(tiny.judge, dropout=0.0), autoencoder=replace(tiny.autoencoder, latent_noise=0.0),
                   loss=preset("base").loss)   # all the terms there are
    corpus = make_embedded_corpus(config=tiny.corpus, progress=False)
    weights = str((start or folder) / "autoencoder")
    ways = dict(judge=(train_judge, {}), autoencoder=(train_autoencoder, {}),
                decoder=(train_decoder, dict(warm_start=weights)), voice=(train_voice, dict(autoencoder=weights)))
    # what draws in the forward pass draws in each process for itself; the next test in this one draws again
    with mock.patch.object(latentspeech.judge, "mask_features", lambda features, lengths, generator=None: features):
        for part in parts:
            function, more = ways[part]
            function(tiny, corpus, folder / part, steps=steps, batch=8, device="cpu", progress=False, **more)


if __name__ == "__main__":
    state = PartialState(cpu=True)
    print(f"process {state.process_index} of {state.num_processes}", flush=True)
    train(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","), *map(Path, sys.argv[4:]))
