"""``python -m domain_masks`` is ``dmg``."""

import sys

from domain_masks.cli import main

if __name__ == "__main__":
    sys.exit(main())
