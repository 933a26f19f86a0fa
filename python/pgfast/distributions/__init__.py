"""Action distributions, one for each row of a batch.

- :class:`Categorical`: one choice of A, for Discrete spaces;
- :class:`MultiCategorical`: several independent choices, for MultiDiscrete spaces and, with sizes of 2, MultiBinary
  spaces;
- :class:`DiagGaussian`: independent real numbers, for Box spaces;
- :class:`Joint`: independent components of these kinds, for Dict and Tuple spaces;
- :class:`Distribution`: their common interface.
"""

from __future__ import annotations

from pgfast.distributions.categorical import Categorical, MultiCategorical
from pgfast.distributions.diag_gaussian import DiagGaussian
from pgfast.distributions.distribution import Distribution
from pgfast.distributions.joint import Joint

__all__ = ["Categorical", "DiagGaussian", "Distribution", "Joint", "MultiCategorical"]


def __dir__() -> list[str]:
    return __all__
