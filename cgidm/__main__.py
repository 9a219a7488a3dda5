import sys

if sys.argv[1:2] == ["doctor"]:  # by itself: the rest of the command line needs the packages that it looks for
    from .doctor import main
else:
    from .cli import main

sys.exit(main())
