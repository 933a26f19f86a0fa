"""Ids of environments: their definitions, and the modules that register them."""

from __future__ import annotations

import importlib
import re
import traceback

import gymnasium
from gymnasium.envs.registration import EnvSpec

from pgfast.envs.atari import register_atari

__all__ = ["env_spec", "import_registering", "registered_id", "require_id"]


def registered_id(env_id: str) -> str:
    """The id in ``module:id``, after the import of the module; any other id as it is.

    Only for what a person has typed: an id from a file must import nothing.

    Raises ``ImportError`` if the module cannot be imported, ``ValueError`` if it does not register the id.
    """
    module, colon, name = env_id.rpartition(":")
    if not colon:
        return env_id
    import_registering(module)
    require_id(name)
    if name not in gymnasium.registry:
        raise ValueError(f"the module {module} was imported, but it registers no environment {name}")
    return name


def import_registering(module: str) -> None:
    """Imports a module that a person has named, for the environments that it registers. Raises ``ImportError``."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise ImportError(f'"{module}" is not the name of a module')
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ImportError(f"there is no module {module}, neither installed nor in the path of Python") from None
        raise ImportError(f"{module} cannot be imported: {error}") from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ({place.filename}, line {place.lineno})"
        raise ImportError(f"{module} cannot be imported: {type(error).__name__}: {error}{where}") from error


def require_id(env_id: str) -> None:
    """Raises ``ValueError`` unless the text has the form of an id, registered or not, that imports nothing."""
    if not re.fullmatch(r"([\w-]+/)?[\w.-]+", env_id) or len(env_id) > 200:
        raise ValueError(f'"{env_id:.80}" is not an environment id: letters, digits, "_", ".", "-" and one "/" only')


def env_spec(env_id: str) -> EnvSpec:
    """Returns the registered definition of an id. Raises ``ValueError`` for an unknown id."""
    require_id(env_id)
    has_atari = register_atari()
    try:
        return gymnasium.spec(env_id)
    except gymnasium.error.Error as error:
        reason = str(error) if str(error).endswith("?") else f"{str(error).rstrip('.')}."
        hint = " If a module registers it, import that module first, on the command line with --import MODULE."
        if not has_atari:
            hint += ' Atari games need the extra: pip install "pgfast[atari]".'
        raise ValueError(f"{env_id} is not a registered environment: {reason}{hint}") from None
