"""`search`: Optuna looks for the best values of a space; torch is imported after all checks."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from convexp.runs.explanation import explain, mendable
from convexp.runs.plan import read_plan

_DESCRIPTION = """Looks for the values of a space with which training comes out best. Given again, or on other
hosts with a common search.storage, the same command joins the search, until all trials are complete or pruned: ended
early, as they were worse than the median of the others. search.pruning=null lets all of them end."""
_EPILOG = """examples:
  convexp search model=deep target=edges_blur                        the space of search=default
  convexp search search.trials=50 search.objective=val/ssim optimizer=sgd
  convexp search search=mine --config-dir my                         that of my/search/mine.yaml"""


def search(arguments: Sequence[str]) -> None:
    """Runs `convexp search`; what a user can mend is one line and exit status 1.

    Args:
        arguments: What was typed behind `search`.
    """
    typed = _parsed(arguments)
    sys.path.append(str(Path.cwd()))  # a user's own operators and models lie where the command is typed
    try:
        plan = read_plan(typed.overrides, typed.config_dir)

        from convexp.runs.search import Search

        Search(plan).work()
    except KeyboardInterrupt as interruption:
        print("\nconvexp: stopped; the same command goes on with the search", file=sys.stderr)
        sys.exit(128 + getattr(interruption, "number", signal.SIGINT))
    except Exception as error:
        if not mendable(error) or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(f"convexp: {explain(error, typed.overrides)}")


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "convexp search",
        usage="convexp search [search=NAME] [search.KEY=VALUE …] [GROUP=CHOICE …] [KEY=VALUE …] [--config-dir DIR]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for training; what is given is not searched"
    )
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with choices of your own, spaces in its search/")
    typed = parser.parse_intermixed_args(arguments)
    for word in typed.overrides:
        if "=" not in word and not word.startswith("~"):
            parser.error(f"{word}: write key=value")
    return typed
