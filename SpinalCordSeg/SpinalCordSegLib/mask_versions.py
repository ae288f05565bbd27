"""Versions of a mask in a folder, each a whole file that is never written over, so that no work is lost.

A file's name says its number, when it was saved (UTC) and the beginning of its fingerprint, by which a damaged one is
recognised: FOLDER/v000012_20240131T120000Z_0123456789abcdef.nii.gz; who made it, and in which state of review, stands
beside it as JSON where it is known.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from SpinalCordSegLib.errors import (
    ConfigurationError,
    InputFileError,
    OutputError,
    SpinalCordSegError,
    WouldReplaceError,
)
from SpinalCordSegLib.files import json_object, output_errors, remove_abandoned_parts, write_json
from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.volume import Volume, mask_sha256

# a program that syncs folders adds its words behind the fingerprint
_NAME = re.compile(r"v(\d{6,})_(\d{8}T\d{6}Z)_([0-9a-f]{16})(?:[ (_-].*)?\.nii\.gz")
_TIME = "%Y%m%dT%H%M%SZ"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedVersion:
    """``number``: from 1, larger is newer. ``when``: UTC. ``fingerprint``: the first 16 letters of mask_sha256."""

    path: Path
    number: int
    when: datetime
    fingerprint: str

    def holds(self, sha256: str) -> bool:
        """True when it is the mask with this mask_sha256."""
        return bool(sha256) and sha256.startswith(self.fingerprint)

    def read(self) -> Volume:
        """The mask, bool. Raises InputFileError when the file is damaged or was changed."""
        labels = read_labels(self.path)
        mask = labels.with_voxels(labels.voxels != 0)
        if not self.holds(mask_sha256(mask)):
            raise InputFileError(f"{self.path.name} is not what was saved under this name: take the version before it")
        return mask

    @property
    def about(self) -> Path:
        """Where it says who made it."""
        return self.path.with_name(self.path.name.removesuffix(".nii.gz") + ".json")

    def maker(self) -> tuple[str, str]:
        """Who made it and in which state of review; "" for what is not known."""
        about = json_object(self.about)
        return str(about.get("who", "")), str(about.get("state", ""))


@dataclass(frozen=True)
class MaskVersions:
    """``place``: the folder, made when needed. ``keep``: so many versions stay, the oldest go; None: all stay.
    Raises ConfigurationError."""

    place: Path
    keep: int | None = None

    def __post_init__(self) -> None:
        if self.keep is not None and self.keep < 1:
            raise ConfigurationError(f"{self.keep} versions cannot be kept: give at least 1")

    def save(
        self, mask: Volume, when: datetime | None = None, *, who: str = "", state: str = ""
    ) -> SavedVersion | None:
        """Write ``mask`` (cord where not zero) as a new version; None when the newest holds it already, in this state.

        It is not there at all until it is whole. Raises OutputError.
        """
        sha256 = mask_sha256(mask)
        known = self.versions()
        if known and known[0].holds(sha256) and state in ("", known[0].maker()[1]):
            return None
        moment = (when or datetime.now(timezone.utc)).astimezone(timezone.utc).replace(microsecond=0)
        number = known[0].number + 1 if known else 1  # two programs at once may give it twice, never one name
        path = self.place / f"v{number:06d}_{moment.strftime(_TIME)}_{sha256[:16]}.nii.gz"
        saved = SavedVersion(path, number, moment, sha256[:16])
        if state:  # before the mask, which alone makes it a version
            about = {"who": who, "when": moment.isoformat(), "state": state, "mask_sha256": sha256}
            write_json(saved.about, about)
        try:
            write_volume(mask.with_voxels(mask.voxels != 0), path)
        except OutputError:
            with suppress(OSError):
                saved.about.unlink()
            raise
        self._tidy()
        return saved

    def versions(self) -> tuple[SavedVersion, ...]:
        """All that are there, the newest first; () without any. Raises OutputError when the folder cannot be read."""
        with output_errors(self.place):
            names = list(self.place.iterdir()) if self.place.is_dir() else []
        found = [version for path in names if (version := _version(path)) is not None]
        return tuple(sorted(found, key=lambda version: (-version.number, version.path.name)))

    def holds(self, sha256: str) -> bool:
        """Whether one is the mask with this mask_sha256."""
        return any(version.holds(sha256) for version in self.versions())

    def recovery(self, current_sha256: str = "") -> SavedVersion | None:
        """The newest version, where it is work that is nowhere else: not the mask at hand (``current_sha256``: its
        mask_sha256, "" without one)."""
        known = self.versions()
        return None if not known or known[0].holds(current_sha256) else known[0]

    def _tidy(self) -> None:
        """The oldest beyond ``keep`` go, and what a killed program left half-written. What cannot go stays."""
        remove_abandoned_parts(self.place)
        try:
            for version in self.versions()[self.keep :] if self.keep is not None else ():
                version.path.unlink()
                version.about.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("an old version stays: %s", error.strerror)


def refuse_changed(path: Path, written: str) -> None:
    """Raise WouldReplaceError where the mask in ``path`` is no longer the one of this mask_sha256 that was written
    there: somebody changed it. One that cannot be read is nobody's."""
    try:
        labels = read_labels(path)
    except SpinalCordSegError:
        return
    if mask_sha256(labels) != written or labels.voxels.max() > 1:
        raise WouldReplaceError(f"{path} was changed after it was written, and would be replaced: move it away first")


def _version(path: Path) -> SavedVersion | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[2], _TIME).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return SavedVersion(path, int(match[1]), moment, match[3])
