"""``python -m pgfast``: the command line."""

from pgfast.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
