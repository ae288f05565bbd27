"""Errors a user can act on: one class per cause, the action in the text.

Every text says what was found, what was expected and what to do. None holds patient data: file names are
the user's own, DICOM names and identifiers are never quoted.
"""


class SpinalCordSegError(Exception):
    """Base of all errors that are the input's or the machine's, not the program's."""


class InputFileError(SpinalCordSegError):
    """A file or folder is missing, unreadable, truncated or of a kind that is not read here."""


class GeometryError(SpinalCordSegError):
    """A grid cannot be used: not 3D, sheared, singular, zero spacing, or not the grid that was expected."""


class VoxelError(SpinalCordSegError):
    """Voxel values cannot be used: NaN, infinite, colour, or labels without a choice."""


class DicomSeriesError(SpinalCordSegError):
    """A DICOM series is incomplete, inconsistent, tilted, or one of several has to be chosen."""


class ModelFileError(SpinalCordSegError):
    """A weights file is refused: pickle, truncated, altered, another architecture, newer format."""


class OutputError(SpinalCordSegError):
    """A result cannot be written: no permission, full disk, or it would overwrite something of worth."""


class WouldReplaceError(OutputError):
    """What is there would be lost: a person's work, another image's result, or files that are not ours."""


class DeviceError(SpinalCordSegError):
    """The asked-for device is not there or failed, and no other was allowed."""


class MissingPackageError(SpinalCordSegError):
    """An optional package is needed for what was asked for; the text says which and how to get it."""


class TrainingDataError(SpinalCordSegError):
    """A training folder or case cannot be used."""


class ConfigurationError(SpinalCordSegError):
    """A setting is out of its range or unknown."""


class Cancelled(SpinalCordSegError):
    """The user stopped the work; nothing half-done is kept."""
