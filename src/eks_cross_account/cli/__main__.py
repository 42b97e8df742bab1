"""``python -m eks_cross_account.cli``, for where scripts are not on PATH."""

from __future__ import annotations

import sys

from eks_cross_account.cli import main

sys.exit(main())
