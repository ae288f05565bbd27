"""What VTK, ITK and MRML complain about, kept so that a test can fail on it: in C++ an error is only a printed line."""

from __future__ import annotations

from dataclasses import dataclass, field

import vtk


@dataclass
class VtkMessages:
    """Errors and warnings since the last ``clear``; nothing reaches the terminal."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def clear(self) -> None:
        self.errors.clear()
        self.warnings.clear()

    def install(self) -> None:
        """Put a listening output window in place of the printing one, for the whole process."""
        window = vtk.vtkOutputWindow()
        window.SetDisplayModeToNever()
        window.AddObserver(vtk.vtkCommand.ErrorEvent, _keep_in(self.errors))
        window.AddObserver(vtk.vtkCommand.WarningEvent, _keep_in(self.warnings))
        vtk.vtkOutputWindow.SetInstance(window)
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)


def _keep_in(texts: list[str]):
    def keep(_window, _event, text: str = "") -> None:
        texts.append(text)

    keep.CallDataType = vtk.VTK_STRING  # type: ignore[attr-defined]
    return keep
