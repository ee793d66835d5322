"""`python -m ec2ident_agent`."""

import sys

from .cli import main

sys.exit(main())
