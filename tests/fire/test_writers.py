"""Every system call of every writer fails, or is the last: what was there, or what was to come, loads afterwards."""
import json, os, shutil, subprocess, sys
from pathlib import Path
import pytest

HERE = Path(__file__).parent
NAMES = ("write_atomically", "checkpoint", "weights", "sound", "record", "latents", "listening sheet")


@pytest.fixture(scope="module")
def results():
    "Run the shim once over all writers."
    if not any(map(shutil.which, ("cc", "gcc", "clang"))) and not os.environ.get("FIRE"):
        pytest.skip("wants a C compiler: apt-get install gcc")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(HERE / "writers.py")], env=environment, capture_output=True, text=True,
                          timeout=900)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(NAMES), done.stderr[-2000:]
    print("\n".join(f"counted: {r['writer']}: {r['calls']} calls, {r['trials']} trials" for r in found))
    return {r["writer"]: r for r in found}


@pytest.mark.parametrize("name", NAMES)
def test_every_call_may_fail_or_be_the_last(results, name):
    result = results[name]
    assert not result["wrong"], "\n".join(result["wrong"][:5])
    kinds = 4 if "FIRE" in os.environ else 2
    assert result["calls"] >= 5 and result["trials"] >= kinds * (result["calls"] + 5)   # and none or one before


def test_the_shim_sees_a_writer_that_is_wrong(tmp_path):
    "A plain open-and-write must be caught, or all of the above says nothing."
    code = f"""
import ctypes, os, sys
import writers
def plain(folder, version):
    with open(folder / "plain.txt", "w") as file:
        file.write("version " * 5000 + str(version))
def read(folder):
    path = folder / "plain.txt"
    return int(path.read_text()[-1]) if path.exists() else 0
shim = ctypes.CDLL(os.environ["FAULT_SHIM"])
shim.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
shim.fault_count.restype = ctypes.c_long
print(len(writers.strike_all(shim, "plain", writers.Writer(plain, read, writers.hidden))["wrong"]))
"""
    from fire.writers import build
    library = str(build(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "LD_PRELOAD": library, "FAULT_SHIM": library,
                               "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parents[1])))})
    assert int(done.stdout.split()[-1]) > 0, done.stderr
