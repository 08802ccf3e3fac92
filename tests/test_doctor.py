"""The doctor finds what was taken away, and moves a torchaudio that cannot load aside."""
import importlib.metadata, json, sys
import pytest
from latentspeech import doctor as module
from latentspeech.cli import main
from latentspeech.doctor import doctor, missing, unfit_extensions


def rows_of(result):
    return {r["what"]: r for r in result["rows"]}


def test_the_doctor_finds_the_core_sound(capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_the_doctor_finds_what_is_gone(monkeypatch):
    real = importlib.metadata.version
    def version(name):
        if name in ("pesq", "soundfile"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    found = doctor()
    rows = rows_of(found)
    assert not found["ok"]
    assert rows["soundfile"]["status"] == "broken"
    assert "soundfile" in rows["core packages"]["detail"]
    assert rows["extra eval"]["status"] == "absent" and "eval" in rows["extra eval"]["mend"]
    assert rows["compiler"]["status"] == "absent" and "gcc" in rows["compiler"]["mend"]
    assert all(r["mend"] for r in found["rows"] if r["status"] != "ok")


def install(folder, cuda, library=b"links to libcudart.so.13"):
    "Lay out what pip leaves of torch and torchaudio."
    (folder / "torch").mkdir()
    (folder / "torch" / "version.py").write_text(f"cuda = {cuda!r}\nhip = None\n")
    (folder / "torchaudio" / "lib").mkdir(parents=True)
    extension = folder / "torchaudio" / "lib" / "_torchaudio.abi3.so"
    extension.write_bytes(library)
    return extension


@pytest.mark.parametrize("cuda,library,unfit", [(None, b"libcudart.so.13", True),
                                                ("13.0", b"libcudart.so.13", False), (None, b"libtorch_cpu.so", False)])
def test_a_cuda_torchaudio_is_moved_aside_only_beside_a_cpu_torch(tmp_path, monkeypatch, cuda, library, unfit, capsys):
    extension = install(tmp_path, cuda, library)
    monkeypatch.setattr(module, "package_folder", lambda package: tmp_path / package)
    assert bool(unfit_extensions()) is unfit
    if unfit:
        assert rows_of(doctor())["torchaudio"] | {"mend": ""} == dict(what="torchaudio", status="broken", mend="",
                                                                      detail=f"{extension} wants CUDA, which "
                                                                             "this torch has not")
    doctor(mend=True)
    assert extension.exists() is not unfit and extension.with_name(extension.name + ".unused").exists() is unfit
    assert ("moved" in capsys.readouterr().err) is unfit and unfit_extensions() == []


def test_missing_reads_the_metadata(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=1", "no-such-thing>=2",
                                                                      'pesq>=0; extra == "eval"',
                                                                      'nor-this; extra == "eval"'])
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1" if name in ("numpy", "pesq")
                        else (_ for _ in ()).throw(importlib.metadata.PackageNotFoundError(name)))
    assert missing() == ["no-such-thing"] and missing("eval") == ["nor-this"] and missing("zh") == []
