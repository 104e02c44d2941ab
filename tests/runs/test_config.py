from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from convexp.errors import ConvexpError
from convexp.runs import config as schema
from convexp.runs.config import BORDER, COUNT, NULL, POSITIVE, RULES, checked, choice, integer, list_of, number

CONFIGS = Path(__file__).parents[2] / "configs"


def composed(*overrides):
    with initialize_config_module("convexp.configs", version_base="1.3"):
        return compose("train", list(overrides))


def changed(key, value):
    """The default configuration with one value that the command line's grammar may not even allow."""
    config = composed()
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, key, value, merge=False)
    return config


@pytest.mark.parametrize(
    ("rule", "accepted", "refused", "words"),
    [
        (number(), [0, -1.5, 1e-9], [True, "1", None, float("nan"), float("inf"), [1]], "a number"),
        (POSITIVE, [1e-9, 3], [0, -1, 0.0], "a number > 0"),
        (number(at_least=0, at_most=1), [0, 1, 0.5], [-0.1, 1.1], "a number ≥ 0 and ≤ 1"),
        (integer(at_least=0), [0, 7], [-1, 0.0, False, "7"], "a whole number ≥ 0"),
        (COUNT | NULL, [1, None], [0, 1.0], "a whole number ≥ 1 or null"),
        (choice("a", 1), ["a", 1], ["b", True, None, [1]], "one of a, 1"),
        (list_of(COUNT), [[], [1, 2]], [[0], 3, "3"], "a list, each entry a whole number ≥ 1"),
        (BORDER, ["zeros"], ["zero", ""], "one of reflect, replicate, zeros, circular"),
        (schema.TEXT, ["x"], ["", None, 3], "text"),
        (schema.BOOLEAN, [True, False], [0, 1, "true"], "true or false"),
    ],
)
def test_rules(rule, accepted, refused, words):
    assert rule.allowed == words
    assert all(rule.accepts(value) for value in accepted)
    assert not any(rule.accepts(value) for value in refused)


def leaves(node, keys=()):
    """(key, value) of every value in a configuration file that convexp's own rules are for."""
    for key, value in node.items():
        if key in ("defaults", "hydra") or (keys and keys[-1] in schema.NAMED and not isinstance(value, dict)):
            continue
        if isinstance(value, dict):
            yield from leaves(value, (*keys, key))
        else:
            yield key, value


FILES = [path for path in sorted(CONFIGS.rglob("*.yaml")) if not {"hydra", "search"} & set(path.parts)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_every_key_has_a_rule_that_its_value_follows(path):
    for key, value in leaves(yaml.safe_load(path.read_text())):
        assert key in RULES, f"{path}: {key}"
        if value != "???" and not str(value).startswith("${"):
            # PyYAML takes 1e-2 for text, OmegaConf does not.
            value = OmegaConf.create(f"value: {value}")["value"] if isinstance(value, str) else value
            assert RULES[key].accepts(value), f"{path}: {key}={value}"


def test_every_rule_has_a_key():
    used = {key for path in FILES for key, _ in leaves(yaml.safe_load(path.read_text()))}
    assert set(RULES) == used


def test_the_defaults_are_plain_and_resolved():
    plain = checked(composed("scheduler=one_cycle", "optimizer.lr=0.5", "seed=0"))
    assert plain["scheduler"]["max_lr"] == 0.5
    assert plain["seed"] == 0
    assert type(plain["model"]) is dict


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", None, "seed=null: must be a whole number from 0 to 4294967295"),
        ("seed", True, "seed=true: must be a whole number from 0 to 4294967295"),
        ("optimizer.lr", float("nan"), "optimizer.lr=nan: must be a number > 0"),
        ("optimizer.lr", {"a": 1}, "optimizer.lr={'a': 1}: must be a number > 0"),
        ("model.kernel_size", [3, 0], "model.kernel_size=[3, 0]: must be a whole number ≥ 1 or a list, each entry a"),
        ("loss", [1], "loss=[1]: must be one of the group's choices; --help lists them"),
        ("model", None, "model=null: must be one of the group's choices; --help lists them"),
        ("model", {"bias": True}, "model has no _target_: name the class or function to build, as model._target_=pack"),
        ("model._partial_", "yes", "model._partial_=yes: must be true or false"),
        ("model._target_", ["os.system"], "model._target_=['os.system']: must be text"),
        ("speed", 3, "speed: nothing reads this key; there are data, target, loss, trainer, scheduler, optimizer, mo"),
        ("data", {"_target_": "convexp.training.Files", "train": "???"}, "data.train has no value: give one, as data."),
        ("scheduler", {"_target_": "x.Y", "total_steps": 9}, "scheduler.total_steps=9: must be at least trainer.max_s"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key, value, message):
    with pytest.raises(ConvexpError) as caught:
        checked(changed(key, value))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


SETTINGS = [key for key in schema.SETTINGS if key not in ("sweep", "pictures")]  # which older runs have not


@pytest.mark.parametrize("key", [*schema.GROUPS, *SETTINGS, *(f"trainer.{key}" for key in schema.TRAINER)])
def test_what_a_run_needs_is_missed(key):
    config = composed()
    OmegaConf.set_struct(config, False)
    group, _, name = key.rpartition(".")
    del (config[group] if group else config)[name]
    with pytest.raises(ConvexpError, match=f"^{key} is missing: a run needs it; leave ~{key} out$"):
        checked(config)


def test_the_rules_leave_a_users_own_classes_alone():
    own = {"_target_": "mypackage.Blur", "sigma": -1, "options": {"size": [3, 4]}}
    assert checked(changed("target", own))["target"] == own
    inner = {"_target_": "torch.nn.Conv2d", "bias": 3}
    with pytest.raises(ConvexpError, match=r"^target\.inner\.bias=3: must be true or false$"):
        checked(changed("target", {**own, "inner": inner}))


def test_stages_and_blocks_may_have_any_name():
    stages = {"size": {"_target_": "convexp.operators.Magnitude"}, "name": {"_target_": "convexp.operators.Blur"}}
    checked(changed("target", {"_target_": "convexp.operators.Pipeline", "stages": stages}))
    checked(changed("model", {"_target_": "convexp.models.Stack", "blocks": {"bias": ["out@3x3"]}}))
    stages["size"]["border"] = "mirror"
    with pytest.raises(ConvexpError, match=r"^target\.stages\.size\.border=mirror: must be one of reflect, "):
        checked(changed("target", {"_target_": "convexp.operators.Pipeline", "stages": stages}))
