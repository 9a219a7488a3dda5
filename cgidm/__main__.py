import sys

# by themselves, without the rest of the command line: `doctor` looks for the packages that the rest needs, and `verify`
# checks hashes where none is installed
if sys.argv[1:2] == ["doctor"]:
    from .doctor.environment import main
elif sys.argv[1:2] == ["verify"]:
    from .evidence.verify import main
else:
    from .cli import main

sys.exit(main())
