"""The settings as keyword arguments of the agents: their types, the signature, and what help() shows."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import pgfast
from pgfast import arguments
from pgfast.algorithms import ALGORITHMS
from pgfast.learning.settings import Settings

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)


def accepted(name: str, kind: Any) -> Any:
    """The type of the keyword argument for a setting of this type: every type that the agent converts."""
    if name == "init_from":
        return kind | Path
    if name == "env_kwargs":
        return Mapping[str, Any] | None
    if name.endswith("_schedule"):
        return kind | Callable[[float], float]
    return kind | list[get_args(kind)[0]] if get_origin(kind) is tuple else kind  # type: ignore[misc]


def line_for(settings_type: type[Settings], name: str, kind: Any) -> str:
    """The line that arguments.py should have for a setting, and where."""
    home = next(cls for cls in reversed(settings_type.__mro__) if name in inspect.get_annotations(cls))
    class_name = home.__name__.replace("Settings", "Arguments")
    text = inspect.formatannotation(kind).replace("'", '"').replace("pathlib.", "")
    text = re.sub(r"^Optional\[(.*)\]$", r"\1 | None", text)
    return f"python/pgfast/arguments.py: class {class_name} should have the line\n    {name}: {text}"


@each_algorithm
def test_the_arguments_mirror_the_settings(algorithm: Any) -> None:
    settings_type = algorithm.learner_type.settings_type
    (arguments_type,) = get_args(get_type_hints(algorithm.__init__)["settings"])  # of Unpack
    assert arguments_type is getattr(arguments, settings_type.__name__.replace("Settings", "Arguments"))
    given, kinds = get_type_hints(arguments_type), get_type_hints(settings_type)
    expected = {field.name: accepted(field.name, kinds[field.name]) for field in fields(settings_type)}
    missing = [line_for(settings_type, name, kind) for name, kind in expected.items() if given.get(name) != kind]
    assert not missing, "\n".join(missing)
    assert sorted(given) == sorted(expected)
    assert not arguments_type.__required_keys__


@each_algorithm
def test_the_signature_has_each_setting_with_its_default(algorithm: Any) -> None:
    signature, defaults = inspect.signature(algorithm), algorithm.learner_type.settings_type()
    assert list(signature.parameters)[:2] == ["env", "preset"]
    settings = list(signature.parameters.values())[2:]
    assert [parameter.name for parameter in settings] == [field.name for field in fields(defaults)]
    for parameter in settings:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default == getattr(defaults, parameter.name)
    signature.bind("CartPole-v1", preset=None, n_steps=5)
    with pytest.raises(TypeError, match="learning_rat"):
        signature.bind("CartPole-v1", learning_rat=1e-3)


@each_algorithm
def test_help_lists_each_setting_with_type_range_default_and_meaning(algorithm: Any) -> None:
    text = " ".join(pydoc.render_doc(algorithm, renderer=pydoc.plaintext).replace("|", " ").split())
    assert "Every update follows a rollout" in text
    for field in fields(algorithm.learner_type.settings_type):
        assert f" {field.name}: " in text
    assert "n_steps: an int in [1, 2^24]; default " in text
    assert ' activation: one of "tanh", "relu"; default "tanh". Activation of the hidden layers of an mlp.' in text
    places = [text.index(f" {group}: ") for group in ("Environment", "Rollout", "Network", "Update", "Run")]
    assert places == sorted(places)
    assert inspect.getdoc(algorithm) == algorithm.__doc__


def test_a_default_is_that_of_the_algorithm() -> None:
    assert 'optimizer: one of "sgd", "adam", "rmsprop"; default "rmsprop".' in str(pgfast.A2C.__doc__)
    assert 'optimizer: one of "sgd", "adam", "rmsprop"; default "adam".' in str(pgfast.VPG.__doc__)


def test_a_subclass_has_the_signature_and_the_docstring_of_its_own() -> None:
    class Same(pgfast.A2C):
        """A2C as it is."""

    class Cart(pgfast.A2C):
        def __init__(self, pole: float) -> None:
            super().__init__("CartPole-v1")

    assert inspect.signature(Same) == inspect.signature(pgfast.A2C)
    assert list(inspect.signature(Cart).parameters) == ["pole"]
    assert Same.__doc__ == "A2C as it is."
    assert Cart.__doc__ is None


def test_an_import_reads_no_source(run_python: Any) -> None:
    """Parsing the descriptions of settings takes milliseconds."""
    done = run_python(
        "import pgfast; pgfast.A2C; from pgfast.learning import bounds; print(bounds._documentation_in.cache_info())"
    )
    assert "currsize=0" in done.stdout, done.stderr


def test_settings_are_converted_as_the_arguments_say(tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    agent = pgfast.A2C("CartPole-v1", hidden_sizes=[8], discount=1, num_envs=2)
    assert (agent.settings.hidden_sizes, agent.settings.discount) == ((8,), 1.0)
    agent.save(model)
    for path in (model, str(model)):
        assert pgfast.A2C("CartPole-v1", hidden_sizes=(8,), init_from=path).settings.init_from == str(model)


def test_observations_may_be_lists() -> None:
    agent = pgfast.A2C("CartPole-v1", num_envs=2)
    row = [0.0, 0.1, 0.0, -0.1]
    assert agent.predict(row, deterministic=True) == agent.predict([row], deterministic=True)[0]
    assert agent.values([row, row]).shape == agent.distribution((row, row)).entropy().shape == (2,)
    with pytest.raises(ValueError, match=r"^predict: obs must have shape \(4,\) or a batch of it, got \(3,\)"):
        agent.predict([0.0, 0.1, 0.0])
