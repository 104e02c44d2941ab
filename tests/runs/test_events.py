import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from convexp.runs.events import Events

CONFIG = {
    "data": {"crop_size": None, "batch_size": 4, "gray": True},
    "optimizer": {"lr": 0.01},
    "trainer": {"max_steps": 30},
    "seed": 0,
    "choices": {"target": "edges", "model": "deep", "data": "shapes", "optimizer": "adam", "scheduler": None},
}


@pytest.fixture
def events(tmp_path):
    return Events(tmp_path, config=CONFIG, start=0)


def read(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    return accumulator.Reload()


def session(folder, tag):
    content = read(folder).summary_metadata[tag].plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def row(folder):
    start = session(folder, "_hparams_/session_start_info").session_start_info
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()}


def test_nothing_but_one_event_file_is_written(events, tmp_path):
    events.open()
    events.log_hyperparams({"a": 1})
    events.save()
    events.close()
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("events.out.tfevents.")


def test_the_configuration_is_readable_text(events, tmp_path):
    events.open()
    events.save()
    text = read(tmp_path).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.startswith("    data:\n      crop_size: null\n")  # four spaces: Markdown then keeps every line
    assert "    seed: 0\n" in text


def test_an_unfinished_run_has_its_row_too(events, tmp_path):
    events.open()
    events.save()
    assert row(tmp_path) == {
        "target": "edges",
        "model": "deep",
        "data": "shapes",
        "optimizer": "adam",
        "scheduler": "None",
        "loss": "None",
        "lr": 0.01,
        "max_steps": 30,
        "crop_size": "None",
        "batch_size": "4",
        "gray": "True",
        "seed": "0",
    }
    assert "_hparams_/session_end_info" not in read(tmp_path).summary_metadata


def test_the_table_opens_with_r2_and_what_was_chosen(events, tmp_path):
    events.open()
    events.save()
    experiment = session(tmp_path, "_hparams_/experiment").experiment
    assert experiment.metric_infos[0].name.tag == "val/r2"
    assert {info.name for info in experiment.hparam_infos} == set(row(tmp_path))
    first = {info.name for info in experiment.hparam_infos if info.differs}
    assert first == {"target", "model", "data", "optimizer", "lr"}


def test_a_finished_run_says_so(events, tmp_path):
    events.open()
    events.close()
    assert "_hparams_/session_end_info" in read(tmp_path).summary_metadata


def test_what_an_interrupted_run_wrote_behind_its_checkpoint_is_purged(events, tmp_path):
    for step in range(6):
        events.log_metrics({"loss": 1.0}, step=step)
    events.experiment.close()
    resumed = Events(tmp_path, config=CONFIG, start=4)
    for step in range(4, 8):
        resumed.log_metrics({"loss": 2.0}, step=step)
    resumed.close()
    points = [(event.step, event.value) for event in read(tmp_path).Scalars("loss")]
    assert points == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2), (7, 2)]


def test_what_was_typed_comes_first(tmp_path):
    typed = ["experiment=mine", "model=deep", "optimizer.lr=0.01", "+data.size=64", "sweep=mine", "seed=0"]
    config = {
        **CONFIG,
        "overrides": typed,
        "data": {**CONFIG["data"], "size": 64},
        "choices": {**CONFIG["choices"], "experiment": "mine"},
    }
    events = Events(tmp_path, config=config, start=0)
    events.open()
    events.save()
    assert row(tmp_path)["size"] == "64"
    assert row(tmp_path)["experiment"] == "mine"
    experiment = session(tmp_path, "_hparams_/experiment").experiment
    assert {info.name for info in experiment.hparam_infos if info.differs} == {
        "experiment",
        "model",
        "lr",
        "size",
        "seed",
    }


def test_files_sort_as_they_were_begun(tmp_path):
    begun = []
    for _ in range(100):  # the number of digits changes at 10 and at 100
        Events(tmp_path, config=CONFIG, start=0).experiment.close()
        begun += set(tmp_path.iterdir()).difference(begun)
    assert sorted(tmp_path.iterdir()) == begun
