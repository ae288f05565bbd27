"""What VTK, ITK and MRML complain about, kept so that a test can fail on it: in C++ an error is only a printed line."""

import vtk


class VtkMessages:
    """Errors since the last ``clear``; nothing reaches the terminal."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def clear(self) -> None:
        self.errors.clear()

    def install(self) -> None:
        """Put a listening output window in place of the printing one, for the whole process."""

        def keep(_window, _event, text: str = "") -> None:
            self.errors.append(text)

        keep.CallDataType = vtk.VTK_STRING  # type: ignore[attr-defined]
        window = vtk.vtkOutputWindow()
        window.SetDisplayModeToNever()
        window.AddObserver(vtk.vtkCommand.ErrorEvent, keep)
        vtk.vtkOutputWindow.SetInstance(window)
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
