"""``python -m SpinalCordSegTrainerLib``: the trainer's command line."""

import sys

from SpinalCordSegTrainerLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
