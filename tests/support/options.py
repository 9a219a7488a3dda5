"""What the command line accepts."""

from cgidm.cli import build_parser


def option_names():
    """Every long option of every command."""
    (commands,) = [a.choices for a in build_parser()._actions if a.choices]
    return [o for c in commands.values() for a in c._actions for o in a.option_strings if o.startswith("--")]
