import csv
import json
from pathlib import Path

import pytest

from convexp.errors import ConvexpError
from convexp.runs.ranking import rank, rows, seeds_text, table_text, to_csv, to_json, where, write_csv
from convexp.runs.record import Record

FOLDER = Path("outputs")


def record(name, mse=None, *, model="single", lr=1e-3, seed=0, status=None, reason=None, **metrics):
    """A run with known numbers: finished if it has an error, else failed."""
    best = {"step": 40, "train/mse": 0.5, "val/mse": mse, "val/r2": 0.75, "val/psnr": 20.0, "val/ssim": None, **metrics}
    return Record(
        FOLDER / name,
        status or ("failed" if mse is None else "finished"),
        {
            "optimizer": {"lr": lr},
            "seed": seed,
            "outputs": "outputs",
            "compile": False,
            "choices": {"model": model, "optimizer": "adam"},
            "overrides": [f"model={model}", f"optimizer.lr={lr}", f"seed={seed}"],
        },
        {} if mse is None else {"best": best, "final": {**best, "val/mse": 2 * mse}, "seconds": 1.5, "steps": 50},
        reason,
    )


def names(records):
    return [record.path.name for record in records]


def lines(text):
    return [line.split() for line in text.splitlines()]


def test_seventeen_runs_in_order():
    errors = [5, 3, 16, 1, 9, 13, 2, 8, 11, 4, 15, 7, 12, 6, 14, 10, 17]
    assert names(rank([record(str(error), error / 100) for error in errors])) == [str(n) for n in range(1, 18)]


@pytest.mark.parametrize("sort", ["val/r2", "val/psnr", "final/val/ssim", "steps_per_second"])
def test_of_some_more_is_better(sort):
    few, many = (
        Record(
            Path(str(value)),
            "finished",
            {},
            {"best": {sort: value}, "final": {"val/ssim": value}, "steps_per_second": value},
        )
        for value in (-1, 2)
    )
    assert rank([few, many], sort=sort) == [many, few]


@pytest.mark.parametrize(
    ("sort", "first"), [("train/mse", "a"), ("optimizer.lr", "b"), ("seconds", "a"), ("model", "b")]
)
def test_of_others_less_is_better(sort, first):
    runs = [record("a", 0.1, lr=0.1, **{"train/mse": 0.1}), record("b", 0.1, lr=0.01, model="deep")]
    assert names(rank(runs, sort=sort))[0] == first


def test_what_has_no_number_comes_last():
    runs = [record("failed"), record("nan", 0.1, **{"val/psnr": None}), record("good", 0.2), record("better", 0.1)]
    assert names(rank(runs)) == ["nan", "better", "good", "failed"]
    assert names(rank(runs, sort="val/psnr")) == ["good", "better", "nan", "failed"]
    assert names(rank(runs[::-1], sort="val/ssim")) == ["better", "good", "nan", "failed"]


def test_a_pruned_run_comes_behind_finished_ones_and_can_be_chosen():
    pruned = record("pruned", status="pruned", reason="after 4 of 8 steps")
    runs = [pruned, record("bad", 9.0)]
    assert names(rank(runs)) == ["bad", "pruned"]
    assert names(rank(runs, sort="optimizer.lr")) == ["bad", "pruned"]
    assert where(runs, ["status=pruned"]) == [pruned]
    assert rows([pruned], FOLDER)[0]["reason"] == "after 4 of 8 steps"


def test_runs_without_any_number_can_be_ranked():
    assert names(rank([record("b"), record("a")])) == ["b", "a"]


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        (["model=deep"], "c"),
        (["model==deep"], "c"),
        (["model!=deep"], "abd"),
        (["optimizer.lr=1e-3"], "acd"),
        (["optimizer.lr = .001"], "acd"),
        (["optimizer.lr>1e-3"], "b"),
        (["optimizer.lr>=1e-3", "optimizer.lr<=0.001"], "acd"),
        (["val/mse<0.2"], "a"),
        (["val/mse<=0.2"], "ab"),
        (["final/val/mse>0.3"], "bc"),
        (["val/mse!=0.2"], "acd"),
        (["status=finished"], "abc"),
        (["status!=finished"], "d"),
        (["seed=1"], "b"),
        (["compile=false"], "abcd"),
        (["compile=0"], ""),
        (["val/ssim=null"], "abcd"),
        (["model=deep", "seed=1"], ""),
        ([], "abcd"),
    ],
)
def test_conditions(conditions, chosen):
    runs = [record("a", 0.1), record("b", 0.2, lr=0.01, seed=1), record("c", 0.3, model="deep"), record("d")]
    assert "".join(names(where(runs, conditions))) == chosen


