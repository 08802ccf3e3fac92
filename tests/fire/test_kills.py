"""Every part that trains is killed at random moments and goes on: its end must be that of a run nobody disturbed."""
import json, os, subprocess, sys
from pathlib import Path
import pytest

HERE = Path(__file__).parent
KILLS = int(os.environ.get("FIRE_KILLS", 3))   # `make test-fire` asks for 25, of every part
PARTS = ["autoencoder", "voice", "decoder", "judge", "aligner"][:None if os.environ.get("FIRE") else 2]


# each in whatever process is free: together they take longest
@pytest.mark.parametrize("part", [pytest.param(part, marks=pytest.mark.xdist_group(f"kills-{part}")) for part in PARTS])
def test_a_killed_training_ends_as_an_undisturbed_one(part, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(HERE / "kills.py"), part, str(KILLS), str(tmp_path)], env=environment,
                          capture_output=True, text=True, timeout=1200)
    assert done.stdout, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"counted: {part}: {result['killed']} kills in {result['runs']} runs, {result['lost']} checkpoints lost")
    assert done.returncode == 0 and result["same"] and result["lost"] == 0 and result["killed"] >= KILLS
    assert result["drafts"] == 0
