#!/usr/bin/env python3
"""Measure sampling on this machine's GPU (or CPU) and write the table as JSON: tools/bench_gpu.py --out data/results/gpu_sampling.json

Needs torch, numpy, scipy and safetensors besides this package: weights and inputs are random.
"""
import argparse, json, sys, types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
try:
    import fastcore.basics  # noqa: F401
except ImportError:  # a bare GPU machine: all that the model code needs of fastcore is `patch`
    def patch(f=None, *, as_prop=False, cls_method=False):
        if f is None:
            return lambda f: patch(f, as_prop=as_prop, cls_method=cls_method)
        owner = eval(next(iter(f.__annotations__.values())), f.__globals__)
        setattr(owner, f.__name__, property(f) if as_prop else classmethod(f) if cls_method else f)
        return None
    sys.modules["fastcore"], sys.modules["fastcore.basics"] = (
        types.ModuleType("fastcore"),
        types.ModuleType("fastcore.basics"),
    )
    sys.modules["fastcore.basics"].patch = patch
import torch
from latentspeech.gpu_sampling import benchmark

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--out", help="JSON file to write")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("--seconds", type=float, default=10.0, help="of speech a sentence")
parser.add_argument("--repeats", type=int, default=7)
args = parser.parse_args()
torch.backends.cudnn.benchmark = True
result = benchmark(args.device, args.seconds, args.repeats, "python tools/bench_gpu.py " + " ".join(sys.argv[1:]))
text = json.dumps(result, indent=1)
if args.out:
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(text + "\n")
else:
    print(text)