def test_lists_and_quoted_text_are_compared():
    runs = [Record(FOLDER / "a", "interrupted", {"betas": [0.9, 0.99], "name": "on", "day": "2026-99-99"}, {})]
    for condition in ("betas=[0.9,0.99]", "betas=[0.9, 0.99]", "name=on", "name='on'", "day=2026-99-99"):
        assert where(runs, [condition]) == runs
    for condition in ("betas=[0.9]", "betas=[0.9", "name=off", "name>3"):
        assert where(runs, [condition]) == []


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("deep", "deep: not understood; write a condition as model=deep or 'val/r2>0.9'"),
        ("model=", "model=: not understood; "),
        ("=deep", "=deep: not understood; "),
        ("val/mse=<3", "val/mse=<3: not understood; "),
        (
            "modle=deep",
            "modle=deep: no run has a value of this name; did you mean model?; there are status, mod",
        ),
        ("lr=1", "lr=1: no run has a value of this name; did you mean optimizer.lr?; there are status, model, optimiz"),
        ("psnr>3", "psnr>3: no run has a value of this name; did you mean val/psnr?; "),
        ("xyz>3", "xyz>3: no run has a value of this name; there are status, model, optimizer, optimizer.lr, val/mse,"),
        ("status=done", "status=done: must be one of finished, pruned, running, interrupted, failed, unreadable"),
        ("val/mse<low", "val/mse<low: < compares numbers, and low is none"),
    ],
)
def test_conditions_that_are_none(condition, message):
    with pytest.raises(ConvexpError) as caught:
        where([record("a", 0.1)], ["seed=5", condition])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_unknown_column_is_not_sorted_by():
    with pytest.raises(ConvexpError, match=r"^sort=val/mes: no run has a value of this name; did you mean val/mse\?; "):
        rank([record("a", 0.1)], sort="val/mes")


def test_rows_have_the_columns_promised():
    runs = [record("x/a", 0.1), record("b", model="deep", seed=1, reason="it diverged")]
    first, second = rows(runs, FOLDER)
    assert (
        list(first)
        == list(second)
        == [
            *("run", "status", "model", "seed", "step", "train/mse", "val/mse", "val/r2", "val/psnr", "val/ssim"),
            *("seconds", "reason"),
        ]
    )
    assert list(first.values()) == ["x/a", "finished", "single", 0, 40, 0.5, 0.1, 0.75, 20.0, None, 1.5, None]
    assert list(second.values()) == ["b", "failed", "deep", 1, *[None] * 7, "it diverged"]


def test_what_is_sorted_by_has_a_column():
    assert list(rows([record("a", 0.1)], FOLDER, sort="steps")[0])[2:4] == ["steps", "step"]
    assert list(rows([record("a", 0.1)], FOLDER, sort="seconds")[0]).count("seconds") == 1


def test_a_table_in_a_wide_terminal():
    runs = [record("a", 1.23456e-5), record("long", 0.2, model="deep")]
    assert table_text(rows(runs, FOLDER)) == (
        "run   model   step  train/mse    val/mse  val/r2  val/psnr  seconds\n"
        "a     single    40        0.5  1.235e-05    0.75        20      1.5\n"
        "long  deep      40        0.5        0.2    0.75        20      1.5"
    )


def test_a_table_of_unfinished_runs():
    runs = [record("a", status="running"), record("b", status="interrupted"), record("c", reason="a\nb")]
    assert lines(table_text(rows(runs, FOLDER))) == [
        ["run", "status", "reason"],
        ["a", "running", "–"],
        ["b", "interrupted", "–"],
        ["c", "failed", "a", "b"],
    ]


def test_reasons_are_cut_to_the_terminal():
    table = rows([record("a", 0.1), record("b", reason="diverged " * 30)], FOLDER)
    for width in (110, 140):
        shown = table_text(table, width=width).splitlines()
        assert len(shown[2]) == width
        assert shown[2].endswith("…")
        assert shown[0].split()[-2:] == ["seconds", "reason"]
    assert "…" not in table_text(table)


def test_a_narrow_terminal_has_no_room_for_all():
    runs = [record("folder/" * 9 + f"seed={seed}", 0.1, seed=seed) for seed in (1, 2)]
    shown = table_text(rows(runs, FOLDER), width=70).splitlines()
    assert shown[0].split() == ["run", "seed", "val/mse", "val/r2", "val/psnr"]
    assert shown[1].startswith("…der/folder/folder/folder/seed=1  ")
    assert shown[3] == "(no room for train/mse, step, seconds)"
    assert max(map(len, shown)) <= 70
    narrow = table_text(rows(runs, FOLDER, sort="train/mse"), sort="train/mse", width=20).splitlines()
    assert narrow[0].split() == ["run", "seed", "train/mse"]


