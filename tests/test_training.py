"""What a lesson cell can't show of training: kills, resumed processes, two processes, damaged files, a full disk."""
import hashlib, json, os, random, resource, signal, subprocess, sys, time, warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forks import Fork
from latentspeech.config import TrainConfig
from latentspeech.files import folder_lock
from latentspeech.weights import weights_hash
from latentspeech.training import (Average, CheckpointCorrupt, Run, TrainingError, describe_machine, fit,
                                   latest_checkpoint, read_checkpoint, save_bytes, save_checkpoint)

ROOT = Path(__file__).parent.parent
TASK = '''
import sys, torch
from torch import nn
from latentspeech.config import TrainConfig
from latentspeech.training import fit
torch.set_num_threads(1)

class Task(nn.Module):
    "A small network with dropout, whose batches come from the step's generator."
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Dropout(DROPOUT), nn.Linear(64, 1))
    def batch(self, generator, size):
        x = torch.randn(size, 8, generator=generator)
        return {"x": x, "y": x.sin().sum(1, keepdim=True)}
    def forward(self, b):
        loss = (self.net(b["x"]) - b["y"]).square().mean()
        return loss, {"mse": loss.detach()}
'''
CONFIG = TrainConfig(steps=40, batch=8, learning_rate=1e-2, warmup=5, save_every=4, ema=0.9)


def make_task(dropout=0.2):
    scope = {}
    exec(compile(TASK.replace("DROPOUT", str(dropout)), "task", "exec"), scope)
    return scope["Task"]()


def digest(run):
    h = hashlib.sha256()
    for v in [*run.task.state_dict().values(), *run.average.values.values()]:
        h.update(v.numpy().tobytes())
    h.update(json.dumps([{k: v for k, v in r.items() if k != "seconds"} for r in run.history]).encode())
    return h.hexdigest()


def script(tmp_path, body, dropout=0.2):
    path = tmp_path / "run.py"
    path.write_text(TASK.replace("DROPOUT", str(dropout)) + body)
    return path


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_interrupted_runs_end_bit_identical(tmp_path):
    whole = fit(make_task(), CONFIG, tmp_path / "whole", device="cpu", progress=False)
    for stop in (7, 19, 20):
        fit(make_task(), replace(CONFIG, steps=40), tmp_path / "parts", device="cpu", progress=False,
            callback=lambda run, terms: run.step == stop and os.kill(os.getpid(), signal.SIGINT))
        torch.rand(17)  # somebody else uses the global generator in between
    parts = fit(make_task(), CONFIG, tmp_path / "parts", device="cpu", progress=False)
    assert parts.step == 40 and digest(parts) == digest(whole)


def test_killed_process_loses_nothing_announced(tmp_path):
    """Kill a real process at random, mid-save included: the newest announced checkpoint always loads."""
    body = f'''
from pathlib import Path
config = TrainConfig(steps=100_000, batch=4, warmup=5, save_every=1, ema=0.9)
fit(Task(), config, Path({str(tmp_path / "killed")!r}), device="cpu", progress=False)
'''
    path, rng, last = script(tmp_path, body), random.Random(0), 0
    kills = 25 if os.environ.get("FIRE") else 4
    for _ in range(kills):
        process = Fork(path, cwd=tmp_path)
        before = time.time()
        while (
            not list((tmp_path / "killed").glob("step-*.json"))
            or max((tmp_path / "killed").glob("step-*.json")).stat().st_mtime < before
        ):
            assert process.poll() is None, process.said()
            assert time.time() - before < 60
            time.sleep(0.01)
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("error")          # falling back would warn
            state = latest_checkpoint(tmp_path / "killed")
        newest = max(int(p.stem.split("-")[1]) for p in (tmp_path / "killed").glob("step-*.json"))
        assert state["step"] == newest > last, "a checkpoint was lost, or the run went back"
        last = newest
    print(f"counted: small network: {kills} kills, 0 checkpoints lost")


def test_sigterm_saves_and_exits_143(tmp_path):
    body = f'''
from pathlib import Path
config = TrainConfig(steps=1_000_000, batch=4, save_every=1_000_000)
fit(Task(), config, Path({str(tmp_path / "term")!r}), device="cpu", progress=False,
    callback=lambda run, terms: run.step == 3 and print("ready", flush=True))
'''
    process = Fork(script(tmp_path, body), cwd=tmp_path)
    assert process.until("\n") == "ready\n"
    process.terminate()
    assert process.wait(30) == 143
    assert latest_checkpoint(tmp_path / "term")["step"] >= 3
    with folder_lock(tmp_path / "term"):
        pass  # nobody holds it any more


