"""`python -m ahsar_eval`."""

from ahsar_eval.cli.main import main

main()
