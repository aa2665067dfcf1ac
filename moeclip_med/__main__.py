"""Run the command line with `python -m moeclip_med`."""

from moeclip_med.cli.app import main

if __name__ == "__main__":
    main()
