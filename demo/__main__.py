"""`python -m demo` from the top folder; `--help` lists the options."""
import sys
from demo.run import main

sys.exit(main())
