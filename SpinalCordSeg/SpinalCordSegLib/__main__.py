"""``python -m SpinalCordSegLib``: the command line."""

import sys

from SpinalCordSegLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
