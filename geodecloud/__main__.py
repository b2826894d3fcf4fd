"""``python -m geodecloud``: the command line."""

from geodecloud.cli.main import main

if __name__ == "__main__":
    main()
