"""Ways to mix two patients or two levels by the commands: each must be refused, or said at the number.

``python tools/soak/mixed_patients.py`` prints one line a way and how many were silent; exit code 1 where any was.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib import report
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.dicom import save_bare
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import Volume, lps_to_ras

A = {"PatientID": "4711", "PatientBirthDate": "19660101", "PatientSex": "F"}
B = {"PatientID": "4712", "PatientBirthDate": "19710203", "PatientSex": "M"}
DISC = ("2,-20,20", "2,-20,20")
DATES = ("2020-01-10", "2021-01-09")


def run(*arguments: object) -> tuple[int, str]:
    """Exit code, and what was said."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main([str(one) for one in arguments])
    return code, out.getvalue()


class Room:
    """Two patients, A (75 mm²) and B (another shape, 66 mm²): images, masks, series, finished cases."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, area, enlargement in (
            ("a", 75.0, 0.12),
            ("a2", 74.0, 0.12),
            ("b", 68.0, -0.25),
            ("thin", 61.0, 0.12),
        ):
            neck = make_phantom(
                PhantomConfig(
                    shape=(52, 44, 20), spacing_mm=(0.5, 0.6, 3.0), cord_csa_mm2=area, enlargement=enlargement,
                    seed=sum(map(ord, name)),
                )
            )  # fmt: skip
            write_volume(neck.mask, root / "masks" / f"{name}.nii.gz")
            write_volume(neck.image, root / "images" / f"{name}.nii.gz")
            if name == "b":  # phantoms are alike but for the cord
                rolled = neck.image.with_ijk(np.roll(neck.image.ijk, (9, 12), axis=(0, 1)))
                write_volume(rolled, root / "images" / "other.nii.gz")
            patient = B if name == "b" else A
            self.series(neck.image, root / "dicom" / name, patient)
            self.case(name, "--image", root / "images" / f"{name}.nii.gz", into="plain")
            self.case(name, "--image", root / "dicom" / name, into="known")

    def case(self, name: str, *more: object, into: str) -> None:
        code, said = run("measure", self.root / "masks" / f"{name}.nii.gz", "--output", self.root / into, *more)
        assert code == 0, said

    def series(self, image: Volume, folder: Path, patient: dict[str, str], **more: str) -> Path:
        matrix, uid, study = lps_to_ras(image.ijk_to_ras), generate_uid(), generate_uid()
        for k in range(image.ijk_shape[2]):
            one = Dataset()
            one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
            one.Modality, one.SeriesInstanceUID, one.StudyInstanceUID = "MR", uid, study
            one.FrameOfReferenceUID, one.SeriesDescription, one.SeriesNumber = study, "T1w neck", 7
            one.InstanceNumber = k + 1
            one.ImageOrientationPatient = [*matrix[:3, 0] / 0.5, *matrix[:3, 1] / 0.6]
            one.ImagePositionPatient = (matrix[:3, 3] + k * matrix[:3, 2]).round(6).tolist()
            one.PixelSpacing, one.SliceThickness = [0.6, 0.5], 3.0
            plane = np.ascontiguousarray(np.clip(image.ijk[:, :, k].T, 0, 30000).astype(np.int16))
            one.Rows, one.Columns = plane.shape
            one.BitsAllocated = one.BitsStored = 16
            one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 1, 1
            one.PhotometricInterpretation, one.PixelData = "MONOCHROME2", plane.tobytes()
            for keyword, value in (patient | more).items():
                setattr(one, keyword, value)
            folder.mkdir(parents=True, exist_ok=True)
            save_bare(one, ExplicitVRLittleEndian, folder / f"{k:02d}.dcm")
        return folder

    def relabelled(self, name: str, **changes: str) -> Path:
        """A case of A's second visit whose header says otherwise."""
        image = make_phantom(PhantomConfig(shape=(52, 44, 20), spacing_mm=(0.5, 0.6, 3.0), cord_csa_mm2=74.0)).image
        series = self.series(image, self.root / "dicom" / name, A, **changes)
        self.case("a2", "--image", series, into=name)
        return self.root / name / "a2"

    def follow(
        self, one: object, other: object, *more: object, dates: tuple[str, ...] = DATES, discs: tuple[str, ...] = DISC
    ) -> tuple[int, str]:
        words = [word for day, disc in zip(dates, discs, strict=True) for word in ("--date", day, "--disc", disc)]
        shutil.rmtree(self.root / "out", ignore_errors=True)
        return run("follow-up", one, other, *words, "--output", self.root / "out", *more)

    def copied(self, name: str, to: str) -> Path:
        return Path(shutil.copytree(self.root / name, self.root / to, dirs_exist_ok=True))