def test_two_processes_see_the_losses_of_one(tmp_path):
    """DDP over gloo with two processes: the same global batch, the same losses, one writer."""
    body = f'''
from pathlib import Path
config = TrainConfig(steps=12, batch=8, learning_rate=1e-2, warmup=2, save_every=6, ema=0.9)
run = fit(Task(), config, Path(sys.argv[1]), device="cpu", progress=False)
print("one of", run.accelerator.num_processes)
'''
    path = script(tmp_path, body, dropout=0.0)
    assert Fork(path, tmp_path / "one").wait(120) == 0
    # "--cpu" starts one process, whatever number follows; this starts two, with GPUs or without
    done = subprocess.run([sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
                           "--num_machines", "1", "--main_process_port", str(32000 + os.getpid() % 2000),
                           "--mixed_precision", "no", "--dynamo_backend", "no", str(path), str(tmp_path / "two")],
                          env=environment(), check=True, timeout=180, capture_output=True, text=True)
    assert done.stdout.count("one of 2") == 2
    one, two = (latest_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert len(two["history"]) == 12 == len(one["history"])
    for a, b in zip(one["history"], two["history"]):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for k in one["task"]:
        torch.testing.assert_close(one["task"][k], two["task"][k], rtol=1e-4, atol=1e-5)


def damage(kind, path, manifest):
    data = bytearray(path.read_bytes())
    if kind == "flipped bit":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif kind == "flipped first bit":
        data[0] ^= 1
        path.write_bytes(data)
    elif kind == "cut short":
        path.write_bytes(data[:-100])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(os.urandom(len(data)))
    elif kind == "web page":
        path.write_bytes(b"<html>not found</html>")
    elif kind == "missing":
        path.unlink()
    elif kind == "manifest cut":
        manifest.write_bytes(manifest.read_bytes()[:20])


@pytest.mark.parametrize("kind", ["flipped bit", "flipped first bit", "cut short", "empty", "garbage", "web page",
                                  "missing", "manifest cut"])
def test_damage_is_found_and_the_one_before_is_used(tmp_path, kind):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"w": torch.full((100,), float(step))})
    manifest = tmp_path / "step-00000002.json"
    damage(kind, manifest.with_suffix(".pt"), manifest)
    with pytest.raises(CheckpointCorrupt) as caught:
        read_checkpoint(manifest)
    assert caught.value.path.name == "step-00000002.pt" and caught.value.reason
    with pytest.warns(UserWarning, match="going on from step-00000001.pt"):
        state = latest_checkpoint(tmp_path)
    assert state["w"][0] == 1
    (tmp_path / "step-00000001.pt").write_bytes(b"")
    with pytest.raises(CheckpointCorrupt, match="no older one is left"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        latest_checkpoint(tmp_path)


def test_malicious_pickle_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'owned'}",))
    path = save_checkpoint(tmp_path, 1, {})
    torch.save({"x": Evil()}, path)
    manifest = path.with_suffix(".json")
    said = json.loads(manifest.read_text())
    said["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(said))
    with pytest.raises(CheckpointCorrupt, match="more than tensors"):
        read_checkpoint(manifest)
    assert not (tmp_path / "owned").exists()


def test_full_disk_keeps_the_old_checkpoint(tmp_path):
    body = f'''
import resource
from pathlib import Path
from latentspeech.training import TrainingError, save_checkpoint
folder = Path({str(tmp_path / "full")!r})
save_checkpoint(folder, 1, {{"w": torch.zeros(1000)}})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try: save_checkpoint(folder, 2, {{"w": torch.zeros(1_000_000)}})
except TrainingError as e: print(e)
'''
    process = Fork(script(tmp_path, body))
    said, told = process.communicate(timeout=60)
    assert process.returncode == 0 and "bytes needed" in said and "4,0" in said, told
    assert sorted(p.name for p in (tmp_path / "full").iterdir()) == ["step-00000001.json", "step-00000001.pt"]
    assert latest_checkpoint(tmp_path / "full")["w"].shape == (1000,)


def test_second_run_in_a_folder_is_refused(tmp_path):
    body = f'''
from pathlib import Path
config = TrainConfig(steps=1_000_000, batch=4, save_every=1_000_000)
fit(Task(), config, Path({str(tmp_path / "shared")!r}), device="cpu", progress=False,
    callback=lambda run, terms: run.step == 1 and print("ready", flush=True))
'''
    process = Fork(script(tmp_path, body), cwd=tmp_path)
    try:
        assert process.until("\n") == "ready\n"
        with pytest.raises(TrainingError, match=f"in use by process {process.pid}"):
            fit(make_task(), CONFIG, tmp_path / "shared", device="cpu", progress=False)
    finally:
        process.kill()
        process.wait()
    with folder_lock(tmp_path / "shared"):
        pass  # the lock fell with its owner


def test_nan_stops_before_the_optimiser_moves(tmp_path):
    task = make_task()
    good = task.batch
    task.batch = lambda generator, size: {**good(generator, size),
                                          **({"y": torch.full((size, 1), float("inf"))} if task.n == 5 else {})}
    task.n = 0
    def count(run, terms):
        task.n = run.step
    with pytest.raises(TrainingError, match="step 5: loss is"):
        fit(task, CONFIG, tmp_path, device="cpu", progress=False, callback=count)
    assert json.loads((tmp_path / "not-finite-00000005.json").read_text())["seed"] == CONFIG.seed
    assert latest_checkpoint(tmp_path)["step"] == 4


def test_out_of_memory_halves_the_slices_and_keeps_the_batch(tmp_path):
    whole = fit(make_task(0.0), CONFIG, tmp_path / "whole", device="cpu", progress=False)
    task = make_task(0.0)
    forward = type(task).forward
    def limited(b):
        if len(b["x"]) > 3:
            raise torch.OutOfMemoryError("injected")
        return forward(task, b)
    task.forward = limited
    with pytest.warns(UserWarning, match="4 slices"):
        small = fit(task, CONFIG, tmp_path / "small", device="cpu", progress=False)
    for a, b in zip(whole.task.state_dict().values(), small.task.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_slices_are_part_of_the_state(tmp_path):
    "Out of memory at step 0, stopped at step 1, gone on with where there is room: bit for bit the run not stopped."
    def limited():
        task = make_task(0.2)
        forward, size = type(task).forward, len
        def once(b):
            if size(b["x"]) > 4 and task.tight:
                task.tight = False
                raise torch.OutOfMemoryError("injected")
            return forward(task, b)
        task.forward, task.tight = once, True
        return task
    quiet = dict(device="cpu", progress=False)
    with pytest.warns(UserWarning, match="2 slices"):
        whole = fit(limited(), CONFIG, tmp_path / "whole", **quiet)
    with pytest.warns(UserWarning, match="2 slices"):
        fit(limited(), replace(CONFIG, steps=1), tmp_path / "parts", **quiet)
    again = limited()
    again.tight = False   # the other process has room, and goes on in slices all the same
    parts = fit(again, CONFIG, tmp_path / "parts", **quiet)
    assert parts.parts == whole.parts == 2 and digest(parts) == digest(whole)


def test_other_configuration_is_refused_with_the_differences(tmp_path):
    fit(make_task(), CONFIG, tmp_path, device="cpu", progress=False)
    with pytest.raises(TrainingError, match="batch: 8 then, 16 now"):
        fit(make_task(), replace(CONFIG, batch=16), tmp_path, device="cpu", progress=False)


def test_minutes_end_a_run_in_time(tmp_path):
    start = time.time()
    run = fit(make_task(), replace(CONFIG, steps=10_000_000, save_every=10_000_000), tmp_path, minutes=0.02,
              device="cpu", progress=False)
    assert 0 < run.step < 10_000_000 and time.time() - start < 20
    assert latest_checkpoint(tmp_path)["step"] == run.step


def test_read_only_place_says_what_was_needed(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match="1 bytes needed"):
        save_bytes(tmp_path / "file" / "below", b"x")


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path):
    """A checkpoint of an older version lacks newer settings: they had their defaults."""
    run = fit(make_task(), replace(CONFIG, steps=4), tmp_path, device="cpu", progress=False)
    state = run.state()
    del state["config"]["until"], state["config"]["weight_decay"]
    Run(make_task(), CONFIG, tmp_path, "cpu").restore(state)
    with pytest.raises(TrainingError, match="weight_decay: 0.0001 then, 0.1 now"):
        Run(make_task(), replace(CONFIG, weight_decay=0.1), tmp_path, "cpu").restore(state)


def test_a_settled_loss_ends_a_run_at_the_same_step_in_one_go_or_in_two(tmp_path):
    config = replace(CONFIG, steps=2000, until=4.0, save_every=1000)
    whole = fit(make_task(), config, tmp_path / "whole", device="cpu", progress=False)
    assert config.until_steps <= whole.step < 2000
    for _ in range(2):
        fit(make_task(), config, tmp_path / "parts", device="cpu", progress=False,
            callback=lambda run, terms: run.step == 30 and os.kill(os.getpid(), signal.SIGINT))
    parts = fit(make_task(), config, tmp_path / "parts", device="cpu", progress=False)   # nothing is left to do
    assert parts.step == whole.step and digest(parts) == digest(whole)


def test_the_machine_is_named():
    assert describe_machine().endswith(f"torch {torch.__version__}") and "thread" in describe_machine()


def test_what_is_held_still_is_averaged_to_the_bit():
    "An average of negative zeros was zero, and a voice no longer knew the encoder whose latents it had learned."
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))
    network[0].weight.data[0] = -0.0
    network[0].requires_grad_(False)
    before, average = weights_hash(network[0]), Average(network, 0.9)
    network[1].weight.data += 1
    average.update(network, 100)
    network.load_state_dict(average.values)
    assert weights_hash(network[0]) == before and network[1].weight.grad is None
    assert torch.equal(average.values["1.weight"], network[1].weight)
