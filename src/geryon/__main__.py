"""python -m geryon."""

import sys

from geryon.cli import main

sys.exit(main())
