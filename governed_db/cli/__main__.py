"""``python -m governed_db.cli``: the command, where no script of that name is on the path."""

from __future__ import annotations

import sys

from governed_db.cli import main

sys.exit(main())
