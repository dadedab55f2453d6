"""`python -m kafscale` is the command `kafscale`."""

from kafscale.cli.main import main

main()