def test_means_and_deviations_over_seeds():
    # 0.1, 0.2, 0.6: mean 0.3, deviations −0.2, −0.1, 0.3, their squares 0.14, over n − 1 = 2 0.07, its root 0.2646.
    single = [record(f"s{seed}", mse, seed=seed) for seed, mse in enumerate([0.1, 0.2, 0.6])]
    # 0.01 and 0.03: mean 0.02, √(2 · 0.01²) = 0.01414.
    deep = [record(f"d{seed}", mse, seed=seed, model="deep") for seed, mse in enumerate([0.01, 0.03])]
    alone = record("alone", 0.001, lr=0.1, model="deep")
    title, *table = seeds_text([*single, *deep, alone]).splitlines()
    assert title == "mean ± standard deviation over seeds"
    assert [line.split()[:7] for line in table] == [
        ["model", "optimizer.lr", "n", "train/mse", "val/mse", "val/r2", "val/psnr"],
        ["deep", "0.001", "2", "0.5", "±", "0", "0.02"],
        ["single", "0.001", "3", "0.5", "±", "0", "0.3"],
    ]
    assert "  0.02 ± 0.014  " in table[1]
    assert "  0.3 ± 0.26  " in table[2]


def test_the_best_mean_comes_first():
    runs = [
        record(f"{name}{seed}", mse, model=name, seed=seed, **{"val/psnr": psnr + seed})
        for name, mse, psnr in (("a", 0.1, 10.0), ("b", 0.2, 30.0), ("c", 0.3, 20.0))
        for seed in (0, 1)
    ]
    assert [line[0] for line in lines(seeds_text(runs))[2:]] == ["a", "b", "c"]
    assert [line[0] for line in lines(seeds_text(runs, sort="val/psnr"))[2:]] == ["b", "c", "a"]
    assert lines(seeds_text(runs, sort="steps"))[1][2] == "steps"


def test_seeds_that_did_not_finish_are_counted_out():
    runs = [
        record("a", 0.1),
        record("b", 0.3, seed=1),
        record("c", seed=2),
        record("d", model="deep"),
        record("e", seed=1, model="deep"),
    ]
    table = seeds_text(runs).splitlines()
    assert table[2].startswith("single  2 of 3  0.5 ± 0    0.2 ± 0.14  ")
    assert lines(table[3])[0] == ["deep", "0", "of", "2", *["–"] * 5]


def test_where_nothing_is_finished_there_are_no_means():
    assert seeds_text([record("a"), record("b", seed=1)]) == ""


def test_one_finished_seed_has_no_deviation_and_a_missing_number_no_mean():
    runs = [record("a", 0.1), record("b", seed=1)]
    assert lines(seeds_text(runs))[2] == ["1", "of", "2", "0.5", "0.1", "0.75", "20", "1.5"]
    runs.append(record("again", seed=0))  # a finished run counts, not its failed double
    assert lines(seeds_text(runs))[2][:3] == ["1", "of", "2"]
    runs = [record("a", 0.1), record("b", 0.1, seed=1, **{"val/r2": None})]
    assert "val/r2" not in seeds_text(runs)


def test_without_seeds_there_is_no_second_table():
    again = [record("a", 0.1), record("b", 0.1)]  # the same run twice tells nothing of chance
    other = record("c", 0.1, seed=[1], lr=0.1)
    unreadable = [Record(Path(name), "unreadable", {}, {}) for name in "xy"]
    assert seeds_text([*again, other, *unreadable]) == ""


def test_csv_comes_back(tmp_path):
    table = rows([record("a,b", 0.1), record("c", reason='he said "no"\nand left')], FOLDER)
    path = tmp_path / "results.csv"
    write_csv(table[:1], path)
    write_csv(table, path)
    assert path.read_bytes() == to_csv(table).encode()
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(table[0])
    assert (first["run"], first["status"], float(first["val/mse"]), first["val/ssim"]) == ("a,b", "finished", 0.1, "")
    assert (second["reason"], second["val/mse"]) == ('he said "no"\nand left', "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.csv"]


def test_a_csv_file_that_cannot_be_written(tmp_path, monkeypatch):
    table = rows([record("a", 0.1)], FOLDER)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name in ("folder", "file/results.csv", "nowhere/results.csv", ""):
        with pytest.raises(ConvexpError, match=rf"^/.*{name} cannot be written \(.*\); name another file$"):
            write_csv(table, tmp_path / name)
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", "file"}
    write_csv(table, tmp_path / "old.csv")
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(ConvexpError, match="No space left"):
        write_csv(rows([record("b", 0.2)], FOLDER), tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == to_csv(table)
    assert not list(tmp_path.glob("*.partial"))


def test_json_comes_back():
    table = rows([record("ä", 0.1), record("b", lr=float("inf"))], FOLDER)
    first, second = json.loads(to_json(table), parse_constant=pytest.fail)
    assert first == table[0]
    assert second == {**table[1], "optimizer.lr": None}
