"""Every task in one, two and four processes, as launch.yaml starts them: the same losses at the same global batch."""
import json, os, re, subprocess, sys
from pathlib import Path
import pytest
import latentspeech.judge
import rank_tasks
from latentspeech.judge import mask_features

ROOT = Path(__file__).resolve().parents[2]
FULL = os.environ.get("FIRE")
PARTS = "judge,autoencoder,decoder,voice" if FULL else "autoencoder,voice"
STEPS = 8 if FULL else 2


def config(folder, processes):
    "Write launch.yaml for processes of this machine: nothing else is changed, with GPUs or without."
    text = (ROOT / "launch.yaml").read_text("utf8")
    for old, new in (("num_processes: 8", f"num_processes: {processes}"),
                     ("main_process_port: 29517", f"main_process_port: {30000 + os.getpid() % 2000 + processes}")):
        assert old in text, old
        text = text.replace(old, new)
    path = folder / f"launch-{processes}.yaml"
    path.write_text(text)
    return path


def launch(folder, processes, *words):
    "Run a script or a module in so many processes; alone, it is started as anything else is."
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "accelerate.commands.launch", "--config_file", config(folder, processes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(c) for c in [*command, *words]], cwd=folder, env=environment, capture_output=True,
                          text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def losses(folder, part):
    "Return what a run wrote down, step by step."
    lines = (folder / part / "history.jsonl").read_text("utf8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("processes", [2, 4] if FULL else [2])
def test_each_task_has_the_losses_of_one_process(tmp_path_factory, processes):
    alone = tmp_path_factory.getbasetemp() / "ranks-alone"
    if not alone.exists():
        alone.mkdir()
        rank_tasks.train(alone, STEPS, PARTS.split(","))
        assert mask_features is latentspeech.judge.mask_features, "later tests here would train without masks"
    together = tmp_path_factory.mktemp(f"ranks-{processes}")
    said = launch(together, processes, ROOT / "tests/rank_tasks.py", together, STEPS, PARTS, alone)
    # asked for CPUs by name, accelerate starts one process, says nothing, and every loss is right
    ranks = sorted(re.findall(r"process (\d) of (\d)", said))
    assert ranks == [(str(k), str(processes)) for k in range(processes)]
    for part in PARTS.split(","):
        one, many = losses(alone, part), losses(together, part)
        assert [row["step"] for row in one] == [row["step"] for row in many] == list(range(1, STEPS + 1))
        for a, b in zip(one, many):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5, abs=1e-5), (part, a, b)


@pytest.mark.skipif(not FULL, reason="make test-fire")
def test_the_command_trains_all_parts_in_two_processes(tmp_path):
    """One writer: the weights are copied once, and a second run puts the first aside once."""
    words = ["-m", "latentspeech.cli", "train", "all", "--preset", "tiny", "--steps", "2", "--device", "cpu"]
    for _ in range(2):
        launch(tmp_path, 2, *words)
    assert {p.name for p in (tmp_path / "out/weights/tiny").glob("*.safetensors")} == {
        f"tiny-{part}.safetensors" for part in ("judge", "autoencoder", "voice")}
    kept = sorted(p.name for p in (tmp_path / "out/train/tiny").iterdir())
    assert kept == sorted(f"{part}{more}" for part in ("judge", "autoencoder", "voice") for more in ("", "-before-1"))


def test_the_file_says_what_it_is_for():
    text = (ROOT / "launch.yaml").read_text("utf8")
    for word in ("machine_rank", "main_process_ip", "num_machines", "num_processes"):
        assert len(re.findall(rf"^{word}:", text, re.M)) == 1, word
