"""``python -m lensflow``: the command where its script is not on the path, as in a packed environment."""

from lensflow.cli import main

if __name__ == "__main__":
    main()
