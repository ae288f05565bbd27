"""``python -m SpinalCordSegTrainerLib``: the same as ``spinalcordseg-train``."""

import sys

from SpinalCordSegTrainerLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
