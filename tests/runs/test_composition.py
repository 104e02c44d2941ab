from types import SimpleNamespace

import pytest
from hydra import initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode

from convexp.runs import composition
from convexp.runs.composition import composing_once, one_of_many

ORIGINAL = ConfigLoaderImpl.load_sweep_config


@pytest.fixture
def loader(monkeypatch):
    """Hydra's loader, its configuration for a sweep, and the words that it has composed so far."""
    composed = []

    def noted(self, master_config, sweep_overrides):
        composed.append(sweep_overrides)
        return ORIGINAL(self, master_config, sweep_overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", noted)
    with initialize_config_module("convexp.configs", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("train", ["seed=0,1"], run_mode=RunMode.MULTIRUN)
        yield loader, master, composed


def check(loader, master, batch):
    """As a sweeper does before the first job."""
    sweeper = SimpleNamespace(hydra_context=SimpleNamespace(config_loader=loader), config=master)
    Sweeper.validate_batch_is_legal(sweeper, batch)


def test_a_job_is_composed_once_and_handed_out_once(loader):
    loader, master, composed = loader
    words = [["seed=0"], ["seed=1"], ["seed=1"]]
    with composing_once():
        check(loader, master, words)
        begun = [loader.load_sweep_config(master, word) for word in words]
        assert composed == words
        begun.append(loader.load_sweep_config(master, words[0]))
        assert composed == [*words, words[0]]
    assert [config.seed for config in begun] == [0, 1, 1, 0]
    assert len(set(map(id, begun))) == 4  # a job writes into its own


def test_few_are_kept(loader, monkeypatch):
    monkeypatch.setattr(composition, "_MOST_READY", 1)
    loader, master, composed = loader
    with composing_once():
        check(loader, master, [["seed=0"], ["seed=1"]])
        for word in (["seed=0"], ["seed=1"]):
            loader.load_sweep_config(master, word)
    assert composed == [["seed=0"], ["seed=1"], ["seed=1"]]


def test_hydra_is_left_as_it_was():
    before = ConfigLoaderImpl.load_sweep_config
    with composing_once():
        assert ConfigLoaderImpl.load_sweep_config is not before
    with pytest.raises(ZeroDivisionError), composing_once():
        1 / 0  # noqa: B018
    assert ConfigLoaderImpl.load_sweep_config is before


@pytest.mark.parametrize(("typed", "shown"), [(None, 3), (0, 0), (12, 12)])
def test_one_of_many_shows_fewer_pictures_unless_it_is_told(typed, shown):
    assert one_of_many({"seed": 1, "pictures": typed}) == {"seed": 1, "pictures": shown}
