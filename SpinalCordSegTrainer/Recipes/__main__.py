"""``python -m Recipes COMMAND``, with the folder SpinalCordSegTrainer on the path."""

import sys

from Recipes.cli import main

if __name__ == "__main__":
    sys.exit(main())
