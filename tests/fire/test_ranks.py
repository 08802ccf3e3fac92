"""Several processes train as one: one clock, one stop, shares that count by their size, one end."""
import json, os, signal, subprocess, sys, time
from pathlib import Path
import pytest, torch
from forks import Fork
from latentspeech.training import latest_checkpoint

ROOT = Path(__file__).resolve().parents[2]
FIRE = "FIRE" in os.environ    # `make test-fire` runs equal shares and four processes, too
TASK = '''
import atexit, math, os, signal, sys, time
from pathlib import Path
import torch
from torch import nn
from latentspeech.config import TrainConfig
from latentspeech.training import TrainingError, fit
torch.set_num_threads(1)
RANK = int(os.environ.get("RANK", 0))

class Task(nn.Module):
    "A small network; what goes wrong on which rank is said by the words of the command."
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    def batch(self, generator, size):
        x = torch.randn(size, 8, generator=generator)
        return {"x": x, "y": x.sin().sum(1, keepdim=True)}
    def forward(self, b):
        loss = (self.net(b["x"]) - b["y"]).square().mean()
        return loss, {"mse": loss.detach()}

task, folder, words = Task(), Path(sys.argv[1]), sys.argv[2:]
config = TrainConfig(steps=int(words[0]), batch=int(words[1]), learning_rate=1e-2, warmup=2, save_every=5, ema=0.9)
minutes = float(words[2]) or None
fault, calls = words[3] if len(words) > 3 else "", []
if fault == "nan":
    forward = task.forward
    def poisoned(b):
        calls.append(1)
        loss, terms = forward(b)
        if RANK == 1 and len(calls) == 8:
            (folder / "fault").touch()
            loss = loss * float("nan")
        return loss, terms
    task.forward = poisoned

# what is registered first is done last: by then the processes have parted
if fault == "tell":
    atexit.register(lambda: print(f"rank {RANK}: connected {torch.distributed.is_initialized()}", flush=True))

def callback(run, terms):
    if fault == "slow" and RANK == 1:
        time.sleep(0.02)
    if fault in ("term", "kill") and RANK == 1 and run.step == 8:
        (folder / "fault").touch()
        os.kill(os.getpid(), signal.SIGTERM if fault == "term" else signal.SIGKILL)
try:
    run = fit(task, config, folder, minutes=minutes, device="cpu", progress=False, callback=callback)
except TrainingError as error:
    print(f"rank {RANK}: {error}", flush=True)
    sys.exit(3)
torch.save([p.detach() for p in task.net.parameters()], folder / f"rank-{RANK}.pt")
print(f"rank {RANK}: {run.step} steps", flush=True)
'''


PORT = 29500 + os.getpid() % 2000


def script_in(folder):
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "run.py"
    script.write_text(TASK)
    return script


def since_fault(folder):
    fault = folder / "fault"
    return time.time() - fault.stat().st_mtime if fault.exists() else None


def launch(folder, processes, *words, timeout=120):
    "Train in so many processes that nobody looks after; return their worst exit code, what they said, seconds."
    where = {} if processes == 1 else dict(WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(PORT),
                                           ACCELERATE_USE_CPU="true")
    ranks = [{"RANK": str(k), "LOCAL_RANK": str(k)} if where else {} for k in range(processes)]
    script = script_in(folder)
    running = [Fork(script, folder, *words, **where, **rank) for rank in ranks]
    said = ["".join(process.communicate(timeout)) for process in running]
    return max(abs(process.returncode) for process in running), "".join(said), since_fault(folder)


def torchrun(folder, processes, *words, timeout=120):
    "Do the same under torch's launcher, which ends all where one has died."
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port",
               str(PORT), str(script_in(folder)), str(folder), *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout + done.stderr, since_fault(folder)


@pytest.mark.parametrize("batch", [8, 7, 1] if FIRE else [7, 1])
def test_shares_of_any_size_give_the_losses_of_one_process(tmp_path, batch):
    "Also where a batch has no equal shares, or not one example for everybody."
    several = (2, 4) if FIRE else (2,)
    for processes in (1, *several):
        code, said, _ = launch(tmp_path / str(processes), processes, 10, batch, 0, "tell")
        assert code == 0, said
        assert said.count("connected False") == processes and "connected True" not in said
    one, *others = (latest_checkpoint(tmp_path / name) for name in map(str, (1, *several)))
    for other in others:
        assert [h["step"] for h in one["history"]] == [h["step"] for h in other["history"]]
        for a, b in zip(one["history"], other["history"]):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5, abs=1e-6)
        for key, value in one["task"].items():
            torch.testing.assert_close(value, other["task"][key], rtol=1e-4, atol=1e-6)


def test_one_clock_for_all(tmp_path):
    "With `minutes` the first process's clock decides: the same steps and weights everywhere, and a checkpoint."
    code, said, _ = launch(tmp_path, 2, 100_000, 4, 0.03, "slow")
    assert code == 0, said[-2000:]
    steps = {line.split(": ")[1] for line in said.splitlines() if line.startswith("rank ")}
    assert len(steps) == 1, said
    first, second = (torch.load(tmp_path / f"rank-{r}.pt", weights_only=True) for r in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert latest_checkpoint(tmp_path)["step"] == int(steps.pop().split()[0])


def test_a_nan_on_one_rank_ends_all_before_anything_moves(tmp_path):
    code, said, seconds = launch(tmp_path, 2, 40, 8, 0, "nan")
    assert code != 0 and seconds < 60
    assert "rank 0: step 7" in said and "nothing was changed" in said, said[-2000:]
    state = latest_checkpoint(tmp_path)
    assert state["step"] == 5 and all(v.isfinite().all() for v in state["task"].values())
    assert json.loads((tmp_path / "not-finite-00000007.json").read_text())["step"] == 7


def test_a_signal_to_one_rank_stops_all_with_everything_saved(tmp_path):
    code, said, seconds = launch(tmp_path, 2, 100_000, 8, 0, "term")
    assert code != 0 and seconds < 60
    assert latest_checkpoint(tmp_path)["step"] in (8, 9), said[-1000:]


def test_a_killed_rank_ends_the_run_within_a_minute(tmp_path):
    code, said, seconds = torchrun(tmp_path, 2, 100_000, 8, 0, "kill")
    assert code != 0 and seconds < 60, said[-1000:]
    assert latest_checkpoint(tmp_path)["step"] >= 5
    code, said, _ = launch(tmp_path, 2, 12, 8, 0)   # and goes on
    assert code == 0 and "12 steps" in said, said[-1000:]
