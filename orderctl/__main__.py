"""`python -m orderctl`: the same as the `orderctl` command."""

from orderctl.cli.main import main

if __name__ == "__main__":
    main()
