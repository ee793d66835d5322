"""`python -m ec2ident` is the command `ec2ident`."""

import sys

from .cli import main

sys.exit(main())
