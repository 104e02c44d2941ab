"""What a sweep comes to: tables, a CSV file and a picture."""

from shlex import quote

from convexp.runs.ranking import rank, rows, seeds_text, table_text, write_csv
from convexp.runs.sweep import Sweep


def summarise(sweep: Sweep) -> None:
    """Prints a sweep's runs, the best first, and their means over seeds; writes `results.csv` and `comparison.png`.

    Nothing is said of a sweep without runs.
    """
    records = sweep.records()
    if not records:
        return
    table = rows(rank(records), sweep.path)
    print(f"\n{table_text(table)}")
    write_csv(table, sweep.path / "results.csv")
    written = ["results.csv"]
    if any(record.status == "finished" for record in records):
        if seeds := seeds_text(records):
            print(f"\n{seeds}")
        from convexp.images.files import write_image  # torch takes seconds to import
        from convexp.runs.sheet import comparison_sheet

        write_image(comparison_sheet(records, sweep.path), sweep.path / "comparison.png")
        written.append("comparison.png")
    print(f"\n  {sweep.path}: {len(records)} run{'s' * (len(records) != 1)}, {' and '.join(written)}")
    print(f"  TensorBoard  tensorboard --logdir {quote(str(sweep.path))} --samples_per_plugin images=1000\n")
