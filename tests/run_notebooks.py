"""The runner has moved: `python -m tools.run_notebooks`."""
import runpy, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
runpy.run_module("tools.run_notebooks", run_name="__main__", alter_sys=True)
