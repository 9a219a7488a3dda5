"""The command line: `main` has every command; `authenticate` is the longest of them, with `plan` beside it."""

from .main import build_parser as build_parser
from .main import example_arguments as example_arguments
from .main import main as main
