"""`runs`: the runs of a folder as tables, from the command line; nothing heavy is imported."""

import argparse
import shutil
import sys
from collections.abc import Sequence

from convexp.errors import ConvexpError
from convexp.runs.ranking import SORT, rank, rows, seeds_text, table_text, to_csv, to_json, where, write_csv
from convexp.runs.record import find_records
from convexp.terminal import say

_DESCRIPTION = """Lists the runs in a folder and below it, finished, pruned, running, interrupted or failed: the best
first, and in a second table the means over seeds. In a narrow terminal some numbers have no room; --csv and --json have
all."""
_EPILOG = """examples:
  convexp runs outputs/sweeps/highpass --sort val/psnr
  convexp runs --where model=deep 'val/r2>0.9'       a list of conditions, which a run must all meet
  convexp runs outputs --csv results.csv"""


def list_runs(arguments: Sequence[str]) -> None:
    """Runs `convexp runs`; what a user can mend is one line and exit status 1.

    Args:
        arguments: What was typed behind `runs`.
    """
    typed = _parsed(arguments)
    try:
        records = where(rank(find_records(typed.folder), sort=typed.sort), typed.where)
        if not records:
            raise ConvexpError(f"no run in {typed.folder} meets {' and '.join(typed.where)}")
        table = rows(records, typed.folder, sort=typed.sort)
        if typed.csv not in (None, "-"):
            write_csv(table, typed.csv)
    except ConvexpError as error:
        sys.exit(f"convexp: {error}")
    if typed.json:
        say(to_json(table))
    elif typed.csv == "-":
        say(to_csv(table).rstrip("\n"))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        tables = table_text(table, sort=typed.sort, width=width), seeds_text(records, sort=typed.sort, width=width)
        say("\n\n".join(filter(None, tables)))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "convexp runs",
        usage="convexp runs [FOLDER] [--sort KEY] [--where COND …] [--csv FILE] [--json]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default="outputs", help="without, outputs")
    parser.add_argument("--sort", metavar="KEY", default=SORT, help=f"a metric or a key; without, {SORT}")
    conditions = "as model=deep, status=finished, 'optimizer.lr<=1e-2'; also !=, >, >= and <"
    parser.add_argument("--where", metavar="COND", nargs="+", action="extend", default=[], help=conditions)
    parser.add_argument("--csv", metavar="FILE", help="write a CSV file too; - prints it instead of the tables")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    typed = parser.parse_args(arguments)
    if typed.json and typed.csv == "-":
        parser.error("--json and --csv - both print instead of the tables: give one of them")
    return typed
