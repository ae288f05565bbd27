"""What is damaged and which commands then read it: a row per format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from damage import BYTES, Damage, cell_changed, inside_gzip, line_changed, number_changed, value_changed
from headers import card_value, dicom_element, nifti_field, nifti_grid, tensor_entry, weights_not_finite

# given the folder that holds the sample, the output folder and the tiny model: program ("lib", "train", "recipes") and arguments
Command = Callable[[Path, Path, Path], tuple[str, list[str]]]


@dataclass(frozen=True)
class Format:
    """``sample``: folder of the sample; ``files``: pattern of what is damaged in it; ``edits``: the commands may change
    their input, as review and correct do; ``share``: of all cases, relative."""

    name: str
    sample: str
    files: str
    damages: tuple[Damage, ...]
    commands: tuple[Command, ...]
    share: float = 1.0
    edits: bool = False


def _segment(name: str) -> Command:
    return lambda at, out, model: ("lib", [
        "segment", str(at / name), "--output", str(out), "--model", str(model), "--device", "cpu",
    ])  # fmt: skip


def _measure(name: str, *more: str) -> Command:
    def command(at: Path, out: Path, model: Path) -> tuple[str, list[str]]:
        return "lib", ["measure", str(at / name), "--output", str(out), *(_put(word, at, out, model) for word in more)]

    return command


def _train(*words: str, program: str = "train") -> Command:
    """@IN, @OUT, @SAMPLES and @MODEL stand for the folders and the model."""

    def command(at: Path, out: Path, model: Path) -> tuple[str, list[str]]:
        return program, [_put(word, at, out, model) for word in words]

    return command


def _lib(*words: str) -> Command:
    def command(at: Path, out: Path, model: Path) -> tuple[str, list[str]]:
        return "lib", [_put(word, at, out, model) for word in words]

    return command


def _put(word: str, at: Path, out: Path, model: Path) -> str:
    for name, path in (("@IN", at), ("@OUT", out), ("@MODEL", model), ("@SAMPLES", model.parent)):
        word = word.replace(name, str(path))
    return word


def _volume(name: str, sample: str, file: str, damages: tuple[Damage, ...], share: float = 1.0) -> Format:
    files = file.rpartition(".")[0] + ".*" if file.endswith((".hdr", ".nhdr", ".mhd")) else file
    return Format(name, sample, files, damages, (_measure(file), _measure(file), _segment(file)), share)


_IN_GZIP = tuple(inside_gzip(one) for one in (*BYTES, nifti_field, nifti_field, nifti_field, nifti_grid))
_NIFTI = (*BYTES[:6], nifti_field, nifti_field, nifti_field, nifti_field, nifti_grid, nifti_grid)
_TEXT_HEADER = (*BYTES, number_changed, number_changed, number_changed, line_changed, line_changed, line_changed)
_TEXT = (*BYTES, *(line_changed, number_changed) * 5)
_JSON = (*BYTES[:9], *(value_changed,) * 12)
_CSV = (*BYTES[:9], *(cell_changed,) * 10)
_CHECK = _train("check", "@IN")
_CACHE = _train("cache", "@IN", "--output", "@OUT/cache", program="recipes")
_EVALUATE = _train("evaluate", "@IN", "--predictions", "@SAMPLES/drawn", "--output", "@OUT")
_LEARN = _train("train", "@IN", "--output", "@OUT", "--set", "network.width=1", "--set", "epochs=1",
                "--set", "updates_per_epoch=1", "--set", "batch_size=2", "--set", "crop.size=32",
                "--set", "statistics_batches=1", "--set", "normalisation.size=64")  # fmt: skip
_TRACK = _lib(
    "follow-up", "@IN/done/V0", "@IN/done/V1", "--date", "2021-01-31", "--date", "2022-01-31", "--output", "@OUT"
)
_REPORT_READERS = (
    _TRACK, _lib("review", "@IN/done"), _lib("review", "@IN/done", "--case", "V0", "--seen", "all", "--accept", "--by", "A"),
    _lib("correct", "@IN/done/V0", "@IN/v1_mask.nii.gz", "--by", "A"), _lib("correct", "@IN/done/V0", "--smooth", "1:6"),
    _lib("training-set", "@IN/done/V0", "--image", "@IN/v0.nii.gz", "--subject", "P1", "--output", "@OUT"),
    _lib("propagate", "@IN/done/V0", "--image", "@IN/v0.nii.gz", "--to", "@IN/v1.nii.gz", "--output", "@OUT"),
    _lib("measure", "@IN/v1_mask.nii.gz", "--code", "V1", "--output", "@IN/done"),
)  # fmt: skip

FORMATS: tuple[Format, ...] = (
    _volume("NIfTI", "nifti", "neck.nii", _NIFTI, 3),
    _volume("NIfTI, gzip", "nifti_gz", "neck.nii.gz", (*BYTES, *_IN_GZIP), 2),
    _volume("NIfTI, float", "nifti_float", "neck.nii", _NIFTI),
    _volume("NIfTI pair", "nifti_pair", "neck.hdr", _NIFTI),
    _volume("NRRD", "nrrd", "neck.nrrd", _TEXT_HEADER, 1.5),
    _volume("NRRD, raw", "nrrd_raw", "neck.nrrd", _TEXT_HEADER, 1.5),
    _volume("NRRD, detached", "nhdr", "neck.nhdr", _TEXT_HEADER),
    _volume("seg.nrrd", "seg_nrrd", "neck.seg.nrrd", _TEXT_HEADER),
    _volume("MetaImage", "mha", "neck.mha", _TEXT_HEADER, 1.5),
    _volume("MetaImage, detached", "mhd", "neck.mhd", _TEXT_HEADER),
    Format("DICOM series", "dicom", "series/*", (*BYTES, *(dicom_element,) * 12), (_segment("series"),), 3),
    Format("DICOM, enhanced", "enhanced", "series/*", (*BYTES, *(dicom_element,) * 12), (_segment("series"),), 1.5),
    Format("discs", "discs", "discs.nii", _NIFTI, (_measure("neck.nii.gz", "--disc", "@IN/discs.nii"),), 0.5),
    Format("sidecar JSON", "sidecar", "neck.json", _JSON, (_measure("neck.nii.gz"),), 0.7),
    Format("ITK-SNAP workspace", "workspace", "neck.itksnap", _TEXT, (_CHECK, _train("check", "@IN/neck.itksnap")), 1.5),
    Format("training manifest", "manifest", "table.csv", _CSV, (_train("check", "@IN/table.csv"),), 1.5),
    Format("BIDS side files", "training_sidecar", "[ap][na][nr][at]*.[jt]s*", _TEXT, (_CHECK,), 0.7),
    Format("split", "split", "split.json", _JSON, (
        _train("evaluate", "@IN", "--predictions", "@SAMPLES/drawn", "--held-out", "@IN/split.json", "--output", "@OUT"),
    )),
    Format("report.json", "results", "done/V0/report.json", _JSON, _REPORT_READERS, 4, True),
    Format("slices.csv, summary.csv", "results", "done/**/*.csv", _CSV, _REPORT_READERS, 1, True),
    Format("result files", "results", "done/V0/[mr]*.*[zgl]", BYTES, _REPORT_READERS, 1, True),
    Format("manifest of visits", "results", "visits.csv", _CSV, (
        _lib("follow-up", "@IN/visits.csv", "--output", "@OUT"),
    )),
    Format("weights", "model", "tiny.safetensors", (*BYTES, *(card_value,) * 10, *(tensor_entry,) * 5, weights_not_finite), (
        _lib("models", "@IN/tiny.safetensors"),
        _lib("segment", "@IN/neck.nii.gz", "--model", "@IN/tiny.safetensors", "--device", "cpu",
             "--output", "@OUT"),
    ), 2),
    Format("slice cache", "cache", "slices/*", (*BYTES, *(value_changed,) * 4), (
        _train("train", "--config", "@SAMPLES/config/config.json", "--output", "@OUT",
               "--set", 'sources=[{"path": "@IN/slices"}]'),
    )),
    Format("training configuration", "config", "config.json", _JSON, (
        _train("train", "--config", "@IN/config.json", "--output", "@OUT", "--set", "epochs=1",
               "--set", "updates_per_epoch=1"),
    ), 1.5),
    Format("saved training run", "state", "run/*", BYTES, (
        _train("train", "--resume", "--output", "@IN/run"),
    ), 1, True),
)  # fmt: skip
