"""`python -m amorlip` is the command `amorlip`."""

from amorlip.cli import main

if __name__ == "__main__":
    main()