def _shifted(room: Room) -> tuple[int, str]:
    from SpinalCordSegLib.image_io import read_labels

    case = room.copied("plain/a2", "shifted")
    mask = read_labels(case / "mask.nii.gz")
    write_volume(mask.with_ijk(np.roll(mask.ijk, 8, axis=0)), case / "mask.nii.gz")
    return room.follow(room.root / "plain/a", case)


def _named(room: Room, *files: str, before: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> tuple[int, str]:
    """Masks of two patients by these names; said: the names of the cases, and "SAME" where two have one."""
    base = room.root / f"batch{len(list(room.root.iterdir()))}"
    for n, name in enumerate([*before, *files]):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(room.root / "masks" / f"{('a', 'b', 'a2')[n % 3]}.nii.gz", base / name)
    if before:
        run("measure", *(base / name for name in before), "--output", base / "out")
    code, said = run("measure", *(base / name for name in files), "--output", base / "out", *more)
    sources = [json.loads(one.read_text())["input"]["source"] for one in sorted((base / "out").glob("*/report.json"))]
    alone = len({one for one in sources if one}) == len([*before, *files])
    return code, said + (" EACH WITH ITS SOURCE" if alone else "")


def _manifest(room: Room, *rows: str) -> tuple[int, str]:
    path = room.root / "cohort.csv"
    path.write_text("person,folder,date,disc\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return run("follow-up", path, "--output", room.root / "cohort")


def _dicom_batch(room: Room) -> tuple[int, str]:
    first, second = (
        {json.loads(one.read_text())["input"]["identity"]["patient_id"][:4] for one in room.root.glob(pattern)}
        for pattern in ("known/a/report.json", "known/b/report.json")
    )
    return 0, "HASHES TELL THEM APART" if first.isdisjoint(second) else ""


def _mixed_series(room: Room) -> tuple[int, str]:
    folder = Path(shutil.copytree(room.root / "dicom/a", room.root / "mixed"))
    import pydicom

    one = pydicom.dcmread(folder / "05.dcm")
    one.PatientID = B["PatientID"]
    one.save_as(folder / "05.dcm")
    return run("measure", room.root / "masks/a.nii.gz", "--image", folder, "--output", room.root / "mixed_out")


def ways(room: Room) -> list[tuple[str, Callable[[], tuple[int, str]], str]]:
    """A way to mix patients, its commands, and the message that must appear where it is not refused ("": it must be)."""
    known, plain, root = room.root / "known", room.root / "plain", room.root
    later = (date.today() + timedelta(days=1)).isoformat()
    row = '{person},{folder},{date},"2,-20,20"'

    def r(person: str, folder: object, day: str) -> str:
        return row.format(person=person, folder=folder, date=day)

    doubt = "IN DOUBT"
    return [
        ("visits of two patients, all of the header differs", lambda: room.follow(known / "a", known / "b"), ""),
        ("the same, vouched for", lambda: room.follow(known / "a", known / "b", "--same-person"), ""),
        ("another patient ID", lambda: room.follow(known / "a", room.relabelled("id", PatientID="9")), ""),
        ("another birth date", lambda: room.follow(known / "a", room.relabelled("born", PatientBirthDate="19660102")), ""),
        ("another sex", lambda: room.follow(known / "a", room.relabelled("sex", PatientSex="M")), ""),
        ("other ID and sex, vouched for", lambda: room.follow(known / "a", room.relabelled("both", PatientID="9", PatientSex="M"), "--same-person"), ""),
        ("an ID vouched for stands in the report", lambda: (room.follow(known / "a", root / "id/a2", "--same-person")[0], (root / "out/follow_up.json").read_text()), "said to be the same person"),
        ("image of another patient with a visit", lambda: room.follow(known / "a", known / "a2", "--image", root / "dicom/a", "--image", root / "dicom/b"), ""),
        ("case without header, images of two patients", lambda: room.follow(plain / "a", plain / "a2", "--image", root / "dicom/a", "--image", root / "dicom/b"), ""),
        ("images of two visits swapped", lambda: room.follow(plain / "a", plain / "b", "--image", root / "images/b.nii.gz", "--image", root / "images/a.nii.gz", discs=("", "")), doubt),
        ("two people by discs, no header", lambda: room.follow(plain / "a", plain / "b"), doubt),
        ("the same, dates swapped", lambda: room.follow(plain / "a", plain / "b", dates=DATES[::-1]), doubt),
        ("visits swapped: a cord that grows", lambda: room.follow(plain / "thin", plain / "a"), doubt),
        ("a loss no disease makes", lambda: room.follow(plain / "a", plain / "thin"), doubt),
        ("disc one vertebra off", lambda: room.follow(plain / "a", plain / "thin", discs=("2,-20,20", "2,-20,4")), doubt),
        ("one folder twice", lambda: room.follow(plain / "a", plain / "a"), "the same data twice"),
        ("a copied folder", lambda: room.follow(plain / "a", room.copied("plain/a", "copy")), "the same data twice"),
        ("one mask under two names", lambda: room.follow(plain / "a", known / "a"), "the same data twice"),
        ("date of an anonymised header", lambda: room.follow(plain / "a", plain / "a2", dates=("19000101", DATES[1])), ""),
        ("date 2999", lambda: room.follow(plain / "a", plain / "a2", dates=(DATES[0], "2999-01-01")), ""),
        ("date tomorrow", lambda: room.follow(plain / "a", plain / "a2", dates=(DATES[0], later)), ""),
        ("one day twice", lambda: room.follow(plain / "a", plain / "a2", dates=(DATES[0], DATES[0])), "half a year"),
        ("15 days apart", lambda: room.follow(plain / "a", plain / "a2", dates=(DATES[0], "2020-01-25")), "half a year"),
        ("scanner unknown", lambda: room.follow(plain / "a", plain / "a2"), "scanner unknown"),
        ("mask moved by 4 mm after it was measured", lambda: _shifted(room), ""),
        ("one folder under two persons", lambda: _manifest(room, r("P1", plain / "a", DATES[0]), r("P2", plain / "a", DATES[1])), ""),
        ("two patients as one person of a manifest", lambda: _manifest(room, r("P1", known / "a", DATES[0]), r("P1", known / "b", DATES[1])), ""),
        ("P01/T1, P02/T1 in a batch", lambda: _named(room, "P01/T1.nii.gz", "P02/T1.nii.gz"), "EACH WITH ITS SOURCE"),
        ("a patient added in front", lambda: _named(room, "P00/T1.nii.gz", before=("P01/T1.nii.gz", "P02/T1.nii.gz")), "EACH WITH ITS SOURCE"),
        ("one by one into one folder", lambda: _named(room, "P02/T1.nii.gz", before=("P01/T1.nii.gz",)), "EACH WITH ITS SOURCE"),
        ("the same with --force", lambda: _named(room, "P02/T1.nii.gz", before=("P01/T1.nii.gz",), more=("--force",)), "EACH WITH ITS SOURCE"),
        ("names that differ in capitals", lambda: _named(room, "P01/t1.nii.gz", "P02/T1.nii.gz"), "EACH WITH ITS SOURCE"),
        ("folders of one name, sites differ", lambda: _named(room, "X/P01/T1.nii.gz", "Y/P01/T1.nii.gz"), "EACH WITH ITS SOURCE"),
        ("one code for two patients", lambda: _named(room, "P02/T2.nii.gz", before=("P01/T1.nii.gz",), more=("--code", "T1")), ""),
        ("DICOM series of one description", lambda: _dicom_batch(room), "HASHES TELL THEM APART"),
        ("one series, files of two patients", lambda: _mixed_series(room), ""),
        ("export into another patient's series", lambda: run("export", known / "a", "--dicom", root / "dicom/b", "--output", root / "x", "--drawn-by-hand"), ""),
        ("export, same pixels, other patient ID", lambda: run("export", root / "id/a2", "--dicom", root / "dicom/sex", "--output", root / "x", "--drawn-by-hand"), ""),
        ("export of a NIfTI's case", lambda: run("export", plain / "a", "--dicom", root / "dicom/b", "--output", root / "x", "--drawn-by-hand"), ""),
        ("correct with another patient's image", lambda: run("correct", known / "a", root / "masks/a2.nii.gz", "--image", root / "dicom/b"), ""),
        ("correct with another image, no header", lambda: run("correct", plain / "a", root / "masks/a2.nii.gz", "--image", root / "images/other.nii.gz"), ""),
        ("measure again with another patient's image", lambda: run("measure", root / "masks/a.nii.gz", "--output", known, "--image", root / "dicom/b"), ""),
        ("propagate to another patient's image", lambda: run("propagate", known / "a", "--image", root / "dicom/a", "--to", root / "dicom/b", "--output", root / "p"), ""),
        ("training set with another patient's image", lambda: (run("review", known / "a2", "--accept", "--by", "A. Meyer"), run("training-set", known / "a2", "--image", root / "dicom/b", "--subject", "S1", "--output", root / "t"))[1], ""),
    ]  # fmt: skip


def judge() -> int:
    report.montage_png = lambda case: None  # it takes longest, and mixes nobody
    silent = 0
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder))
        for number, (name, way, words) in enumerate(ways(room), 1):
            code, said = way()
            verdict = "refused" if code else "said" if words and words in said else "SILENT"
            silent += verdict == "SILENT"
            print(f"{number:2d} {verdict:8s}{name}" + (f"\n{said}" if verdict == "SILENT" else ""), flush=True)
    print(f"{number} ways, {silent} silent")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(judge())
