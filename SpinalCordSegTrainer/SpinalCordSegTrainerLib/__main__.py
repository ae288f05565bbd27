"""``spinalcordseg-train``, ``python -m SpinalCordSegTrainerLib``: the command line, or a word on what is missing."""

from __future__ import annotations

import sys

_OF_THE_EXTRA = {"typer", "click", "rich", "matplotlib"}  # [train] in pyproject.toml; the rest comes with the package


def main() -> int:
    """Run the command line; gives the exit code, 2 where the trainer's own packages are not installed."""
    try:
        from SpinalCordSegTrainerLib.cli import main as run
    except ModuleNotFoundError as error:
        if error.name not in _OF_THE_EXTRA:
            raise
        need = " ".join(sorted(_OF_THE_EXTRA))
        sys.stderr.write(f"spinalcordseg-train: error: the package {error.name} is missing: pip install {need}\n")
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
