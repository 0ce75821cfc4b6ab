"""`python -m selfbase`."""

from selfbase.cli.main import main

main()
